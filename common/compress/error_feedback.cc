#include "common/compress/error_feedback.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

double squared_norm(std::span<const float> values) {
  double sum = 0;
  for (const float x : values) {
    sum += static_cast<double>(x) * static_cast<double>(x);
  }
  return sum;
}

}  // namespace

ErrorFeedback::ErrorFeedback(const Codec& codec, bool enabled, double decay)
    : codec_(codec),
      enabled_(enabled),
      decay_(static_cast<float>(decay)),
      residual_(static_cast<size_t>(codec.elements())),
      pending_(residual_.size()) {}

absl::StatusOr<EncodedUpdate> ErrorFeedback::encode(std::span<const float> v) {
  if (open_) {
    return absl::FailedPreconditionError(
        "error feedback: an exchange is open; call commit() or rollback() first");
  }
  LACONIC_RETURN_IF_ERROR(check_input(v, codec_.elements()));
  // pending_ is a, and after the decoding e'.
  for (size_t i = 0; i < v.size(); ++i) {
    pending_[i] = enabled_ ? decay_ * residual_[i] + v[i] : v[i];
  }
  EncodedUpdate update;
  LACONIC_ASSIGN_OR_RETURN(update.payload, codec_.encode(pending_));
  const double target = squared_norm(pending_);
  // The bytes themselves are decoded: the residual is exactly what receivers will not see.
  std::vector<float> decoded(v.size());
  LACONIC_RETURN_IF_ERROR(codec_.decode(update.payload, decoded));
  for (size_t i = 0; i < v.size(); ++i) {
    pending_[i] -= decoded[i];
  }
  const double missed = squared_norm(pending_);
  update.input_norm = std::sqrt(squared_norm(v));
  update.residual_norm = enabled_ ? std::sqrt(missed) : 0;
  update.compression_error_ratio = target > 0 ? missed / target : 0;
  open_ = true;
  return update;
}

void ErrorFeedback::commit() {
  if (open_ && enabled_) {
    std::swap(residual_, pending_);
  }
  open_ = false;
}

void ErrorFeedback::rollback() {
  // residual_ still is the e of before the exchange.
  open_ = false;
}

absl::Status ErrorFeedback::set_residual(std::span<const float> residual) {
  if (open_) {
    return absl::FailedPreconditionError(
        "error feedback: an exchange is open; call commit() or rollback() first");
  }
  LACONIC_RETURN_IF_ERROR(check_input(residual, codec_.elements()));
  residual_.assign(residual.begin(), residual.end());
  return absl::OkStatus();
}

}  // namespace laconic::compress
