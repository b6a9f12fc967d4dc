#include "common/sync/local.h"

#include <algorithm>
#include <utility>

#include "common/core/status_macros.h"

namespace laconic::sync {

Local::Local(std::unique_ptr<MeanExchange> exchange, const core::ExchangeSpec& spec)
    : exchange_(std::move(exchange)),
      inner_steps_(spec.inner_steps),
      outer_rate_(spec.outer_rate),
      outer_momentum_(spec.outer_momentum),
      theta_(static_cast<size_t>(exchange_->elements())),
      momentum_(theta_.size()),
      drift_(theta_.size()) {}

absl::Status Local::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(exchange_->share_from_rank_0(view.parameters));
  std::copy(view.parameters.begin(), view.parameters.end(), theta_.begin());
  return absl::OkStatus();
}

absl::Status Local::reduce_gradients(ModelView view) {
  return check_view(view, exchange_->elements());
}

absl::Status Local::end_step(ModelView view, bool last) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  if (last || since_round_ + 1 >= inner_steps_) {
    LACONIC_RETURN_IF_ERROR(round(view.parameters));
    since_round_ = 0;
  } else {
    ++since_round_;
  }
  ++step_;
  return absl::OkStatus();
}

absl::Status Local::round(std::span<float> parameters) {
  LACONIC_RETURN_IF_ERROR(check_finite(parameters, "the parameters", exchange_->rank(), step_ + 1));
  for (size_t i = 0; i < drift_.size(); ++i) {
    drift_[i] = theta_[i] - parameters[i];
  }
  LACONIC_RETURN_IF_ERROR(exchange_->mean(drift_, drift_));
  outer_step();
  std::copy(theta_.begin(), theta_.end(), parameters.begin());
  exchange_->take_digest(theta_);
  return absl::OkStatus();
}

void Local::outer_step() {
  for (size_t i = 0; i < theta_.size(); ++i) {
    const double mean_drift = drift_[i];
    const double momentum = outer_momentum_ * momentum_[i] + mean_drift;
    momentum_[i] = static_cast<float>(momentum);
    theta_[i] =
        static_cast<float>(theta_[i] - outer_rate_ * (mean_drift + outer_momentum_ * momentum));
  }
}

}  // namespace laconic::sync
