#include "common/compress/half_feedback.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/squared_norm.h"
#include "common/core/bfloat16.h"
#include "common/core/status_macros.h"

namespace laconic::compress {

uint16_t to_signed_bf16(float x) {
  constexpr uint32_t kSign = 0x80000000U;
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & ~kSign;
  const uint32_t rounded = (magnitude + 0x7FFF + ((magnitude >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(std::min<uint32_t>(rounded, core::kBf16Largest) |
                               ((bits & kSign) >> 16));
}

HalfFeedback::HalfFeedback(const Codec& codec, double decay)
    : codec_(codec),
      decay_(static_cast<float>(decay)),
      residual_(static_cast<size_t>(codec.elements())) {}

absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> HalfFeedback::encode(
    std::span<const float> v, uint64_t seed) {
  if (open_) {
    return absl::FailedPreconditionError(
        "error feedback: an exchange is open; call commit() or rollback() first");
  }
  LACONIC_RETURN_IF_ERROR(check_input_size(v, codec_.elements()));
  const std::shared_ptr<core::ByteBuffer> payload = buffers_.take();
  payload->resize(static_cast<size_t>(codec_.payload_bytes_max()));
  next_state_ = state_;
  next_state_.seed = seed;
  std::vector<float> a(residual_.size());
  std::transform(residual_.begin(), residual_.end(), a.begin(), core::bf16_value);
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes,
                           codec_.encode_sum(v, decay_, a, next_state_, payload->bytes()));
  payload->resize(bytes);
  const double owed = squared_norm(a);
  // The bytes themselves are decoded: the residual is exactly what receivers will not see.
  if (const absl::Status status = codec_.decode_add(payload->bytes(), -1.0F, a); !status.ok()) {
    return absl::InternalError(
        absl::StrCat("error feedback: our own payload does not decode: ", status.message()));
  }
  const double missed = squared_norm(a);
  norms_ = {.input = std::sqrt(squared_norm(v)),
            .compression_error_ratio = owed > 0 ? missed / owed : 0,
            .owed = std::sqrt(owed)};
  keep(a);
  open_ = true;
  return payload;
}

void HalfFeedback::keep(std::span<const float> missed) {
  next_.resize(missed.size());
  double kept = 0;
  double rounded = 0;
  for (size_t i = 0; i < missed.size(); ++i) {
    next_[i] = to_signed_bf16(missed[i]);
    const auto stored = static_cast<double>(core::bf16_value(next_[i]));
    const double away = static_cast<double>(missed[i]) - stored;
    kept += stored * stored;
    rounded += away * away;
  }
  norms_.residual = std::sqrt(kept);
  norms_.rounded = std::sqrt(rounded);
}

absl::StatusOr<FeedbackNorms> HalfFeedback::commit() {
  if (!open_) {
    return FeedbackNorms{};
  }
  open_ = false;
  residual_ = std::exchange(next_, {});
  state_ = next_state_;
  return norms_;
}

void HalfFeedback::rollback() {
  open_ = false;
  next_ = {};
}

void HalfFeedback::take_owed(float factor, std::span<float> sum) {
  for (size_t i = 0; i < residual_.size(); ++i) {
    sum[i] += factor * core::bf16_value(std::exchange(residual_[i], uint16_t{0}));
  }
}

void HalfFeedback::save(core::StateWriter& writer) const {
  writer.halves(residual_);
  save_state(state_, writer);
}

absl::Status HalfFeedback::restore(core::StateReader& reader) {
  constexpr uint16_t kExponent = 0x7F80;
  rollback();
  LACONIC_RETURN_IF_ERROR(reader.halves(residual_));
  for (const uint16_t bits : residual_) {
    if ((bits & kExponent) == kExponent) {
      return absl::DataLossError("state: a residual is not finite");
    }
  }
  return restore_state(reader, codec_.elements(), state_);
}

double HalfFeedback::owed_sum() const {
  double sum = 0;
  for (const uint16_t bits : residual_) {
    sum += static_cast<double>(core::bf16_value(bits));
  }
  return sum;
}

}  // namespace laconic::compress
