// What is exchanged and when. Filled from the job file by common/wire, with defaults applied.
#pragma once

#include "absl/time/time.h"
#include "common/core/codec_spec.h"
#include "common/core/schedule.h"

namespace laconic::core {

enum class Method : uint8_t {
  kDense = 0,  // the mean gradient at every step
  kLocal = 1,  // H inner steps, then the mean drift with an outer Nesterov step
};

struct ExchangeSpec {
  Method method = Method::kDense;
  CodecSpec codec;
  Schedule schedule = Schedule::kAuto;  // schedule_choice.h says what auto is
  bool error_feedback = false;
  double residual_decay = 1.0;  // beta, 0..1
  int64_t inner_steps = 1;      // H >= 1
  double outer_rate = 0.7;      // eta
  double outer_momentum = 0.6;  // mu
  absl::Duration round_deadline = absl::Seconds(60);
};

}  // namespace laconic::core
