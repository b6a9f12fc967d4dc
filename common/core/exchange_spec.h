// What is exchanged and when. Filled from the job file by common/wire, with defaults applied.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/core/codec_spec.h"
#include "common/core/round_schedule.h"
#include "common/core/schedule.h"
#include "common/core/shared_index_spec.h"

namespace laconic::core {

enum class Method : uint8_t {
  kDense = 0,     // the mean gradient at every step
  kLocal = 1,     // H inner steps, then the mean drift with an outer Nesterov step
  kLazy = 2,      // as one of these, but a rank whose change is small sends nothing
  kPowerSgd = 3,  // the mean gradient as a product of two thin matrices
  kDemo = 4,      // the largest components of the momentum, as signs
  kEf21 = 5,      // differences of a momentum
};

// When a change is worth a message: common/sync/lazy_rule.h.
enum class LazyRule : uint8_t { kClag = 0, kLaq = 1 };

// What becomes of a rank's change while it is silent.
enum class Silence : uint8_t {
  kReuse = 0,  // the others use its last message again; what it would have said is gone
  kCarry = 1,  // nothing of it is used; it is added to its next message
};

struct LazySpec {
  Silence silence = Silence::kReuse;
  LazyRule rule = LazyRule::kClag;
  double threshold = 4;     // zeta or xi, 0..1e6
  int32_t age_max = 10;     // rounds in a row that use one message again, 0..1e6
  double momentum = 0;      // 0..0.9999
  int64_t inner_steps = 0;  // H >= 1: v is the drift of H steps; 0: the gradient of each
};

struct PowerSgdSpec {
  int32_t rank = 4;          // 1..256
  int64_t dense_steps = 20;  // >= 0
};

struct DemoSpec {
  double momentum = 0.999;  // 0..0.9999
  int32_t chunk = 64;       // 4..64
  int32_t kept = 32;        // of a whole block, 1..chunk^2 / 4
  bool dct = true;          // else the elements themselves
  double taken = 0.2;       // > 0..1
  bool sign = true;         // of the mean, for the optimizer
};

// What error feedback keeps.
enum class FeedbackForm : uint8_t {
  kResidual = 0,  // what compression dropped, for the next message
  kEf21 = 1,      // what receivers hold; messages are differences. Schedule all_gather only
};

// Connections per ordered pair of ranks: 1..kLanesMax.
inline constexpr int kLanesMax = 16;

// Fragments of kLocal, exchanged one after another (common/sync/streaming.h).
struct FragmentSpec {
  int count = 1;            // F >= 1; 1 with delay_steps 0: the whole model at once
  int64_t delay_steps = 0;  // tau, 0..H / F: steps from sending to applying
  double keep = 0;          // alpha, 0..1: what stays of a rank's own parameters there
  bool used() const { return count > 1 || delay_steps > 0; }
};

// Limits of a method that is chosen when the job starts (common/sync/method_planner.h).
struct AutoSpec {
  double wait = 0.1;  // part of the run's time that exchanges may take, 0.001..0.9
  int64_t bytes = 0;  // that a rank may send in the whole run; 0: no limit
};

struct ExchangeSpec {
  Method method = Method::kDense;
  CodecSpec codec;
  Schedule schedule = Schedule::kAuto;  // schedule_choice.h says what auto is
  int ranks_per_site = 0;               // G: site s has ranks s G .. s G + G - 1; 0: not known
  // Set: all ranks send the same elements. Then `codec` is kNone, `schedule` (of the values) kAuto,
  // which is kSharded, kSharded, or kRing with 32 bits, and residuals are float32.
  std::optional<SharedIndexSpec> shared_index;

  int lanes = 1;  // connections per ordered pair of ranks
  bool error_feedback = false;
  FeedbackForm feedback = FeedbackForm::kResidual;  // with error_feedback
  double residual_decay = 1.0;                      // beta, 0..1; 1 with kEf21
  bool half_residuals = false;                      // residuals in bfloat16; not with kEf21
  // Set: method, codec (of `candidates`) and schedule are chosen when the job starts; kDense
  // without codec until then.
  std::optional<AutoSpec> automatic;
  // Not empty: codec and schedule are chosen among these when the job starts, and `codec` is none
  // until then (common/sync/exchange_planner.h).
  std::vector<CodecSpec> candidates;
  double error_budget = 0;      // with candidates: largest NMSE of the mean
  RoundSchedule rounds;         // of kLocal
  FragmentSpec fragments;       // of kLocal; where used, rounds are every inner_steps
  int64_t inner_steps_max = 0;  // of kLocal; above rounds.inner_steps: H follows the similarity
  double shift = 0;             // of kLocal, 0..1: drift correction, falls to 0 over rounds.steps
  double outer_rate = 0.7;      // eta
  double outer_momentum = 0.6;  // mu
  LazySpec lazy;                // of kLazy
  PowerSgdSpec power_sgd;       // of kPowerSgd
  DemoSpec demo;                // of kDemo
  double ef21_momentum = 0.9;   // of kEf21: 1 - eta, 0..0.9999
  absl::Duration round_deadline = absl::Seconds(60);
};

}  // namespace laconic::core
