#include "common/compress/input_check.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::compress {

bool all_finite(std::span<const float> values) {
  uint32_t largest = 0;
  // Without the sign, bits grow with the magnitude; infinities and NaNs are above all numbers.
  for (const float value : values) {
    largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7FFFFFFFU);
  }
  return largest < 0x7F800000U;
}

absl::Status check_input_size(std::span<const float> in, int64_t elements) {
  if (static_cast<int64_t>(in.size()) != elements) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec: ", in.size(), " elements in, the codec is made for ", elements));
  }
  return absl::OkStatus();
}

absl::Status not_finite_error(std::span<const float> in) {
  const auto bad = std::find_if(in.begin(), in.end(), [](float x) { return !std::isfinite(x); });
  return absl::InvalidArgumentError(absl::StrCat("codec: element ", bad - in.begin(), " is ", *bad,
                                                 ", only finite numbers can be sent; the loss may "
                                                 "have diverged, try a smaller learning rate"));
}

absl::Status check_input(std::span<const float> in, int64_t elements) {
  LACONIC_RETURN_IF_ERROR(check_input_size(in, elements));
  return all_finite(in) ? absl::OkStatus() : not_finite_error(in);
}

absl::Status check_output(std::span<const float> out, int64_t elements) {
  if (static_cast<int64_t>(out.size()) != elements) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec: ", out.size(), " elements out, the codec is made for ", elements));
  }
  return absl::OkStatus();
}

absl::Status check_payload_room(std::span<const uint8_t> out, int64_t bytes) {
  if (static_cast<int64_t>(out.size()) < bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("encode: room for ", out.size(), " bytes, a payload may need ", bytes));
  }
  return absl::OkStatus();
}

absl::Status payload_error(size_t rank, const absl::Status& status) {
  return {status.code(), absl::StrCat("payload from rank ", rank, ": ", status.message())};
}

}  // namespace laconic::compress
