// What is exchanged and when. Filled from the job file by common/wire, with defaults applied.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/core/codec_spec.h"
#include "common/core/schedule.h"
#include "common/core/shared_index_spec.h"

namespace laconic::core {

enum class Method : uint8_t {
  kDense = 0,  // the mean gradient at every step
  kLocal = 1,  // H inner steps, then the mean drift with an outer Nesterov step
};

// What error feedback keeps.
enum class FeedbackForm : uint8_t {
  kResidual = 0,  // what compression dropped, for the next message
  kEf21 = 1,      // what receivers hold; messages are differences. Schedule all_gather only
};

// Connections per ordered pair of ranks: 1..kLanesMax.
inline constexpr int kLanesMax = 16;

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
  // Not empty: codec and schedule are chosen among these when the job starts, and `codec` is none
  // until then (common/sync/exchange_planner.h).
  std::vector<CodecSpec> candidates;
  double error_budget = 0;      // with candidates: largest NMSE of the mean
  int64_t inner_steps = 1;      // H >= 1
  double outer_rate = 0.7;      // eta
  double outer_momentum = 0.6;  // mu
  absl::Duration round_deadline = absl::Seconds(60);
};

}  // namespace laconic::core
