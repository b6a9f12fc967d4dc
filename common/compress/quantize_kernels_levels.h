// Kernels that send a sign and a level: 1 bit, 2 bits, and 4 bits of top-k. As
// quantize_kernels_lanes.h says.
#pragma once

#include "common/compress/quantize_kernels_lanes.h"

namespace laconic::compress {

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
        fetch_ahead<kSum>(run, i + part * kLanes, kFetchBytes);
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

// magnitudes: nullptr, or memory for them with zeros up to a multiple of kLanes behind.
template <class V, bool kSum>
[[gnu::always_inline]] inline double sum_of_magnitudes(const EncodeRun& run, int64_t begin,
                                                       int64_t length, double* magnitudes) {
  auto sums = V::zero_sums();
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    const auto x = V::magnitude(take<V, kSum>(run, begin + i));
    V::accumulate(sums, x);
    if (magnitudes != nullptr) {
      V::store_doubles(magnitudes + i, x);
    }
  }
  if (i < length) {
    const auto x = V::magnitude(take_part<V, kSum>(run, begin + i, length - i));
    V::accumulate(sums, x);
    if (magnitudes != nullptr) {
      V::store_doubles(magnitudes + i, x);
    }
  }
  return V::total(sums);
}

// Magnitudes of a tile in double: 16 KiB.
inline constexpr int64_t kFitValues = 2048;

// One Lloyd step of fit_two_levels() in levels.cc is a pass over the group and a division that the
// next pass waits for, so all groups of a tile take it together.
struct TwoLevelFit {
  double total = 0;  // of the magnitudes
  double low = 0;
  double high = 0;
  double threshold = 0;
};

// high_sum, above: of the magnitudes above the threshold.
static inline void refit(double high_sum, int64_t above, int64_t length, TwoLevelFit& fit) {
  if (above > 0 && above < length) {
    fit.high = high_sum / static_cast<double>(above);
    const double low = (fit.total - high_sum) / static_cast<double>(length - above);
    fit.low = low < fit.high ? low : fit.high;
    fit.threshold = (fit.low + fit.high) / 2;
  }
}

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
  refit(V::total(sums), above, length, fit);
}

// The same from magnitudes as sum_of_magnitudes() leaves them: four steps need not convert again.
template <class V>
[[gnu::always_inline]] inline void lloyd_step_of_doubles(const double* magnitudes, int64_t length,
                                                         TwoLevelFit& fit) {
  const auto limit = V::broadcast_double(fit.threshold);
  auto sums = V::zero_sums();
  int64_t above = 0;
  for (int64_t i = 0; i < length; i += kLanes) {
    above += V::accumulate_above(sums, magnitudes + i, limit);
  }
  refit(V::total(sums), above, length, fit);
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

// Fits the groups of one tile. magnitudes: room for `stride` of each group, or stride 0.
template <class V, bool kSum>
[[gnu::always_inline]] inline bool fit_tile(const EncodeRun& run, const Tile& tile,
                                            double* magnitudes, int64_t stride, TwoLevelFit* fits) {
  for (int64_t g = 0; g < tile.count; ++g) {
    const double total = sum_of_magnitudes<V, kSum>(run, (tile.first + g) * run.length, run.length,
                                                    stride > 0 ? magnitudes + g * stride : nullptr);
    if (!(total <= kDoubleMax)) {
      return false;
    }
    const double mean = total / static_cast<double>(run.length);
    fits[g] = {.total = total, .low = mean, .high = mean, .threshold = 1.23 * mean};
  }
  for (int step = 0; step <= 3; ++step) {
    for (int64_t g = 0; g < tile.count; ++g) {
      if (stride > 0) {
        lloyd_step_of_doubles<V>(magnitudes + g * stride, run.length, fits[g]);
      } else {
        lloyd_step<V>(run.values + (tile.first + g) * run.length, run.length, fits[g]);
      }
    }
  }
  return true;
}

template <class V, bool kSum>
bool encode_two_levels(const EncodeRun& run, CodeSink& sink) {
  TwoLevelFit fits[kTileFits];
  alignas(64) double magnitudes[kFitValues];
  CodeSink codes = sink;
  const int64_t padded = (run.length + kLanes - 1) / kLanes * kLanes;
  const int64_t stride = padded <= kFitValues ? padded : 0;
  const int64_t fitting = stride > 0 ? kFitValues / stride : 1;
  const int64_t tile_groups =
      groups_per_tile(run.length, fitting < kTileFits ? fitting : kTileFits);
  for (int64_t first = 0; first < run.groups; first += tile_groups) {
    const Tile tile = tile_at(run, first, tile_groups);
    if (!fit_tile<V, kSum>(run, tile, magnitudes, stride, fits)) {
      return false;
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

// ---- Log levels: 4 bits of top-k ---------------------------------------------------------------

struct MagnitudeRange {
  uint32_t smallest = 0;  // bits of a float32
  uint32_t largest = 0;
};

template <class V, bool kSum>
[[gnu::always_inline]] inline MagnitudeRange magnitude_range(const EncodeRun& run, int64_t begin) {
  const int64_t end = begin + run.length;
  auto largest = V::zero_ints();
  auto smallest = V::magnitude_bits(V::broadcast(float_of(kInfinityBits)));
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    const auto bits = V::magnitude_bits(take<V, kSum>(run, i));
    largest = V::max(largest, bits);
    smallest = V::min(smallest, bits);
  }
  if (i < end) {
    const auto bits = V::magnitude_bits(take_part<V, kSum>(run, i, end - i));
    largest = V::max(largest, bits);
  }
  MagnitudeRange range{static_cast<uint32_t>(V::lowest(smallest)), V::largest(largest)};
  for (; i < end; ++i) {  // The zeros behind the last value must not count.
    const uint32_t bits = bits_of(run.values[i]) & 0x7FFFFFFFU;
    range.smallest = bits < range.smallest ? bits : range.smallest;
  }
  return range;
}

template <class V, bool kSum>
bool encode_log4(const EncodeRun& run, CodeSink& sink) {
  CodeSink codes = sink;
  for (int64_t g = 0; g < run.groups; ++g) {
    const MagnitudeRange range = magnitude_range<V, kSum>(run, g * run.length);
    if (range.largest >= kInfinityBits) {
      return false;
    }
    const auto smallest = static_cast<double>(float_of(range.smallest));
    const auto largest = static_cast<double>(float_of(range.largest));
    const uint32_t low = smallest * 128 < largest ? 0 : nearest_scale(smallest);
    const uint32_t high = nearest_scale(largest);
    store_scale(low, run.scales + 4 * g);
    store_scale(high, run.scales + 4 * g + 2);
    LogLevels levels;
    static_cast<void>(make_log_levels(low, high, levels));  // Our own scales are valid.
    const float* values = run.values + g * run.length;
    int64_t i = 0;
    for (; i + kLanes <= run.length; i += kLanes) {
      put_code_bits(codes, V::nibbles(V::level_codes(V::load(values + i), levels)), 64);
    }
    if (const int64_t rest = run.length - i; rest > 0) {
      put_code_bits(codes, V::nibbles(V::level_codes(V::load_part(values + i, rest), levels)),
                    static_cast<int>(4 * rest));
    }
  }
  sink = codes;
  return true;
}

template <class V, bool kAdd>
bool decode_log4(const DecodeRun& run, CodeSource& source) {
  CodeSource codes = source;
  float* out = run.out;
  for (int64_t g = 0; g < run.groups; ++g, out += run.length) {
    LogLevels levels;
    if (!make_log_levels(load_scale(run.scales + 4 * g), load_scale(run.scales + 4 * g + 2),
                         levels)) {
      return false;
    }
    const auto table = V::table_of_eight(levels.magnitude, run.sign);
    int64_t i = 0;
    for (; i + kLanes <= run.length; i += kLanes) {
      give<V, kAdd>(out + i, V::look_up_eight(table, get_code_bits(codes, 64)));
    }
    if (const int64_t rest = run.length - i; rest > 0) {
      const uint64_t word = get_code_bits(codes, static_cast<int>(4 * rest));
      give_part<V, kAdd>(out + i, V::look_up_eight(table, word), rest);
    }
  }
  source = codes;
  return true;
}

}  // namespace laconic::compress
