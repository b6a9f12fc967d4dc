#include "common/sync/dense.h"

#include <utility>

#include "common/core/status_macros.h"

namespace laconic::sync {

Dense::Dense(std::unique_ptr<MeanExchange> exchange) : exchange_(std::move(exchange)) {}

absl::Status Dense::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  return exchange_->share_from_rank_0(view.parameters);
}

absl::Status Dense::reduce_gradients(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  // Checked before it is sent: afterwards every rank would have it, and none could be blamed.
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.gradients, "the gradients", exchange_->rank(), step_ + 1));
  LACONIC_RETURN_IF_ERROR(exchange_->mean(view.gradients, view.gradients));
  ++step_;
  return absl::OkStatus();
}

absl::Status Dense::end_step(ModelView view, bool /*last*/) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.parameters, "the parameters", exchange_->rank(), step_));
  exchange_->take_digest(view.parameters);
  return absl::OkStatus();
}

absl::Status Dense::save_fields(core::StateWriter& writer) const {
  writer.text("dense");
  writer.integer(step_);
  exchange_->save(writer);
  return absl::OkStatus();
}

absl::Status Dense::restore_fields(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", "dense"));
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  return exchange_->restore(reader);
}

}  // namespace laconic::sync
