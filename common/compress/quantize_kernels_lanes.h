// The kernels, written once for vectors of 16 float32. A vector set V is a struct in the unnamed
// namespace of its file, so that every function made of it here stays in that file (simd.h).
//
//   Floats, Ints, Sums     16 float32, 16 int32, 16 float64
//   load, load_part        the first n of 16; zeros behind them
//
// Value i of a group is in lane i mod 16 of its sums, as in the scalar code.
#pragma once

#include "common/compress/quantize_kernels_stream.h"

namespace laconic::compress {

inline constexpr int64_t kLanes = 16;
inline constexpr uint32_t kInfinityBits = 0x7F800000;
inline constexpr double kDoubleMax = 1.7976931348623157e308;
inline constexpr uint32_t kLargestBf16 = 0x7F7F;
// Groups whose scales are computed together, and the values they may have: those stay in L1.
inline constexpr int64_t kTileGroups = 64;
inline constexpr int64_t kTileValues = 4096;
inline constexpr int64_t kTileFits = 16;
// How far a kernel of one pass fetches ahead: measured, 37 instead of 19 GB/s for 1 bit.
inline constexpr int64_t kFetchBytes = 4096;

static inline float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline uint32_t load_scale(const uint8_t* bytes) {
  uint16_t scale;
  __builtin_memcpy(&scale, bytes, sizeof scale);
  return scale;
}

static inline void store_scale(uint32_t scale, uint8_t* bytes) {
  const auto half = static_cast<uint16_t>(scale);
  __builtin_memcpy(bytes, &half, sizeof half);
}

// As core::bf16_nearest; x >= 0.
static inline uint32_t nearest_scale(double x) {
  const uint32_t bits = bits_of(static_cast<float>(x));
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return rounded < kLargestBf16 ? rounded : kLargestBf16;
}

// The largest float32 that is at most x, x >= 0: a float32 is above one if and only if it is above
// the other.
static inline float float_below(double x) {
  const auto nearest = static_cast<float>(x);
  return static_cast<double>(nearest) > x ? float_of(bits_of(nearest) - 1) : nearest;
}

// Values i..i+15 of the run, after the sum if there is one.
template <class V, bool kSum>
[[gnu::always_inline]] inline typename V::Floats take(const EncodeRun& run, int64_t i) {
  auto x = V::load(run.values + i);
  if constexpr (kSum) {
    x = V::add(V::mul(V::broadcast(run.decay), x), V::load(run.addend + i));
    V::store(run.sum + i, x);
  }
  return x;
}

template <class V, bool kSum>
[[gnu::always_inline]] inline typename V::Floats take_part(const EncodeRun& run, int64_t i,
                                                           int64_t n) {
  auto x = V::load_part(run.values + i, n);
  if constexpr (kSum) {
    x = V::add(V::mul(V::broadcast(run.decay), x), V::load_part(run.addend + i, n));
    V::store_part(run.sum + i, x, n);
  }
  return x;
}

template <class V, bool kAdd>
[[gnu::always_inline]] inline void give(float* out, typename V::Floats x) {
  V::store(out, kAdd ? V::add(V::load(out), x) : x);
}

template <class V, bool kAdd>
[[gnu::always_inline]] inline void give_part(float* out, typename V::Floats x, int64_t n) {
  V::store_part(out, kAdd ? V::add(V::load_part(out, n), x) : x, n);
}

// Bits of the largest magnitude of values begin..begin+length-1; kInfinityBits or more if one is
// not finite.
template <class V, bool kSum>
[[gnu::always_inline]] inline uint32_t largest_magnitude(const EncodeRun& run, int64_t begin,
                                                         int64_t length) {
  const int64_t end = begin + length;
  auto even = V::magnitude_bits(V::broadcast(0));
  auto odd = even;
  int64_t i = begin;
  for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
    even = V::max(even, V::magnitude_bits(take<V, kSum>(run, i)));
    odd = V::max(odd, V::magnitude_bits(take<V, kSum>(run, i + kLanes)));
  }
  if (i + kLanes <= end) {
    even = V::max(even, V::magnitude_bits(take<V, kSum>(run, i)));
    i += kLanes;
  }
  if (i < end) {
    odd = V::max(odd, V::magnitude_bits(take_part<V, kSum>(run, i, end - i)));
  }
  return V::largest(V::max(even, odd));
}

// Groups of one tile, first..first+count-1 of the run. What is behind them is fetched while they
// are worked on: without that, memory rests in the passes over a tile that find it in L1.
struct Tile {
  int64_t first = 0;
  int64_t count = 0;
  int64_t ahead = 0;  // bytes from a value to its place in the next tile; 0 for long groups
};

static inline int64_t groups_per_tile(int64_t length, int64_t groups_max) {
  const int64_t groups = kTileValues / length;
  return groups < 1 ? 1 : groups > groups_max ? groups_max : groups;
}

static inline Tile tile_at(const EncodeRun& run, int64_t first, int64_t tile_groups) {
  const int64_t left = run.groups - first;
  const int64_t values = tile_groups * run.length;
  return {.first = first,
          .count = left < tile_groups ? left : tile_groups,
          .ahead = values <= kTileValues ? static_cast<int64_t>(sizeof(float)) * values : 0};
}

template <bool kSum>
[[gnu::always_inline]] inline void fetch_ahead(const EncodeRun& run, int64_t i, int64_t ahead) {
  // Numbers, because a pointer behind the array must not even be formed; fetching there is
  // harmless.
  // NOLINTBEGIN(performance-no-int-to-ptr): for that reason.
  const auto place = static_cast<uintptr_t>(4 * i + ahead);
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(run.values) + place),
                     kSum ? 1 : 0);
  if constexpr (kSum) {
    __builtin_prefetch(
        reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(run.addend) + place));
  }
  // NOLINTEND(performance-no-int-to-ptr)
}

}  // namespace laconic::compress
