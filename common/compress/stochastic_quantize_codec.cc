#include "common/compress/stochastic_quantize_codec.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/compress/input_check.h"
#include "common/compress/rounding_stream.h"
#include "common/core/bfloat16.h"
#include "common/core/bits.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

std::vector<int64_t> group_ends(const core::CodecSpec& spec, const core::Layout& layout) {
  std::vector<int64_t> ends;
  int64_t end = 0;
  if (spec.rows) {
    for (const core::TensorShape& tensor : layout.tensors) {
      for (int64_t row = 0; row < tensor.rows; ++row) {
        end += tensor.columns;
        ends.push_back(end);
      }
    }
    return ends;
  }
  const int64_t elements = layout.elements();
  while (end < elements) {
    end = std::min(end + spec.block, elements);
    ends.push_back(end);
  }
  return ends;
}

// absmax / q_max rounded up to bfloat16, but no scale whose largest value would be infinite.
uint16_t fit_scale(std::span<const float> group, int q_max) {
  float largest = 0;
  for (const float v : group) {
    largest = std::max(largest, std::abs(v));
  }
  const uint16_t most =
      core::bf16_down(static_cast<double>(std::numeric_limits<float>::max()) / q_max);
  return std::min(core::bf16_up(static_cast<double>(largest) / q_max), most);
}

}  // namespace

StochasticQuantizeCodec::StochasticQuantizeCodec(const core::CodecSpec& spec,
                                                 const core::Layout& layout)
    : nearest_(spec, layout),
      bits_(spec.bits),
      rank_(spec.rank),
      group_ends_(group_ends(spec, layout)) {}

absl::StatusOr<size_t> StochasticQuantizeCodec::encode(std::span<const float> a, EncodeState& state,
                                                       std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(a, elements()));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  const core::Random random(state.seed, rounding_stream(rank_));
  const int q_max = (1 << (bits_ - 1)) - 1;
  const auto most = static_cast<float>(q_max);
  const uint32_t mask = (1U << bits_) - 1;
  std::vector<uint8_t> payload;
  payload.reserve(static_cast<size_t>(payload_bytes_max()));
  payload.resize(2 * group_ends_.size());
  core::BitWriter codes(payload);
  size_t i = 0;
  for (size_t g = 0; g < group_ends_.size(); ++g) {
    const auto end = static_cast<size_t>(group_ends_[g]);
    const uint16_t scale_bits = fit_scale(a.subspan(i, end - i), q_max);
    core::store_u16(scale_bits, payload.data() + 2 * g);
    const float scale = core::bf16_value(scale_bits);
    for (; i < end; ++i) {
      const float steps = scale > 0 ? std::clamp(a[i] / scale, -most, most) : 0.0F;
      const float below = std::floor(steps);
      const float chance = static_cast<float>(random.at(i) >> 40) * 0x1p-24F;
      const float q = below + (chance < steps - below ? 1.0F : 0.0F);
      codes.put(static_cast<uint32_t>(static_cast<int32_t>(q)) & mask, bits_);
    }
  }
  codes.finish();
  std::copy(payload.begin(), payload.end(), out.begin());
  return payload.size();
}

}  // namespace laconic::compress
