// Kernels of the codec `quantize`: error feedback, scales, codes, packing in one pass over memory.
// They make the bytes of the scalar kernels (quantize_kernels.cc); compile without fused
// multiply-add.
//
//   v  vector to add    a  what is owed    b  bits per value
//
// quantize_blocks  linear codes in blocks of 16..512: a warp keeps 512 elements in registers.
// quantize_groups  everything else: a warp or a block per group, which reads its group again for
//                  each step of the fit. Those reads hit the caches for groups of up to some
//                  thousand values.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/compress/cuda/cta.h"
#include "common/compress/cuda/payload_bits.h"
#include "common/compress/cuda/quantize_args.h"
#include "common/compress/level_rules.h"

namespace laconic::compress::cuda {

struct alignas(16) Float4 {
  float x[4];
};

inline constexpr uint32_t kTileRows = 4;  // loads of 16 bytes that a thread has in flight
inline constexpr uint32_t kRowValues = 4 * kWarp;
inline constexpr uint32_t kTileValues = kTileRows * kRowValues;
inline constexpr int64_t kBlockTileValues = int64_t{kTileValues} * kBlockWarps;
inline constexpr int64_t kOnePassBlockMax = kTileValues;
// Groups longer than this have a block of threads each.
inline constexpr int64_t kWarpGroupMax = 4096;

LACONIC_DEVICE inline Float4 load4(const float* from, int64_t left, bool aligned) {
  if (aligned && left >= 4) {
    return *reinterpret_cast<const Float4*>(from);
  }
  Float4 out{};
  for (int64_t i = 0; i < 4 && i < left; ++i) {
    out.x[i] = from[i];
  }
  return out;
}

LACONIC_DEVICE inline void store4(const Float4& from, float* to, int64_t left, bool aligned) {
  if (aligned && left >= 4) {
    *reinterpret_cast<Float4*>(to) = from;
    return;
  }
  for (int64_t i = 0; i < 4 && i < left; ++i) {
    to[i] = from.x[i];
  }
}

// The values to encode at `at`: see QuantizeEncodeArgs.
LACONIC_DEVICE inline Float4 take_sum4(const QuantizeEncodeArgs& args, int64_t at) {
  const int64_t left = args.shape.values - at;
  if (args.a == nullptr) {
    return load4(args.v + at, left, args.aligned);
  }
  Float4 sum = load4(args.a + at, left, args.aligned);
  if (args.v == nullptr) {
    return sum;
  }
  const Float4 v = load4(args.v + at, left, args.aligned);
  for (int i = 0; i < 4; ++i) {
    sum.x[i] = args.decay * sum.x[i] + v.x[i];
  }
  store4(sum, args.a + at, left, args.aligned);
  return sum;
}

LACONIC_DEVICE inline uint32_t magnitude_of(float x) {
  return std::bit_cast<uint32_t>(x) & kMagnitudeBits;
}

LACONIC_DEVICE inline uint16_t fit_linear(core::ValueCode code, uint32_t absmax) {
  const double ratio = static_cast<double>(std::bit_cast<float>(absmax)) / linear_max(code);
  const uint16_t up = core::bf16_up(ratio);
  return up < linear_scale_max(code) ? up : linear_scale_max(code);
}

// Divides many values by one scale and rounds to nearest, ties to even. A product with 1/s is off
// by less than 2^-14 for quotients up to 127, so only where it lies that near to a tie is the
// division itself needed. 1/s of a tiny scale is infinite: then no comparison holds.
class LinearDivision {
 public:
  LACONIC_DEVICE explicit LinearDivision(uint16_t scale_bits)
      : scale_(core::bf16_value(scale_bits)), inverse_(1.0F / scale_) {}
  LACONIC_DEVICE uint32_t code(float v, uint32_t bits) const {
    const float near = v * inverse_;
    float q = nearbyintf(near);
    if (!(fabsf(near - q) < kClear)) {
      q = scale_ > 0 ? nearbyintf(v / scale_) : 0.0F;
    }
    return static_cast<uint32_t>(static_cast<int32_t>(q)) & ((1U << bits) - 1);
  }

 private:
  static constexpr float kClear = 0.5F - 0x1p-13F;
  float scale_;
  float inverse_;
};

// Stores the codes of four values at index `at`, a multiple of 4.
template <core::ValueCode kCode>
LACONIC_DEVICE void store_codes4(const QuantizeEncodeArgs& args, int64_t at, uint32_t codes) {
  constexpr int64_t kBits = kCode == core::ValueCode::kLinear8 ? 8 : 4;
  uint8_t* to =
      reinterpret_cast<uint8_t*>(args.payload) + args.shape.code_bytes_at + at * kBits / 8;
  const int64_t left = args.shape.values - at;
  if (left < 4) {
    for (int64_t i = 0; i < (left * kBits + 7) / 8; ++i) {
      to[i] = static_cast<uint8_t>(codes >> (8 * i));
    }
  } else if (kBits == 4) {
    *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(codes);
  } else if (args.shape.code_bytes_at % 4 == 0) {
    *reinterpret_cast<uint32_t*>(to) = codes;
  } else {
    reinterpret_cast<uint16_t*>(to)[0] = static_cast<uint16_t>(codes);
    reinterpret_cast<uint16_t*>(to)[1] = static_cast<uint16_t>(codes >> 16);
  }
}

// The largest magnitude of each row's group, in every lane: groups of 4..32 lanes, or of 1, 2 or 4
// whole rows.
template <typename Cta>
LACONIC_DEVICE void reduce_groups(Cta& cta, uint32_t log2_block, uint32_t (&largest)[kTileRows]) {
  const uint32_t lanes = log2_block >= 7 ? kWarp : 1U << (log2_block - 2);
  for (uint32_t step = 1; step < lanes; step *= 2) {
    for (uint32_t row = 0; row < kTileRows; ++row) {
      const uint32_t other = cta.shuffle_xor(largest[row], step);
      largest[row] = other > largest[row] ? other : largest[row];
    }
  }
  if (log2_block >= 8) {
    largest[0] = largest[1] = largest[0] > largest[1] ? largest[0] : largest[1];
    largest[2] = largest[3] = largest[2] > largest[3] ? largest[2] : largest[3];
  }
  if (log2_block >= 9) {
    const uint32_t all = largest[0] > largest[2] ? largest[0] : largest[2];
    largest[0] = largest[1] = largest[2] = largest[3] = all;
  }
}

// Reports the first element of four that is not finite.
template <typename Cta>
LACONIC_DEVICE void report_not_finite(Cta& cta, const Float4& values, int64_t at, uint64_t* fault) {
  for (int i = 3; i >= 0; --i) {
    if (magnitude_of(values.x[i]) >= kInfinity) {
      cta.atomic_min(fault, static_cast<uint64_t>(at) + static_cast<uint64_t>(i));
    }
  }
}

// Grid: ceil(d / kBlockTileValues) blocks.
template <core::ValueCode kCode, typename Cta>
LACONIC_DEVICE void quantize_blocks(Cta& cta, const QuantizeEncodeArgs& args) {
  constexpr uint32_t kBits = kCode == core::ValueCode::kLinear8 ? 8 : 4;
  const uint32_t log2_block = args.shape.log2_block;
  const int64_t tile = int64_t{cta.block()} * kBlockTileValues + warp_of(cta) * kTileValues;
  if (tile >= args.shape.values) {
    return;
  }
  Float4 x[kTileRows];
  uint32_t largest[kTileRows];
  const int64_t first = tile + 4 * lane_of(cta);
  for (uint32_t row = 0; row < kTileRows; ++row) {
    const int64_t at = first + row * kRowValues;
    x[row] = at < args.shape.values ? take_sum4(args, at) : Float4{};
  }
  for (uint32_t row = 0; row < kTileRows; ++row) {
    uint32_t most = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t magnitude = magnitude_of(x[row].x[i]);
      most = magnitude > most ? magnitude : most;
    }
    largest[row] = most;
    if (most >= kInfinity) {
      report_not_finite(cta, x[row], first + row * kRowValues, args.fault);
    }
  }
  reduce_groups(cta, log2_block, largest);
  auto* scales = reinterpret_cast<uint16_t*>(args.payload);
  for (uint32_t row = 0; row < kTileRows; ++row) {
    const int64_t at = first + row * kRowValues;
    if (at >= args.shape.values) {
      continue;
    }
    const uint16_t scale = largest[row] < kInfinity ? fit_linear(kCode, largest[row]) : uint16_t{0};
    if ((at & ((int64_t{1} << log2_block) - 1)) == 0) {
      scales[at >> log2_block] = scale;
    }
    const LinearDivision division(scale);
    uint32_t codes = 0;
    for (uint32_t i = 0; i < 4; ++i) {
      const float value = largest[row] < kInfinity ? x[row].x[i] : 0.0F;
      codes |= division.code(value, kBits) << (i * kBits);
    }
    store_codes4<kCode>(args, at, codes);
  }
}

// --- Groups of any length ------------------------------------------------------------------------

// A group whose values are in memory, to be encoded.
struct GroupSource {
  const float* values = nullptr;
  int64_t length = 0;
  core::ValueCode code = core::ValueCode::kLinear8;
  uint32_t bits = 0;
  uint32_t scales = 0;  // per group
};

struct SumAbove {
  double sum = 0;
  uint32_t count = 0;
};

// The magnitudes above `threshold`: their sum in 16 lanes as LaneSums makes it, and their number
// modulo 2^32. Called by the first warp only.
template <typename Team>
LACONIC_DEVICE SumAbove sum_above(const Team& team, const GroupSource& group, double threshold) {
  constexpr uint32_t kLanes = 16;
  auto& cta = team.cta();
  SumAbove own;
  if (team.index() < kLanes) {
    for (int64_t i = team.index(); i < group.length; i += kLanes) {
      const auto magnitude = static_cast<double>(fabsf(group.values[i]));
      own.sum += magnitude > threshold ? magnitude : 0;
      own.count += magnitude > threshold ? 1 : 0;
    }
  }
  const uint32_t lane = team.index();
  for (uint32_t half = kLanes / 2; half > 0; half /= 2) {
    const double other = shuffle_double(cta, own.sum, (lane + half) % kWarp);
    const uint32_t count = cta.shuffle(own.count, (lane + half) % kWarp);
    if (lane < half) {
      own.sum += other;
      own.count += count;
    }
  }
  return {.sum = shuffle_double(cta, own.sum, 0), .count = cta.shuffle(own.count, 0)};
}

// Two levels: levels.cc has the steps and why. Called by the first warp only.
template <typename Team>
LACONIC_DEVICE Scales fit_two_levels_of(const Team& team, const GroupSource& group) {
  const auto count = static_cast<double>(group.length);
  const double total = sum_above(team, group, -1).sum;
  double low = total / count;
  double high = low;
  double threshold = kFirstThreshold * low;
  for (int step = 0; step <= kLloydSteps; ++step) {
    const SumAbove above = sum_above(team, group, threshold);
    if (above.count == 0 || above.count == group.length) {
      break;
    }
    high = above.sum / static_cast<double>(above.count);
    const double rest = (total - above.sum) / static_cast<double>(group.length - above.count);
    low = rest < high ? rest : high;
    threshold = (low + high) / 2;
  }
  return {core::bf16_nearest(low), core::bf16_nearest(high)};
}

// The scales of a group, in every thread. largest, smallest: magnitude bits, finite.
template <typename Team>
LACONIC_DEVICE Scales fit_group(const Team& team, const GroupSource& group, uint32_t largest,
                                uint32_t smallest) {
  Scales scales{};
  switch (group.code) {
    case core::ValueCode::kFloat32:
      return scales;
    case core::ValueCode::kLinear8:
    case core::ValueCode::kLinear4:
      return {fit_linear(group.code, largest), 0};
    case core::ValueCode::kLog4: {
      const auto most = static_cast<double>(std::bit_cast<float>(largest));
      const auto least = static_cast<double>(std::bit_cast<float>(smallest));
      return {least * kLogRangeMax < most ? uint16_t{0} : core::bf16_nearest(least),
              core::bf16_nearest(most)};
    }
    case core::ValueCode::kTwoLevels:
      if (team.index() < kWarp) {
        scales = fit_two_levels_of(team, group);
      }
      break;
    case core::ValueCode::kSign:
      if (team.index() < kWarp) {
        const double sum = sum_above(team, group, -1).sum;
        scales = {core::bf16_nearest(sum / static_cast<double>(group.length)), 0};
      }
      break;
  }
  const uint32_t both = scales[0] | (static_cast<uint32_t>(scales[1]) << 16);
  const uint32_t fitted = team.from_first_warp(both);
  return {static_cast<uint16_t>(fitted), static_cast<uint16_t>(fitted >> 16)};
}

// Writes the codes of a group to the bits from `begin` on. A word that is not all ours is shared
// with other groups and was zero.
template <typename Team, typename CodeOf>
LACONIC_DEVICE void put_codes(const Team& team, const GroupSource& group, uint32_t* payload,
                              uint64_t begin, CodeOf code_of) {
  const uint64_t end = begin + static_cast<uint64_t>(group.length) * group.bits;
  for (uint64_t word = begin / 32 + team.index(); 32 * word < end; word += team.size()) {
    const uint64_t from = 32 * word > begin ? 32 * word : begin;
    const uint64_t to = 32 * word + 32 < end ? 32 * word + 32 : end;
    uint32_t bits = 0;
    auto i = static_cast<int64_t>((from - begin) / group.bits);
    for (uint64_t at = from; at < to; at += group.bits, ++i) {
      bits |= code_of(group.values[i]) << (at % 32);
    }
    if (to - from == 32) {
      payload[word] = bits;
    } else {
      team.cta().atomic_or(payload + word, bits);
    }
  }
}

// Scales at bit `scales_at`, codes at bit `codes_at` of a payload that was zero. The group has been
// found finite; largest, smallest: of its magnitude bits. Not kFloat32.
template <typename Team>
LACONIC_DEVICE void encode_group(const Team& team, const GroupSource& group, uint32_t largest,
                                 uint32_t smallest, uint32_t* payload, uint64_t scales_at,
                                 uint64_t codes_at) {
  const Scales scales = fit_group(team, group, largest, smallest);
  if (team.index() < group.scales) {
    const uint32_t scale = team.index() == 0 ? scales[0] : scales[1];
    or_payload_bits(team.cta(), payload, scales_at + 16 * team.index(), scale, 16);
  }
  if (group.code == core::ValueCode::kLinear8 || group.code == core::ValueCode::kLinear4) {
    const LinearDivision division(scales[0]);
    put_codes(team, group, payload, codes_at,
              [&](float v) { return division.code(v, group.bits); });
    return;
  }
  const Levels levels = make_levels(group.code, scales);
  put_codes(team, group, payload, codes_at, [&](float v) {
    const uint32_t sign = v < 0 ? 1 : 0;
    return (sign << (group.bits - 1)) | nearest_level(levels, fabsf(v));
  });
}

LACONIC_DEVICE inline GroupStretch stretch_of(const QuantizeShape& shape, int64_t group) {
  int32_t low = 0;
  int32_t high = shape.stretch_count - 1;
  while (low < high) {
    const int32_t middle = (low + high + 1) / 2;
    if (shape.stretches[middle].first_group <= group) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return shape.stretches[low];
}

template <typename Team>
LACONIC_DEVICE void quantize_group(const Team& team, const QuantizeEncodeArgs& args,
                                   int64_t group) {
  const QuantizeShape& shape = args.shape;
  const GroupStretch stretch = stretch_of(shape, group);
  const int64_t begin = stretch.first_value + (group - stretch.first_group) * stretch.length;
  uint32_t largest = 0;
  uint32_t inverted = 0;  // the largest complement is that of the smallest magnitude
  for (int64_t i = begin + team.index(); i < begin + stretch.length; i += team.size()) {
    float x = args.a == nullptr ? args.v[i] : args.a[i];
    if (args.a != nullptr && args.v != nullptr) {
      x = args.decay * x + args.v[i];
      args.a[i] = x;
    }
    const uint32_t magnitude = magnitude_of(x);
    largest = magnitude > largest ? magnitude : largest;
    inverted = ~magnitude > inverted ? ~magnitude : inverted;
    if (magnitude >= kInfinity) {
      team.cta().atomic_min(args.fault, static_cast<uint64_t>(i));
    }
  }
  largest = team.largest(largest);
  inverted = team.largest(inverted);
  team.sync();
  if (largest >= kInfinity) {
    return;
  }
  const float* source = args.a == nullptr ? args.v : args.a;
  const GroupSource values{.values = source + begin,
                           .length = stretch.length,
                           .code = shape.code,
                           .bits = shape.bits,
                           .scales = shape.scales_per_group};
  const auto scales_at = static_cast<uint64_t>(group) * 16 * shape.scales_per_group;
  const auto codes_at =
      8 * static_cast<uint64_t>(shape.code_bytes_at) + static_cast<uint64_t>(begin) * shape.bits;
  encode_group(team, values, largest, ~inverted, args.payload, scales_at, codes_at);
}

// Grid: any. The payload was set to zero before.
template <typename Cta>
LACONIC_DEVICE void quantize_groups(Cta& cta, TeamShared& shared, const QuantizeEncodeArgs& args) {
  if (args.shape.long_groups) {
    const BlockTeam<Cta> team(cta, shared);
    for (int64_t group = cta.block(); group < args.shape.groups; group += cta.blocks()) {
      quantize_group(team, args, group);
    }
    return;
  }
  const WarpTeam<Cta> team(cta);
  const int64_t teams = int64_t{cta.blocks()} * kBlockWarps;
  int64_t group = int64_t{cta.block()} * kBlockWarps + warp_of(cta);
  for (; group < args.shape.groups; group += teams) {
    quantize_group(team, args, group);
  }
}

}  // namespace laconic::compress::cuda
