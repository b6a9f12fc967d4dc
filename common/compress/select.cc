#include "common/compress/select.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "common/compress/simd.h"

namespace laconic::compress {
namespace {

// A bucket, and how many elements it must give beside all those of higher buckets.
struct Cut {
  uint32_t bucket = 0;
  int64_t needed = 0;
};

template <typename Count>
Cut find_cut(const std::vector<Count>& counts, int64_t needed) {
  auto bucket = static_cast<uint32_t>(counts.size() - 1);
  while (static_cast<int64_t>(counts[bucket]) < needed) {
    needed -= static_cast<int64_t>(counts[bucket]);
    --bucket;
  }
  return {.bucket = bucket, .needed = needed};
}

// Candidates: 128 buckets to an octave, so the boundary bucket has few of them and neighbouring
// increments seldom wait for each other.
constexpr int kCandidateShift = 16;
// Sample: 64 buckets to an octave, so rounding t down adds about 2 % of candidates in the tail.
constexpr int kSampleShift = 17;
// Two cache lines of every 256: each layer of more than a few thousand elements has its share.
constexpr size_t kSampleRun = 32;
constexpr size_t kSampleStride = 4096;
// Each run is on a page of its own: fetched this much ahead, the sample takes a tenth of the time.
constexpr size_t kSampleAhead = 8 * kSampleStride;

void prefetch_run(std::span<const float> in, size_t at) {
  constexpr size_t kLine = 16;
  if (!in.empty()) {
    __builtin_prefetch(&in[at]);
    __builtin_prefetch(&in[at + kLine]);
  }
}

}  // namespace

std::vector<uint32_t> select_top_k(std::span<const float> in, int64_t k) {
  constexpr int kLowBits = 15;  // of 31; the 16 high ones are counted first
  std::vector<int64_t> high_counts(size_t{1} << (31 - kLowBits));
  for (const float x : in) {
    ++high_counts[magnitude_bits(x) >> kLowBits];
  }
  const Cut high = find_cut(high_counts, k);
  std::vector<int64_t> low_counts(size_t{1} << kLowBits);
  for (const float x : in) {
    const uint32_t bits = magnitude_bits(x);
    if (bits >> kLowBits == high.bucket) {
      ++low_counts[bits & ((1U << kLowBits) - 1)];
    }
  }
  const Cut low = find_cut(low_counts, high.needed);
  const uint32_t threshold = (high.bucket << kLowBits) | low.bucket;
  std::vector<uint32_t> positions;
  positions.reserve(static_cast<size_t>(k));
  int64_t ties = low.needed;
  for (size_t i = 0; i < in.size(); ++i) {
    const uint32_t bits = magnitude_bits(in[i]);
    if (bits > threshold || (bits == threshold && ties-- > 0)) {
      positions.push_back(static_cast<uint32_t>(i));
    }
  }
  return positions;
}

void TopKSelector::reserve(size_t candidates) {
  const size_t room = candidates + kSelectSlack;
  if (positions_.size() < room) {
    positions_.resize(room);
    values_.resize(room);
  }
  found_ = {.positions = positions_.data(), .values = values_.data()};
  smallest_ = 0;
}

bool TopKSelector::collect(const SelectSource& source, uint32_t threshold, int64_t k) {
  const SelectBlockFunction select = select_block_function(simd_level());
  const auto kept = static_cast<size_t>(k);
  const size_t full = kept + std::max(kept / 2, kSelectBlock);
  reserve(full + kSelectBlock);
  bool all = true;
  const size_t d = source.a.size();
  for (size_t begin = 0; begin < d; begin += kSelectBlock) {
    SelectBlock block{.a = source.a.data() + begin,
                      .count = std::min(kSelectBlock, d - begin),
                      .decay = source.decay,
                      .first_position = static_cast<uint32_t>(begin),
                      .threshold = threshold};
    if (!source.v.empty()) {
      block.v = source.v.data() + begin;
      block.sum = source.sum.data() + begin;
    }
    select(block, found_);
    if (source.squares != nullptr) {  // The block is still in L1.
      source.squares->v += squared_norm({block.v, block.count});
      source.squares->a += squared_norm({block.sum, block.count});
    }
    if (found_.count > full) {
      keep_largest(k);
      threshold = std::min(smallest_ + 1, kMagnitudeMask);
      all = false;
    }
  }
  return all;
}

KthMagnitude TopKSelector::kth_largest(int64_t k) {
  counts_.assign(size_t{1} << (31 - kCandidateShift), 0);
  for (const float x : values()) {
    ++counts_[magnitude_bits(x) >> kCandidateShift];
  }
  const Cut cut = find_cut(counts_, k);
  boundary_.clear();
  for (const float x : values()) {
    const uint32_t bits = magnitude_bits(x);
    if (bits >> kCandidateShift == cut.bucket) {
      boundary_.push_back(bits);
    }
  }
  const auto kth = boundary_.begin() + (cut.needed - 1);
  std::nth_element(boundary_.begin(), kth, boundary_.end(), std::greater<>());
  return {.bits = *kth, .equal = std::count(boundary_.begin(), kth + 1, *kth)};
}

void TopKSelector::keep_largest(int64_t k) {
  const KthMagnitude kth = kth_largest(k);
  int64_t equal = kth.equal;
  size_t kept = 0;
  for (size_t i = 0; i < found_.count; ++i) {
    const float x = values_[i];
    const uint32_t bits = magnitude_bits(x);
    values_[kept] = x;
    positions_[kept] = positions_[i];
    // No branches: which ones stay is a coin toss.
    const int64_t same = bits == kth.bits ? 1 : 0;
    const size_t above = bits > kth.bits ? 1 : 0;
    kept += above | static_cast<size_t>(same & (equal > 0 ? 1 : 0));
    equal -= same;
  }
  found_.count = kept;
  smallest_ = kth.bits;
}

uint32_t TopKSelector::sampled_threshold(const SelectSource& source, int64_t k) {
  counts_.assign(size_t{1} << (31 - kSampleShift), 0);
  const size_t d = source.a.size();
  int64_t sampled = 0;
  for (size_t begin = 0; begin + kSampleRun <= d; begin += kSampleStride) {
    const size_t later = std::min(begin + kSampleAhead, d - kSampleRun);
    prefetch_run(source.a, later);
    prefetch_run(source.v, later);
    for (size_t i = begin; i < begin + kSampleRun; ++i) {
      const float x = source.v.empty() ? source.a[i] : source.decay * source.a[i] + source.v[i];
      ++counts_[magnitude_bits(x) >> kSampleShift];
    }
    sampled += kSampleRun;
  }
  // One eighth and four standard deviations more than k of d, so that a second pass is rare.
  const double share = static_cast<double>(k) / static_cast<double>(d);
  const double mean = share * static_cast<double>(sampled);
  const auto rank = static_cast<int64_t>(1.125 * mean + 4 * std::sqrt(mean) + 4);
  return rank < sampled ? find_cut(counts_, rank).bucket << kSampleShift : 0;
}

void TopKSelector::select_exact(const SelectSource& source, int64_t k) {
  collect(source, sampled_threshold(source, k), k);
  if (finite() && static_cast<int64_t>(found_.count) < k) {
    collect({.a = source.a}, 0, k);
  }
  if (finite()) {
    keep_largest(k);
  }
}

bool TopKSelector::select_above(const SelectSource& source, uint32_t threshold, int64_t k,
                                int64_t kept_max) {
  const bool all = collect(source, threshold, k);
  if (!finite() || (all && static_cast<int64_t>(found_.count) <= kept_max)) {
    return true;
  }
  keep_largest(k);
  return false;
}

}  // namespace laconic::compress
