// The selection of top-k: which elements are sent. Part of top_k_encode(): top_k_encode.h.
//
//   t  threshold of an earlier round    T  the k-th largest magnitude
#pragma once

#include <cstdint>

#include "common/compress/cuda/quantize_encode.h"
#include "common/compress/cuda/top_k_args.h"

namespace laconic::compress::cuda {

struct SelectShared {
  uint32_t histogram[digit_bins(0)];
  uint32_t warp_counts[kBlockWarps];
  uint32_t warp_sums[kBlockWarps];
  uint32_t offset;
  uint32_t bucket;
  uint32_t needed;
};

// What is kept: all magnitudes above `threshold`, and the first `equal` of those that equal it.
struct Selection {
  bool exact = false;
  bool listed = false;  // the candidate list holds all of them; else they are looked up in `a`
  uint32_t threshold = 0;
  uint32_t equal = 0;
};

// The sum over the threads of the block before ours; all threads call it.
template <typename Cta>
LACONIC_DEVICE uint32_t block_sum_before(Cta& cta, uint32_t (&warp_sums)[kBlockWarps],
                                         uint32_t value, uint32_t& total) {
  const uint32_t before = warp_sum_before(cta, value);
  cta.sync();
  if (lane_of(cta) == kWarp - 1) {
    warp_sums[warp_of(cta)] = before + value;
  }
  cta.sync();
  uint32_t sum = 0;
  total = 0;
  for (uint32_t warp = 0; warp < kBlockWarps; ++warp) {
    sum += warp < warp_of(cta) ? warp_sums[warp] : 0;
    total += warp_sums[warp];
  }
  return sum + before;
}

// Appends those elements of a tile that reach `threshold` to the candidate list, in order. x: four
// rows of four elements of each thread.
template <typename Cta>
LACONIC_DEVICE void append_tile(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                                const Float4 (&x)[kTileRows], uint32_t tile, uint32_t threshold,
                                uint32_t* candidates) {
  const int64_t first = int64_t{tile} * kTopKTile + 4 * cta.thread();
  uint32_t keep = 0;    // 4 bits per row
  uint32_t packed = 0;  // counts of the rows, 8 bits each: a warp has at most 128
  for (uint32_t row = 0; row < kTileRows; ++row) {
    for (uint32_t i = 0; i < 4; ++i) {
      const int64_t at = first + row * int64_t{4 * kBlockThreads} + i;
      const bool kept = at < args.shape.elements && magnitude_of(x[row].x[i]) >= threshold;
      keep |= (kept ? 1U : 0U) << (4 * row + i);
      packed += (kept ? 1U : 0U) << (8 * row);
    }
  }
  const uint32_t before = warp_sum_before(cta, packed);
  if (lane_of(cta) == kWarp - 1) {
    shared.warp_counts[warp_of(cta)] = before + packed;
  }
  cta.sync();
  uint32_t rank[kTileRows];
  uint32_t total = 0;
  for (uint32_t row = 0; row < kTileRows; ++row) {
    uint32_t of_row = 0;
    rank[row] = total + ((before >> (8 * row)) & 0xFF);
    for (uint32_t warp = 0; warp < kBlockWarps; ++warp) {
      const uint32_t count = (shared.warp_counts[warp] >> (8 * row)) & 0xFF;
      rank[row] += warp < warp_of(cta) ? count : 0;
      of_row += count;
    }
    total += of_row;
  }
  if (cta.thread() == 0) {
    shared.offset = total > 0 ? cta.atomic_add(candidates, total) : 0;
    args.slices[tile] = {.begin = shared.offset, .count = total};
  }
  cta.sync();
  const uint32_t offset = shared.offset;
  if (total == 0 || uint64_t{offset} + total > args.candidates_max) {
    return;  // Too many for the list: the count says so, and the list is not used.
  }
  for (uint32_t row = 0; row < kTileRows; ++row) {
    uint32_t to = offset + rank[row];
    for (uint32_t i = 0; i < 4; ++i) {
      if ((keep >> (4 * row + i) & 1) != 0) {
        args.positions[to] = static_cast<uint32_t>(first + row * int64_t{4 * kBlockThreads} + i);
        args.values[to] = x[row].x[i];
        ++to;
      }
    }
  }
}

template <typename Cta>
LACONIC_DEVICE void count_digit(Cta& cta, SelectShared& shared, uint32_t magnitude, int digit,
                                uint32_t prefix) {
  const uint32_t above = digit == 0 ? 0 : magnitude >> digit_shift(digit - 1);
  if (above == prefix) {
    cta.atomic_add(&shared.histogram[magnitude >> digit_shift(digit) & (digit_bins(digit) - 1)], 1);
  }
}

template <typename Cta>
LACONIC_DEVICE void clear_histogram(Cta& cta, SelectShared& shared) {
  cta.sync();
  for (uint32_t bin = cta.thread(); bin < digit_bins(0); bin += cta.threads()) {
    shared.histogram[bin] = 0;
  }
  cta.sync();
}

LACONIC_DEVICE inline uint32_t* bins_of(TopKControl& control, int digit) {
  return control.histogram + (digit > 0 ? digit_bins(0) : 0) + (digit > 1 ? digit_bins(1) : 0);
}

template <typename Cta>
LACONIC_DEVICE void flush_histogram(Cta& cta, SelectShared& shared, TopKControl& control,
                                    int digit) {
  cta.sync();
  uint32_t* bins = bins_of(control, digit);
  for (uint32_t bin = cta.thread(); bin < digit_bins(digit); bin += cta.threads()) {
    if (shared.histogram[bin] != 0) {
      cta.atomic_add(bins + bin, shared.histogram[bin]);
    }
  }
}

// The bucket that holds the needed-th largest; `needed` becomes how many of it are needed. All
// threads of the block, after a barrier of the grid.
template <typename Cta>
LACONIC_DEVICE uint32_t find_bucket(Cta& cta, SelectShared& shared, TopKControl& control, int digit,
                                    uint32_t& needed) {
  const uint32_t* bins = bins_of(control, digit);
  const uint32_t each = digit_bins(digit) / kBlockThreads;
  const uint32_t top = digit_bins(digit) - each * cta.thread();  // our bins are below it
  uint32_t own = 0;
  for (uint32_t i = 1; i <= each; ++i) {
    own += bins[top - i];
  }
  uint32_t total = 0;
  uint32_t before = block_sum_before(cta, shared.warp_sums, own, total);
  if (before < needed && needed <= before + own) {
    uint32_t bin = top - 1;
    while (before + bins[bin] < needed) {
      before += bins[bin--];
    }
    shared.bucket = bin;
    shared.needed = needed - before;
  }
  cta.sync();
  needed = shared.needed;
  return shared.bucket;
}

// Loads rows of a tile of the vector as it is after the first pass.
template <typename Cta>
LACONIC_DEVICE void load_tile(Cta& cta, const TopKEncodeArgs& args, uint32_t tile,
                              Float4 (&x)[kTileRows]) {
  const float* from = args.a == nullptr ? args.v : args.a;
  for (uint32_t row = 0; row < kTileRows; ++row) {
    const int64_t at =
        int64_t{tile} * kTopKTile + (row * kBlockThreads + cta.thread()) * int64_t{4};
    const int64_t left = args.shape.elements - at;
    x[row] = left > 0 ? load4(from + at, left, args.aligned) : Float4{};
  }
}

template <typename Cta>
LACONIC_DEVICE void count_tile(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                               const Float4 (&x)[kTileRows], uint32_t tile, int digit,
                               uint32_t prefix) {
  for (uint32_t row = 0; row < kTileRows; ++row) {
    const int64_t at =
        int64_t{tile} * kTopKTile + (row * kBlockThreads + cta.thread()) * int64_t{4};
    for (uint32_t i = 0; i < 4; ++i) {
      if (at + i < args.shape.elements) {
        count_digit(cta, shared, magnitude_of(x[row].x[i]), digit, prefix);
      }
    }
  }
}

// The first pass: a <- decay a + v, and either candidates from `threshold` on or, where that is 0,
// the histogram of the highest digit.
template <typename Cta>
LACONIC_DEVICE void first_pass(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                               uint32_t threshold) {
  QuantizeEncodeArgs sum;
  sum.shape.values = args.shape.elements;
  sum.v = args.v;
  sum.a = args.a;
  sum.decay = args.decay;
  sum.aligned = args.aligned;
  clear_histogram(cta, shared);
  for (uint32_t tile = cta.block(); tile < args.shape.tiles; tile += cta.blocks()) {
    Float4 x[kTileRows];
    for (uint32_t row = 0; row < kTileRows; ++row) {
      const int64_t at =
          int64_t{tile} * kTopKTile + (row * kBlockThreads + cta.thread()) * int64_t{4};
      x[row] = at < args.shape.elements ? take_sum4(sum, at) : Float4{};
    }
    for (uint32_t row = 0; row < kTileRows; ++row) {
      const int64_t at =
          int64_t{tile} * kTopKTile + (row * kBlockThreads + cta.thread()) * int64_t{4};
      for (const float value : x[row].x) {
        if (magnitude_of(value) >= kInfinity) {
          report_not_finite(cta, x[row], at, args.fault);
          cta.atomic_or(&args.control->not_finite, 1);
        }
      }
    }
    if (threshold > 0) {
      append_tile(cta, shared, args, x, tile, threshold, &args.control->candidates);
    } else {
      count_tile(cta, shared, args, x, tile, 0, 0);
    }
  }
  if (threshold == 0) {
    flush_histogram(cta, shared, *args.control, 0);
  }
}

// One more pass over the vector, for a digit; with `listed` those from the bucket on are collected.
template <typename Cta>
LACONIC_DEVICE void pass_over_vector(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                                     int digit, uint32_t prefix, bool collect) {
  clear_histogram(cta, shared);
  for (uint32_t tile = cta.block(); tile < args.shape.tiles; tile += cta.blocks()) {
    Float4 x[kTileRows];
    load_tile(cta, args, tile, x);
    count_tile(cta, shared, args, x, tile, digit, prefix);
    if (collect) {
      append_tile(cta, shared, args, x, tile, prefix << digit_shift(0),
                  &args.control->candidates_again);
    }
  }
  flush_histogram(cta, shared, *args.control, digit);
}

template <typename Cta>
LACONIC_DEVICE void pass_over_list(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                                   int digit, uint32_t prefix) {
  clear_histogram(cta, shared);
  const uint32_t count = args.control->candidates_again;
  const uint32_t step = cta.blocks() * kBlockThreads;
  for (uint64_t i = uint64_t{cta.block()} * kBlockThreads + cta.thread(); i < count; i += step) {
    count_digit(cta, shared, magnitude_of(args.values[i]), digit, prefix);
  }
  flush_histogram(cta, shared, *args.control, digit);
}

// The k largest: T digit by digit. counted: the first pass made the histogram of the first digit.
template <typename Cta>
LACONIC_DEVICE Selection select_exact(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                                      bool counted) {
  if (!counted) {
    pass_over_vector(cta, shared, args, 0, 0, false);
    cta.grid_sync();
  }
  auto needed = static_cast<uint32_t>(args.shape.kept);
  uint32_t prefix = find_bucket(cta, shared, *args.control, 0, needed);
  const uint32_t from_bucket =
      static_cast<uint32_t>(args.shape.kept) - needed + args.control->histogram[prefix];
  const bool listed = from_bucket <= args.candidates_max;
  pass_over_vector(cta, shared, args, 1, prefix, listed);
  cta.grid_sync();
  prefix = prefix * digit_bins(1) + find_bucket(cta, shared, *args.control, 1, needed);
  if (listed) {
    pass_over_list(cta, shared, args, 2, prefix);
  } else {
    pass_over_vector(cta, shared, args, 2, prefix, false);
  }
  cta.grid_sync();
  prefix = prefix * digit_bins(2) + find_bucket(cta, shared, *args.control, 2, needed);
  return {.exact = true, .listed = listed, .threshold = prefix, .equal = needed};
}

// The whole selection: see the head of top_k_codec.h for when a threshold is used again. False if
// an element is not finite. Cooperative.
template <typename Cta>
LACONIC_DEVICE bool select_top_k(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                                 Selection& selection) {
  const TopKState state = *args.state;
  const bool exact = args.shape.elements < core::kTopKChunk || state.threshold == 0 ||
                     state.age + 1 >= kRoundsPerExact;
  first_pass(cta, shared, args, exact ? 0 : state.threshold);
  cta.grid_sync();
  if (args.control->not_finite != 0) {
    return false;
  }
  if (!exact && args.control->candidates <= args.shape.kept_max) {
    // Every candidate reaches t, so all are above t - 1.
    selection = {.exact = false, .listed = true, .threshold = state.threshold - 1, .equal = 0};
    return true;
  }
  selection = select_exact(cta, shared, args, exact);
  return true;
}

}  // namespace laconic::compress::cuda
