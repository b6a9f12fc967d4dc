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

// ---- Linear: 8 and 4 bits ---------------------------------------------------------------------

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
  const auto place = static_cast<uintptr_t>(4 * i + ahead);
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(run.values) + place),
                     kSum ? 1 : 0);
  if constexpr (kSum) {
    __builtin_prefetch(
        reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(run.addend) + place));
  }
}

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
    const auto codes = V::template nearest_ints<kMost>(V::div(V::load(values + i), divisor));
    if constexpr (kMost == 127) {
      V::store_bytes(sink.out, codes);
      sink.out += kLanes;
    } else {
      put_code_bits(sink, V::nibbles(codes), 64);
    }
  }
  if (const int64_t rest = length - i; rest > 0) {
    const auto codes =
        V::template nearest_ints<kMost>(V::div(V::load_part(values + i, rest), divisor));
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

template <class V, bool kAdd>
[[gnu::always_inline]] inline void give(float* out, typename V::Floats x) {
  V::store(out, kAdd ? V::add(V::load(out), x) : x);
}

template <class V, bool kAdd>
[[gnu::always_inline]] inline void give_part(float* out, typename V::Floats x, int64_t n) {
  V::store_part(out, kAdd ? V::add(V::load_part(out, n), x) : x, n);
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

// ---- Sign: 1 bit ------------------------------------------------------------------------------

template <class V, bool kSum>
bool encode_sign(const EncodeRun& run, CodeSink& sink) {
  CodeSink codes = sink;
  for (int64_t g = 0; g < run.groups; ++g) {
    const int64_t end = (g + 1) * run.length;
    auto sums = V::zero_sums();
    int64_t i = g * run.length;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      uint64_t word = 0;
      for (int part = 0; part < 4; ++part) {
        const auto x = take<V, kSum>(run, i + part * kLanes);
        V::accumulate(sums, V::magnitude(x));
        word |= static_cast<uint64_t>(V::negative(x)) << (part * kLanes);
      }
      put_code_bits(codes, word, 64);
    }
    for (; i + kLanes <= end; i += kLanes) {
      const auto x = take<V, kSum>(run, i);
      V::accumulate(sums, V::magnitude(x));
      put_code_bits(codes, V::negative(x), kLanes);
    }
    if (i < end) {
      const auto x = take_part<V, kSum>(run, i, end - i);
      V::accumulate(sums, V::magnitude(x));
      put_code_bits(codes, V::negative(x), static_cast<int>(end - i));
    }
    const double total = V::total(sums);
    if (!(total <= kDoubleMax)) {
      return false;  // An infinity or a NaN stays one in the sum.
    }
    store_scale(nearest_scale(total / static_cast<double>(run.length)), run.scales + 2 * g);
  }
  sink = codes;
  return true;
}

template <class V, bool kAdd>
bool decode_sign(const DecodeRun& run, CodeSource& source) {
  CodeSource codes = source;
  float* out = run.out;
  for (int64_t g = 0; g < run.groups; ++g, out += run.length) {
    const uint32_t bits = load_scale(run.scales + 2 * g);
    if (bits > kLargestBf16) {
      return false;
    }
    const auto scale = V::broadcast(run.sign * float_of(bits << 16));
    int64_t i = 0;
    for (; i + 4 * kLanes <= run.length; i += 4 * kLanes) {
      const uint64_t word = get_code_bits(codes, 64);
      for (int part = 0; part < 4; ++part) {
        const auto negative = static_cast<uint32_t>(word >> (part * kLanes));
        give<V, kAdd>(out + i + part * kLanes, V::flip_signs(scale, negative));
      }
    }
    for (; i + kLanes <= run.length; i += kLanes) {
      const auto negative = static_cast<uint32_t>(get_code_bits(codes, kLanes));
      give<V, kAdd>(out + i, V::flip_signs(scale, negative));
    }
    if (const int64_t rest = run.length - i; rest > 0) {
      const auto negative = static_cast<uint32_t>(get_code_bits(codes, static_cast<int>(rest)));
      give_part<V, kAdd>(out + i, V::flip_signs(scale, negative), rest);
    }
  }
  source = codes;
  return true;
}

// ---- Two levels: 2 bits -----------------------------------------------------------------------

template <class V, bool kSum>
[[gnu::always_inline]] inline double sum_of_magnitudes(const EncodeRun& run, int64_t begin,
                                                       int64_t length) {
  const int64_t end = begin + length;
  auto sums = V::zero_sums();
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    V::accumulate(sums, V::magnitude(take<V, kSum>(run, i)));
  }
  if (i < end) {
    V::accumulate(sums, V::magnitude(take_part<V, kSum>(run, i, end - i)));
  }
  return V::total(sums);
}

// One Lloyd step of fit_two_levels() in levels.cc is a pass over the group and a division that the
// next pass waits for, so all groups of a tile take it together.
struct TwoLevelFit {
  double total = 0;  // of the magnitudes
  double low = 0;
  double high = 0;
  double threshold = 0;
};

template <class V>
[[gnu::always_inline]] inline void lloyd_step(const float* values, int64_t length,
                                              TwoLevelFit& fit) {
  const auto limit = V::broadcast(float_below(fit.threshold));
  auto sums = V::zero_sums();
  int64_t above = 0;
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    above += V::accumulate_above(sums, V::magnitude(V::load(values + i)), limit);
  }
  if (i < length) {
    above += V::accumulate_above(sums, V::magnitude(V::load_part(values + i, length - i)), limit);
  }
  if (above > 0) {
    const double high_sum = V::total(sums);
    const double low_sum = fit.total - high_sum;
    fit.low = (low_sum > 0 ? low_sum : 0) / static_cast<double>(length - above);
    fit.high = high_sum / static_cast<double>(above);
    fit.threshold = (fit.low + fit.high) / 2;
  }
}

template <class V, bool kSum>
[[gnu::always_inline]] inline void put_two_levels(const EncodeRun& run, const Tile& tile,
                                                  int64_t group, float level_middle,
                                                  CodeSink& sink) {
  const int64_t begin = group * run.length;
  const float* values = run.values + begin;
  const auto middle = V::broadcast(level_middle);
  int64_t i = 0;
  for (; i + 2 * kLanes <= run.length; i += 2 * kLanes) {
    fetch_ahead<kSum>(run, begin + i, tile.ahead);
    fetch_ahead<kSum>(run, begin + i + kLanes, tile.ahead);
    const uint64_t first = V::two_bit_codes(V::load(values + i), middle);
    const uint64_t second = V::two_bit_codes(V::load(values + i + kLanes), middle);
    put_code_bits(sink, first | second << 32, 64);
  }
  if (i + kLanes <= run.length) {
    put_code_bits(sink, V::two_bit_codes(V::load(values + i), middle), 32);
    i += kLanes;
  }
  if (const int64_t rest = run.length - i; rest > 0) {
    put_code_bits(sink, V::two_bit_codes(V::load_part(values + i, rest), middle),
                  static_cast<int>(2 * rest));
  }
}

template <class V, bool kSum>
bool encode_two_levels(const EncodeRun& run, CodeSink& sink) {
  TwoLevelFit fits[kTileFits];
  CodeSink codes = sink;
  const int64_t tile_groups = groups_per_tile(run.length, kTileFits);
  for (int64_t first = 0; first < run.groups; first += tile_groups) {
    const Tile tile = tile_at(run, first, tile_groups);
    for (int64_t g = 0; g < tile.count; ++g) {
      const double total = sum_of_magnitudes<V, kSum>(run, (first + g) * run.length, run.length);
      if (!(total <= kDoubleMax)) {
        return false;
      }
      const double mean = total / static_cast<double>(run.length);
      fits[g] = {.total = total, .low = mean, .high = mean, .threshold = 1.23 * mean};
    }
    for (int step = 0; step <= 3; ++step) {
      for (int64_t g = 0; g < tile.count; ++g) {
        lloyd_step<V>(run.values + (first + g) * run.length, run.length, fits[g]);
      }
    }
    for (int64_t g = 0; g < tile.count; ++g) {
      const uint32_t low = nearest_scale(fits[g].low);
      const uint32_t high = nearest_scale(fits[g].high);
      store_scale(low, run.scales + 4 * (first + g));
      store_scale(high, run.scales + 4 * (first + g) + 2);
      const double sum =
          static_cast<double>(float_of(low << 16)) + static_cast<double>(float_of(high << 16));
      put_two_levels<V, kSum>(run, tile, first + g, float_below(sum / 2), codes);
    }
  }
  sink = codes;
  return true;
}

template <class V, bool kAdd>
bool decode_two_levels(const DecodeRun& run, CodeSource& source) {
  CodeSource codes = source;
  float* out = run.out;
  for (int64_t g = 0; g < run.groups; ++g, out += run.length) {
    const uint32_t low = load_scale(run.scales + 4 * g);
    const uint32_t high = load_scale(run.scales + 4 * g + 2);
    if (low > high || high > kLargestBf16) {
      return false;
    }
    const auto table =
        V::table_of_four(run.sign * float_of(low << 16), run.sign * float_of(high << 16));
    int64_t i = 0;
    for (; i + 2 * kLanes <= run.length; i += 2 * kLanes) {
      const uint64_t word = get_code_bits(codes, 64);
      give<V, kAdd>(out + i, V::look_up_four(table, static_cast<uint32_t>(word)));
      give<V, kAdd>(out + i + kLanes, V::look_up_four(table, static_cast<uint32_t>(word >> 32)));
    }
    if (i + kLanes <= run.length) {
      const auto word = static_cast<uint32_t>(get_code_bits(codes, 32));
      give<V, kAdd>(out + i, V::look_up_four(table, word));
      i += kLanes;
    }
    if (const int64_t rest = run.length - i; rest > 0) {
      const auto word = static_cast<uint32_t>(get_code_bits(codes, static_cast<int>(2 * rest)));
      give_part<V, kAdd>(out + i, V::look_up_four(table, word), rest);
    }
  }
  source = codes;
  return true;
}

// ---- Float32, and norms -----------------------------------------------------------------------

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

template <class V, bool kAdd>
bool decode_float32(const DecodeRun& run, CodeSource& source) {
  const int64_t length = run.groups * run.length;
  const uint8_t* bytes = source.bytes + source.at / 8;
  const auto sign = V::broadcast(run.sign);
  auto largest = V::zero_ints();
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    const auto x = V::load_unaligned(bytes + 4 * i);
    largest = V::max(largest, V::magnitude_bits(x));
    give<V, kAdd>(run.out + i, kAdd ? V::mul(sign, x) : x);
  }
  if (const int64_t rest = length - i; rest > 0) {
    float last[kLanes] = {};
    __builtin_memcpy(last, bytes + 4 * i, static_cast<size_t>(4 * rest));
    const auto x = V::load(last);
    largest = V::max(largest, V::magnitude_bits(x));
    give_part<V, kAdd>(run.out + i, kAdd ? V::mul(sign, x) : x, rest);
  }
  source.at += static_cast<size_t>(32 * length);
  return V::largest(largest) < kInfinityBits;
}

template <class V>
double squared_norm_of(const float* values, int64_t count) {
  auto sums = V::zero_sums();
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    V::accumulate_squares(sums, V::load(values + i));
  }
  if (i < count) {
    V::accumulate_squares(sums, V::load_part(values + i, count - i));
  }
  return V::total(sums);
}

// ---- The set ----------------------------------------------------------------------------------

inline constexpr uint32_t kLinear8ScaleMax = 0x7C01;  // linear_scale_max()
inline constexpr uint32_t kLinear4ScaleMax = 0x7E12;

template <class V, bool kSum>
struct Encoders {
  static constexpr EncodeKernel kFloat32 = encode_float32<V, kSum>;
  static constexpr EncodeKernel kLinear8 = encode_linear<V, kSum, 127, kLinear8ScaleMax>;
  static constexpr EncodeKernel kLinear4 = encode_linear<V, kSum, 7, kLinear4ScaleMax>;
  static constexpr EncodeKernel kTwoLevels = encode_two_levels<V, kSum>;
  static constexpr EncodeKernel kSign = encode_sign<V, kSum>;
};

template <class V, bool kAdd>
struct Decoders {
  static constexpr DecodeKernel kFloat32 = decode_float32<V, kAdd>;
  static constexpr DecodeKernel kLinear8 = decode_linear<V, kAdd, 127, kLinear8ScaleMax>;
  static constexpr DecodeKernel kLinear4 = decode_linear<V, kAdd, 7, kLinear4ScaleMax>;
  static constexpr DecodeKernel kTwoLevels = decode_two_levels<V, kAdd>;
  static constexpr DecodeKernel kSign = decode_sign<V, kAdd>;
};

template <class V>
constexpr QuantizeKernels make_kernels() {
  using Plain = Encoders<V, false>;
  using Sum = Encoders<V, true>;
  using Set = Decoders<V, false>;
  using Add = Decoders<V, true>;
  return {
      .float32 = {Plain::kFloat32, Sum::kFloat32, Set::kFloat32, Add::kFloat32},
      .linear8 = {Plain::kLinear8, Sum::kLinear8, Set::kLinear8, Add::kLinear8},
      .linear4 = {Plain::kLinear4, Sum::kLinear4, Set::kLinear4, Add::kLinear4},
      .log4 = {},  // Only top-k has it, for few values: the scalar code will do.
      .two_levels = {Plain::kTwoLevels, Sum::kTwoLevels, Set::kTwoLevels, Add::kTwoLevels},
      .sign = {Plain::kSign, Sum::kSign, Set::kSign, Add::kSign},
      .squared_norm = squared_norm_of<V>,
  };
}

}  // namespace laconic::compress
