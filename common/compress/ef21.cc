#include "common/compress/ef21.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/squared_norm.h"
#include "common/core/status_macros.h"

namespace laconic::compress {

Ef21::Ef21(const Codec& codec)
    : codec_(codec),
      held_(static_cast<size_t>(codec.elements())),
      difference_(static_cast<size_t>(codec.elements())) {}

absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> Ef21::encode(std::span<const float> v,
                                                                     uint64_t seed) {
  if (open_) {
    return absl::FailedPreconditionError(
        "EF21: an exchange is open; call commit() or rollback() first");
  }
  LACONIC_RETURN_IF_ERROR(check_input_size(v, codec_.elements()));
  std::transform(v.begin(), v.end(), held_.begin(), difference_.begin(), std::minus<>());
  const std::shared_ptr<core::ByteBuffer> payload = buffers_.take();
  payload->resize(static_cast<size_t>(codec_.payload_bytes_max()));
  next_state_ = state_;
  next_state_.seed = seed;
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes,
                           codec_.encode(difference_, next_state_, payload->bytes()));
  payload->resize(bytes);
  norms_ = {.input = std::sqrt(squared_norm(v)), .owed = std::sqrt(squared_norm(difference_))};
  open_ = true;
  payload_ = payload;
  return payload;
}

absl::StatusOr<FeedbackNorms> Ef21::commit() {
  if (!open_) {
    return FeedbackNorms{};
  }
  open_ = false;
  const std::shared_ptr<const core::ByteBuffer> payload = std::exchange(payload_, nullptr);
  absl::Status status = codec_.decode_add(payload->bytes(), 1.0F, held_);
  if (status.ok()) {
    status = codec_.decode_add(payload->bytes(), -1.0F, difference_);
  }
  if (!status.ok()) {
    return absl::InternalError(
        absl::StrCat("EF21: our own payload does not decode: ", status.message()));
  }
  norms_.residual = std::sqrt(squared_norm(difference_));
  const double ratio = norms_.owed > 0 ? norms_.residual / norms_.owed : 0;
  norms_.compression_error_ratio = ratio * ratio;
  state_ = next_state_;
  return norms_;
}

void Ef21::rollback() {
  open_ = false;
  payload_.reset();
}

void Ef21::take_owed(float factor, std::span<float> sum) {
  for (size_t i = 0; i < difference_.size(); ++i) {
    sum[i] += factor * difference_[i];
  }
}

void Ef21::save(core::StateWriter& writer) const {
  writer.floats(held_);
  writer.floats(difference_);
  save_state(state_, writer);
}

absl::Status Ef21::restore(core::StateReader& reader) {
  rollback();
  LACONIC_RETURN_IF_ERROR(reader.floats(held_));
  LACONIC_RETURN_IF_ERROR(reader.floats(difference_));
  return restore_state(reader, codec_.elements(), state_);
}

double Ef21::owed_sum() const {
  return std::accumulate(difference_.begin(), difference_.end(), 0.0);
}

}  // namespace laconic::compress
