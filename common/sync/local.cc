#include "common/sync/local.h"

#include <algorithm>
#include <utility>

#include "common/core/status_macros.h"

namespace laconic::sync {

Local::Local(std::unique_ptr<MeanExchange> exchange, const core::ExchangeSpec& spec)
    : exchange_(std::move(exchange)),
      rounds_(spec.rounds),
      outer_(spec.outer_rate, spec.outer_momentum, exchange_->elements()),
      theta_(static_cast<size_t>(exchange_->elements())),
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
  if (last || core::ends_round(rounds_, step_ + 1)) {
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
  outer_.apply(theta_, drift_);
  std::copy(theta_.begin(), theta_.end(), parameters.begin());
  exchange_->take_digest(theta_);
  return absl::OkStatus();
}

absl::Status Local::save_fields(core::StateWriter& writer) const {
  writer.text("local");
  writer.integer(step_);
  writer.integer(since_round_);
  writer.floats(theta_);
  writer.floats(outer_.velocity());
  exchange_->save(writer);
  return absl::OkStatus();
}

absl::Status Local::restore_fields(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", "local"));
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  LACONIC_ASSIGN_OR_RETURN(since_round_, reader.integer("steps since the round", 0, step_));
  LACONIC_RETURN_IF_ERROR(reader.floats(theta_));
  LACONIC_RETURN_IF_ERROR(reader.floats(outer_.velocity()));
  return exchange_->restore(reader);
}

}  // namespace laconic::sync
