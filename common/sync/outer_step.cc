#include "common/sync/outer_step.h"

namespace laconic::sync {

OuterStep::OuterStep(double rate, double momentum, int64_t elements)
    : rate_(rate), momentum_(momentum), velocity_(static_cast<size_t>(elements)) {}

void OuterStep::apply(std::span<float> theta, std::span<const float> drift, int64_t begin) {
  const auto velocities = std::span(velocity_).subspan(static_cast<size_t>(begin), theta.size());
  for (size_t i = 0; i < theta.size(); ++i) {
    const double mean_drift = drift[i];
    const double velocity = momentum_ * velocities[i] + mean_drift;
    velocities[i] = static_cast<float>(velocity);
    theta[i] = static_cast<float>(theta[i] - rate_ * (mean_drift + momentum_ * velocity));
  }
}

}  // namespace laconic::sync
