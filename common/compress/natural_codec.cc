#include "common/compress/natural_codec.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/rounding_stream.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

constexpr int kFractionBits = 23;
constexpr uint32_t kCodeMax = 254;  // 255 would be an infinity

}  // namespace

NaturalCodec::NaturalCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : elements_(layout.elements()),
      payload_bytes_(core::payload_bytes_max(spec, layout)),
      rank_(spec.rank) {}

absl::StatusOr<size_t> NaturalCodec::encode(std::span<const float> a, EncodeState& state,
                                            std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(a, elements_));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_));
  const core::Random random(state.seed, rounding_stream(rank_));
  const auto signs = out.subspan(a.size(), static_cast<size_t>(payload_bytes_) - a.size());
  std::fill(signs.begin(), signs.end(), uint8_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(a[i]) & 0x7FFFFFFFU;
    const auto chance = static_cast<uint32_t>(random.at(i) >> (64 - kFractionBits));
    const uint32_t code = std::min((magnitude + chance) >> kFractionBits, kCodeMax);
    out[i] = static_cast<uint8_t>(code);
    const uint32_t sign = a[i] < 0 && code > 0 ? 1 : 0;
    signs[i / 8] = static_cast<uint8_t>(signs[i / 8] | (sign << (i % 8)));
  }
  return static_cast<size_t>(payload_bytes_);
}

absl::Status NaturalCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  if (static_cast<int64_t>(payload.size()) != payload_bytes_) {
    return absl::DataLossError(absl::StrCat("payload: ", payload.size(),
                                            " bytes, natural compression of ", elements_,
                                            " must be ", payload_bytes_));
  }
  const std::span<const uint8_t> signs = payload.subspan(out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const uint32_t code = payload[i];
    const uint32_t sign = (signs[i / 8] >> (i % 8)) & 1U;
    if (code > kCodeMax || (code == 0 && sign != 0)) {
      return absl::DataLossError(absl::StrCat("payload: exponent ", code, " with sign ", sign,
                                              " of element ", i, " is reserved"));
    }
    out[i] = std::bit_cast<float>((sign << 31) | (code << kFractionBits));
  }
  if (out.size() % 8 != 0 && signs.back() >> (out.size() % 8) != 0) {
    return absl::DataLossError("payload: bits are set behind the last sign");
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
