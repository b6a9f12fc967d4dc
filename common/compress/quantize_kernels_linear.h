// Kernels that send a value itself: float32, and linear codes of 8 and 4 bits. As
// quantize_kernels_lanes.h says.
#pragma once

#include "common/compress/quantize_kernels_lanes.h"

namespace laconic::compress {

inline constexpr uint32_t kLinear8ScaleMax = 0x7C01;  // linear_scale_max()
inline constexpr uint32_t kLinear4ScaleMax = 0x7E12;

template <class V, bool kSum, int kMost>
[[gnu::always_inline]] inline void put_linear(const EncodeRun& run, const Tile& tile, int64_t group,
                                              float step, CodeSink& sink) {
  const int64_t begin = group * run.length;
  const float* values = run.values + begin;
  const int64_t length = run.length;
  const auto divisor = V::broadcast(step);
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    fetch_ahead<kSum>(run, begin + i, tile.ahead);
    const auto codes = V::nearest_ints(V::div(V::load(values + i), divisor));
    if constexpr (kMost == 127) {
      V::store_bytes(sink.out, codes);
      sink.out += kLanes;
    } else {
      put_code_bits(sink, V::nibbles(codes), 64);
    }
  }
  if (const int64_t rest = length - i; rest > 0) {
    const auto codes = V::nearest_ints(V::div(V::load_part(values + i, rest), divisor));
    if constexpr (kMost == 127) {
      V::store_bytes_part(sink.out, codes, rest);
      sink.out += rest;
    } else {
      put_code_bits(sink, V::nibbles(codes), static_cast<int>(4 * rest));
    }
  }
}

// kScaleMax: linear_scale_max() of the code.
template <class V, bool kSum, int kMost, uint32_t kScaleMax>
bool encode_linear(const EncodeRun& run, CodeSink& sink) {
  alignas(64) uint32_t largest[kTileGroups] = {};
  alignas(64) float steps[kTileGroups];
  alignas(64) uint16_t scales[kTileGroups];
  CodeSink codes = sink;  // A copy whose address nobody has stays in registers.
  const int64_t tile_groups = groups_per_tile(run.length, kTileGroups);
  for (int64_t first = 0; first < run.groups; first += tile_groups) {
    const Tile tile = tile_at(run, first, tile_groups);
    uint32_t worst = 0;
    for (int64_t g = 0; g < tile.count; ++g) {
      largest[g] = largest_magnitude<V, kSum>(run, (first + g) * run.length, run.length);
      worst = largest[g] > worst ? largest[g] : worst;
    }
    if (worst >= kInfinityBits) {
      return false;
    }
    for (int64_t g = 0; g < tile.count; g += kLanes) {
      V::template linear_scales<kMost, kScaleMax>(largest + g, scales + g, steps + g);
    }
    __builtin_memcpy(run.scales + 2 * first, scales, static_cast<size_t>(2 * tile.count));
    for (int64_t g = 0; g < tile.count; ++g) {
      put_linear<V, kSum, kMost>(run, tile, first + g, steps[g], codes);
    }
  }
  sink = codes;
  return true;
}

template <class V, bool kAdd, int kMost, uint32_t kScaleMax>
bool decode_linear(const DecodeRun& run, CodeSource& source) {
  auto lowest = V::zero_ints();
  CodeSource codes = source;
  float* out = run.out;
  for (int64_t g = 0; g < run.groups; ++g, out += run.length) {
    const uint32_t bits = load_scale(run.scales + 2 * g);
    if (bits > kScaleMax) {
      return false;
    }
    const auto scale = V::broadcast(run.sign * float_of(bits << 16));
    int64_t i = 0;
    for (; i + kLanes <= run.length; i += kLanes) {
      typename V::Ints q;
      if constexpr (kMost == 127) {
        q = V::load_bytes(codes.bytes + codes.at / 8);
        codes.at += 8 * kLanes;
      } else {
        q = V::from_nibbles(get_code_bits(codes, 64));
      }
      lowest = V::min(lowest, q);
      give<V, kAdd>(out + i, V::mul(V::to_floats(q), scale));
    }
    if (const int64_t rest = run.length - i; rest > 0) {
      typename V::Ints q;
      if constexpr (kMost == 127) {
        q = V::load_bytes_part(codes.bytes + codes.at / 8, rest);
        codes.at += static_cast<size_t>(8 * rest);
      } else {
        q = V::from_nibbles(get_code_bits(codes, static_cast<int>(4 * rest)));
      }
      lowest = V::min(lowest, q);
      give_part<V, kAdd>(out + i, V::mul(V::to_floats(q), scale), rest);
    }
  }
  source = codes;
  return V::lowest(lowest) >= -kMost;
}

// ---- Float32 -----------------------------------------------------------------------

template <class V, bool kSum>
bool encode_float32(const EncodeRun& run, CodeSink& sink) {
  const int64_t end = run.groups * run.length;
  auto largest = V::zero_ints();
  int64_t i = 0;
  while (i + kLanes <= end) {
    // Now and then a look, so that not much of `sum` behind the first bad value is touched.
    const int64_t stop = end - i < kTileValues ? end - kLanes : i + kTileValues - kLanes;
    for (; i <= stop; i += kLanes) {
      const auto x = take<V, kSum>(run, i);
      largest = V::max(largest, V::magnitude_bits(x));
      V::store_unaligned(sink.out + 4 * i, x);
    }
    if (V::largest(largest) >= kInfinityBits) {
      return false;
    }
  }
  if (i < end) {
    const auto x = take_part<V, kSum>(run, i, end - i);
    largest = V::max(largest, V::magnitude_bits(x));
    __builtin_memcpy(sink.out + 4 * i, run.values + i, static_cast<size_t>(4 * (end - i)));
  }
  sink.out += 4 * end;
  return V::largest(largest) < kInfinityBits;
}

// Values i..i+n-1, n < 16. Returns the bits of their magnitudes.
template <class V, bool kAdd>
[[gnu::always_inline]] inline typename V::Ints give_floats_part(const DecodeRun& run,
                                                                const uint8_t* bytes, int64_t i,
                                                                int64_t n) {
  float part[kLanes] = {};
  __builtin_memcpy(part, bytes + 4 * i, static_cast<size_t>(4 * n));
  const auto x = V::load(part);
  give_part<V, kAdd>(run.out + i, kAdd ? V::mul(V::broadcast(run.sign), x) : x, n);
  return V::magnitude_bits(x);
}

template <class V, bool kAdd>
bool decode_float32(const DecodeRun& run, CodeSource& source) {
  const int64_t length = run.groups * run.length;
  const uint8_t* bytes = source.bytes + source.at / 8;
  const auto sign = V::broadcast(run.sign);
  // Up to a cache line, so that no store spans two: 64-byte stores that do are half as fast.
  const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(run.out) / 4 % kLanes);
  int64_t i = past == 0 ? 0 : kLanes - past;
  i = i < length ? i : length % kLanes;
  auto largest = give_floats_part<V, kAdd>(run, bytes, 0, i);
  for (; i + kLanes <= length; i += kLanes) {
    const auto x = V::load_unaligned(bytes + 4 * i);
    largest = V::max(largest, V::magnitude_bits(x));
    give<V, kAdd>(run.out + i, kAdd ? V::mul(sign, x) : x);
  }
  largest = V::max(largest, give_floats_part<V, kAdd>(run, bytes, i, length - i));
  source.at += static_cast<size_t>(32 * length);
  return V::largest(largest) < kInfinityBits;
}

// Four sums, because each waits for its last addition.
template <class V>
double squared_norm_of(const float* values, int64_t count) {
  auto first = V::zero_sums();
  auto second = V::zero_sums();
  auto third = V::zero_sums();
  auto fourth = V::zero_sums();
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    V::accumulate_squares(first, V::load(values + i));
    V::accumulate_squares(second, V::load(values + i + kLanes));
    V::accumulate_squares(third, V::load(values + i + 2 * kLanes));
    V::accumulate_squares(fourth, V::load(values + i + 3 * kLanes));
  }
  const int64_t left = count - i;
  const auto take_rest = [&](typename V::Sums& sums, int64_t skipped) {
    const int64_t rest = left - skipped < kLanes ? left - skipped : kLanes;
    if (rest > 0) {
      V::accumulate_squares(sums, V::load_part(values + i + skipped, rest));
    }
  };
  take_rest(first, 0);
  take_rest(second, kLanes);
  take_rest(third, 2 * kLanes);
  take_rest(fourth, 3 * kLanes);
  V::add_to(first, third);
  V::add_to(second, fourth);
  V::add_to(first, second);
  return V::total(first);
}

template <class V>
void ordered_mean_of(const uint8_t* const* terms, int64_t ranks, uint8_t* out, int64_t count) {
  const auto divisor = static_cast<double>(ranks);
  const auto whole = static_cast<size_t>(count - count % kLanes);
  for (size_t i = 0; i < whole; i += kLanes) {
    auto sums = V::zero_sums();
    for (int64_t r = 0; r < ranks; ++r) {
      V::accumulate(sums, V::load_unaligned(terms[r] + 4 * i));
    }
    V::store_unaligned(out + 4 * i, V::quotient(sums, divisor));
  }
  const auto rest = 4 * static_cast<size_t>(count % kLanes);
  if (rest == 0) {
    return;  // An empty tile may have no address at all.
  }
  float part[kLanes] = {};
  auto sums = V::zero_sums();
  for (int64_t r = 0; r < ranks; ++r) {
    __builtin_memcpy(part, terms[r] + 4 * whole, rest);
    V::accumulate(sums, V::load(part));
  }
  V::store(part, V::quotient(sums, divisor));
  __builtin_memcpy(out + 4 * whole, part, rest);
}

}  // namespace laconic::compress
