// Kernels that decode payloads of the codec `quantize` and add them up in rank order, one pass over
// the sum. Payloads come from peers: sizes are checked by the host, everything else here; whatever
// the bytes are, nothing outside the payloads and `out` is touched, and the fault word says what is
// wrong.
#pragma once

#include <cstdint>

#include "common/compress/cuda/quantize_encode.h"

namespace laconic::compress::cuda {

template <typename Cta>
LACONIC_DEVICE void report_payload(Cta& cta, uint64_t* fault, int64_t payload, PayloadFault what) {
  cta.atomic_min(fault,
                 static_cast<uint64_t>(payload) * kPayloadFaults + static_cast<uint64_t>(what));
}

// Where a decoded value goes: see QuantizeDecodeArgs.
LACONIC_DEVICE inline float add_decoded(bool first, float before, float sign, float decoded) {
  return first ? decoded : before + sign * decoded;
}

// Bits behind the last code of every payload. One thread of the grid.
template <typename Cta>
LACONIC_DEVICE void check_unused_bits(Cta& cta, const QuantizeDecodeArgs& args) {
  const QuantizeShape& shape = args.shape;
  const uint64_t end = 8 * static_cast<uint64_t>(shape.code_bytes_at) +
                       static_cast<uint64_t>(shape.values) * shape.bits;
  const auto unused = static_cast<uint32_t>((8 - end % 8) % 8);
  for (int32_t p = 0; unused != 0 && p < args.count; ++p) {
    if (load_payload_bits(args.payloads + p * args.stride_words, end, unused) != 0) {
      report_payload(cta, args.fault, p, PayloadFault::kUnusedBits);
    }
  }
}

// Four codes from index `at` on, a multiple of 4, of which `left` exist.
template <core::ValueCode kCode>
LACONIC_DEVICE uint32_t load_codes4(const QuantizeShape& shape, const uint32_t* payload, int64_t at,
                                    int64_t left) {
  constexpr uint32_t kBits = kCode == core::ValueCode::kLinear8 ? 8 : 4;
  const auto count = static_cast<uint32_t>(left < 4 ? left : 4);
  return load_payload_bits(
      payload, 8 * static_cast<uint64_t>(shape.code_bytes_at) + static_cast<uint64_t>(at) * kBits,
      count * kBits);
}

// Linear codes in blocks of 16..512: a thread keeps four sums in registers. Grid: ceil(d / 1024)
// blocks.
template <core::ValueCode kCode, typename Cta>
LACONIC_DEVICE void decode_blocks(Cta& cta, const QuantizeDecodeArgs& args) {
  constexpr uint32_t kBits = kCode == core::ValueCode::kLinear8 ? 8 : 4;
  constexpr int32_t kReserved = kCode == core::ValueCode::kLinear8 ? -128 : -8;
  const QuantizeShape& shape = args.shape;
  const int64_t at = (int64_t{cta.block()} * cta.threads() + cta.thread()) * 4;
  if (at == 0) {
    check_unused_bits(cta, args);
  }
  const int64_t left = shape.values - at;
  if (left <= 0) {
    return;
  }
  Float4 sum = args.add ? load4(args.out + at, left, args.aligned) : Float4{};
  for (int32_t p = 0; p < args.count; ++p) {
    const uint32_t* payload = args.payloads + p * args.stride_words;
    const Scales scales{reinterpret_cast<const uint16_t*>(payload)[at >> shape.log2_block], 0};
    if (!valid_scales(kCode, scales)) {
      report_payload(cta, args.fault, p, PayloadFault::kScales);
      return;
    }
    const float scale = core::bf16_value(scales[0]);
    const uint32_t codes = load_codes4<kCode>(shape, payload, at, left);
    for (uint32_t i = 0; i < 4; ++i) {
      // Moved to the top and back: the sign is extended.
      const auto q = static_cast<int32_t>(codes << (32 - kBits - i * kBits)) >> (32 - kBits);
      if (q == kReserved) {
        report_payload(cta, args.fault, p, PayloadFault::kCode);
      }
      const bool first = p == 0 && !args.add;
      sum.x[i] = add_decoded(first, sum.x[i], args.sign, static_cast<float>(q) * scale);
    }
  }
  if (args.divisor != 1) {
    for (float& x : sum.x) {
      x /= args.divisor;
    }
  }
  store4(sum, args.out + at, left, args.aligned);
}

// What codes of at most 8 bits stand for, given the scales of their group.
class CodeValues {
 public:
  LACONIC_DEVICE CodeValues(core::ValueCode code, uint32_t bits, const Scales& scales)
      : linear_(code == core::ValueCode::kLinear8 || code == core::ValueCode::kLinear4),
        bits_(bits),
        scale_(core::bf16_value(scales[0])),
        levels_(make_levels(code, scales)) {}
  LACONIC_DEVICE bool reserved(uint32_t code) const { return linear_ && code == 1U << (bits_ - 1); }
  LACONIC_DEVICE float value(uint32_t code) const {
    if (linear_) {
      return static_cast<float>(static_cast<int32_t>(code << (32 - bits_)) >> (32 - bits_)) *
             scale_;
    }
    const uint32_t half = 1U << (bits_ - 1);
    const float magnitude = levels_.magnitude[code & (half - 1)];
    return (code & half) != 0 ? -magnitude : magnitude;
  }

 private:
  bool linear_;
  uint32_t bits_;
  float scale_;
  Levels levels_;
};

template <typename Team>
LACONIC_DEVICE void decode_quantized_group(const Team& team, const QuantizeDecodeArgs& args,
                                           int64_t group) {
  const QuantizeShape& shape = args.shape;
  const GroupStretch stretch = stretch_of(shape, group);
  const int64_t begin = stretch.first_value + (group - stretch.first_group) * stretch.length;
  const uint64_t codes_at = 8 * static_cast<uint64_t>(shape.code_bytes_at);
  for (int32_t p = 0; p < args.count; ++p) {
    const uint32_t* payload = args.payloads + p * args.stride_words;
    const bool first = p == 0 && !args.add;
    const bool last = p + 1 == args.count;
    Scales scales{};
    for (uint32_t i = 0; i < shape.scales_per_group; ++i) {
      const auto at = static_cast<uint64_t>(group) * shape.scales_per_group + i;
      scales[i] = reinterpret_cast<const uint16_t*>(payload)[at];
    }
    if (!valid_scales(shape.code, scales)) {
      report_payload(team.cta(), args.fault, p, PayloadFault::kScales);
      return;
    }
    const CodeValues values(shape.code, shape.bits, scales);
    for (int64_t i = begin + team.index(); i < begin + stretch.length; i += team.size()) {
      const uint32_t code =
          load_payload_bits(payload, codes_at + static_cast<uint64_t>(i) * shape.bits, shape.bits);
      if (values.reserved(code)) {
        report_payload(team.cta(), args.fault, p, PayloadFault::kCode);
      }
      const float before = first ? 0.0F : args.out[i];
      const float sum = add_decoded(first, before, args.sign, values.value(code));
      args.out[i] = last && args.divisor != 1 ? sum / args.divisor : sum;
    }
  }
}

// Grid: any.
template <typename Cta>
LACONIC_DEVICE void decode_groups(Cta& cta, TeamShared& shared, const QuantizeDecodeArgs& args) {
  if (cta.block() == 0 && cta.thread() == 0) {
    check_unused_bits(cta, args);
  }
  if (args.shape.long_groups) {
    const BlockTeam<Cta> team(cta, shared);
    for (int64_t group = cta.block(); group < args.shape.groups; group += cta.blocks()) {
      decode_quantized_group(team, args, group);
    }
    return;
  }
  const WarpTeam<Cta> team(cta);
  const int64_t teams = int64_t{cta.blocks()} * kBlockWarps;
  int64_t group = int64_t{cta.block()} * kBlockWarps + warp_of(cta);
  for (; group < args.shape.groups; group += teams) {
    decode_quantized_group(team, args, group);
  }
}

}  // namespace laconic::compress::cuda
