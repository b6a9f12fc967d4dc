#include "common/sync/ef21_momentum.h"

#include <utility>

#include "common/core/status_macros.h"

namespace laconic::sync {

Ef21Momentum::Ef21Momentum(std::unique_ptr<MeanExchange> exchange, double momentum)
    : exchange_(std::move(exchange)),
      momentum_(static_cast<float>(momentum)),
      value_(static_cast<size_t>(exchange_->elements())),
      next_value_(value_.size()) {}

absl::Status Ef21Momentum::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  return exchange_->share_from_rank_0(view.parameters);
}

absl::Status Ef21Momentum::reduce_gradients(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.gradients, "the gradients", exchange_->rank(), step_ + 1));
  const float keep = step_ == 0 ? 0.0F : momentum_;
  for (size_t i = 0; i < value_.size(); ++i) {
    next_value_[i] = keep * value_[i] + (1.0F - keep) * view.gradients[i];
  }
  LACONIC_RETURN_IF_ERROR(exchange_->mean(next_value_, view.gradients));
  std::swap(value_, next_value_);
  ++step_;
  return absl::OkStatus();
}

absl::Status Ef21Momentum::end_step(ModelView view, bool /*last*/) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.parameters, "the parameters", exchange_->rank(), step_));
  exchange_->take_digest(view.parameters);
  return absl::OkStatus();
}

absl::Status Ef21Momentum::save_fields(core::StateWriter& writer) const {
  writer.text("ef21");
  writer.integer(step_);
  writer.floats(value_);
  exchange_->save(writer);
  return absl::OkStatus();
}

absl::Status Ef21Momentum::restore_fields(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", "ef21"));
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  LACONIC_RETURN_IF_ERROR(reader.floats(value_));
  return exchange_->restore(reader);
}

}  // namespace laconic::sync
