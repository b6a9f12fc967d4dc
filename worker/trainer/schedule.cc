#include "worker/trainer/schedule.h"

#include <cmath>
#include <numbers>

namespace laconic::trainer {

double learning_rate_factor(const CosineSchedule& schedule, int64_t step) {
  if (step < schedule.warmup_steps) {
    return static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  }
  const double done = static_cast<double>(step - schedule.warmup_steps) /
                      static_cast<double>(schedule.steps - schedule.warmup_steps);
  return schedule.final_ratio +
         (1 - schedule.final_ratio) / 2 * (1 + std::cos(std::numbers::pi * done));
}

}  // namespace laconic::trainer
