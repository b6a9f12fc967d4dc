#include "common/compress/error_feedback.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/squared_norm.h"
#include "common/core/status_macros.h"

namespace laconic::compress {

ErrorFeedback::ErrorFeedback(const Codec& codec, bool enabled, double decay)
    : codec_(codec),
      enabled_(enabled),
      decay_(static_cast<float>(decay)),
      residual_(static_cast<size_t>(codec.elements())) {}

absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> ErrorFeedback::encode(
    std::span<const float> v, uint64_t seed) {
  if (open_) {
    return absl::FailedPreconditionError(
        "error feedback: an exchange is open; call commit() or rollback() first");
  }
  const std::shared_ptr<core::ByteBuffer> payload = buffers_.take();
  payload->resize(static_cast<size_t>(codec_.payload_bytes_max()));
  next_ = state_;
  next_.seed = seed;
  // Without feedback e is zero, so the sum is v; after a rollback it has been taken already.
  EncodeSquares squares;
  absl::StatusOr<size_t> encoded;
  if (owed_) {
    encoded = codec_.encode(residual_, next_, payload->bytes());
    squares = {.v = squared_norm(v), .a = squared_norm(residual_)};
  } else {
    encoded = codec_.encode_sum_measured(v, decay_, residual_, next_, payload->bytes(), squares);
  }
  LACONIC_RETURN_IF_ERROR(encoded.status());
  payload->resize(*encoded);
  norms_.input = std::sqrt(squares.v);
  owed_norm_ = squares.a;
  owed_ = false;
  open_ = true;
  payload_ = payload;
  return payload;
}

absl::StatusOr<FeedbackNorms> ErrorFeedback::commit() {
  if (!open_) {
    return FeedbackNorms{};
  }
  open_ = false;
  const std::shared_ptr<const core::ByteBuffer> payload = std::exchange(payload_, nullptr);
  // The bytes themselves are decoded: the residual is exactly what receivers will not see.
  const absl::StatusOr<double> missed = codec_.take_away(payload->bytes(), owed_norm_, residual_);
  if (!missed.ok()) {
    return absl::InternalError(absl::StrCat("error feedback: our own payload does not decode: ",
                                            missed.status().message()));
  }
  norms_.residual = enabled_ ? std::sqrt(*missed) : 0;
  norms_.compression_error_ratio = owed_norm_ > 0 ? *missed / owed_norm_ : 0;
  norms_.owed = std::sqrt(owed_norm_);
  if (!enabled_) {
    std::fill(residual_.begin(), residual_.end(), 0.0F);
  }
  state_ = next_;
  return norms_;
}

void ErrorFeedback::rollback() {
  owed_ = owed_ || open_;
  open_ = false;
  payload_.reset();
}

void ErrorFeedback::take_owed(float factor, std::span<float> sum) {
  for (size_t i = 0; i < residual_.size(); ++i) {
    sum[i] += factor * std::exchange(residual_[i], 0.0F);
  }
  owed_ = false;
}

void ErrorFeedback::save(core::StateWriter& writer) const {
  writer.integer(owed_ ? 1 : 0);
  writer.floats(residual_);
  save_state(state_, writer);
}

absl::Status ErrorFeedback::restore(core::StateReader& reader) {
  rollback();
  LACONIC_ASSIGN_OR_RETURN(const int64_t owed, reader.integer("rolled back", 0, 1));
  owed_ = owed == 1;
  LACONIC_RETURN_IF_ERROR(reader.floats(residual_));
  return restore_state(reader, codec_.elements(), state_);
}

double ErrorFeedback::owed_sum() const {
  return std::accumulate(residual_.begin(), residual_.end(), 0.0);
}

absl::Status ErrorFeedback::set_residual(std::span<const float> residual) {
  if (open_) {
    return absl::FailedPreconditionError(
        "error feedback: an exchange is open; call commit() or rollback() first");
  }
  LACONIC_RETURN_IF_ERROR(check_input(residual, codec_.elements()));
  residual_.assign(residual.begin(), residual.end());
  owed_ = false;
  return absl::OkStatus();
}

}  // namespace laconic::compress
