#include "common/compress/exponential_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/compress/exponential_levels.h"
#include "common/compress/input_check.h"
#include "common/core/bfloat16.h"
#include "common/core/bits.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

constexpr size_t kLevelBytes = 2;

}  // namespace

ExponentialCodec::ExponentialCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : bits_(spec.bits),
      levels_(size_t{1} << (spec.bits - 1)),
      payload_bytes_(core::payload_bytes_max(spec, layout)) {
  int64_t end = 0;
  for (const core::TensorShape& tensor : layout.tensors) {
    end += tensor.elements();
    tensor_ends_.push_back(end);
  }
}

absl::StatusOr<size_t> ExponentialCodec::encode(std::span<const float> a, EncodeState& /*state*/,
                                                std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(a, elements()));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_));
  std::vector<uint8_t> payload;
  payload.reserve(static_cast<size_t>(payload_bytes_));
  payload.resize(tensor_ends_.size() * levels_ * kLevelBytes);
  core::BitWriter codes(payload);
  size_t level_at = 0;
  size_t begin = 0;
  for (const int64_t end : tensor_ends_) {
    const auto tensor = a.subspan(begin, static_cast<size_t>(end) - begin);
    const Levels levels = fit_exponential_levels(tensor, static_cast<int>(levels_));
    for (size_t i = 0; i < levels_; ++i, level_at += kLevelBytes) {
      // A bfloat16 already: nothing is rounded here.
      core::store_u16(core::bf16_nearest(static_cast<double>(levels.magnitude[i])),
                      payload.data() + level_at);
    }
    for (const float v : tensor) {
      const uint32_t sign = v < 0 ? 1 : 0;
      codes.put((sign << (bits_ - 1)) | nearest_level(levels, std::abs(v)), bits_);
    }
    begin = static_cast<size_t>(end);
  }
  codes.finish();
  std::copy(payload.begin(), payload.end(), out.begin());
  return payload.size();
}

absl::Status ExponentialCodec::decode(std::span<const uint8_t> payload,
                                      std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements()));
  if (static_cast<int64_t>(payload.size()) != payload_bytes_) {
    return absl::DataLossError(absl::StrCat("payload: ", payload.size(), " bytes, ", elements(),
                                            " elements in ", bits_, " bits must be ",
                                            payload_bytes_));
  }
  core::BitReader codes(payload.subspan(tensor_ends_.size() * levels_ * kLevelBytes));
  size_t begin = 0;
  for (size_t t = 0; t < tensor_ends_.size(); ++t) {
    std::array<float, 16> table{};
    uint16_t previous = 0;
    for (size_t i = 0; i < levels_; ++i) {
      const uint16_t level = core::load_u16(payload.data() + (t * levels_ + i) * kLevelBytes);
      if (!core::is_bf16_magnitude(level) || level < previous) {
        return absl::DataLossError(
            absl::StrCat("payload: level ", i, " of tensor ", t, " is out of range or order"));
      }
      table[i] = core::bf16_value(level);
      table[levels_ + i] = -table[i];
      previous = level;
    }
    const auto end = static_cast<size_t>(tensor_ends_[t]);
    for (; begin < end; ++begin) {
      out[begin] = table[codes.get(bits_)];
    }
  }
  if (!codes.rest_is_zero()) {
    return absl::DataLossError("payload: bits are set behind the last element");
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
