// Which elements top-k sends, in one pass over memory.
//
//   d  elements    k  kept    t  threshold    |x|  magnitude: the bits of x without its sign
//
// Exact selection needs no second pass and no histogram of all elements. A sample of one
// element in 128 gives a t that a little more than k elements are likely to reach; the pass
// collects those, and the k largest of them are the k largest of all. Where the sample misleads:
//   too many reach t  whenever more than 1.5 k are collected, all but the k largest are dropped,
//   and
//                     t rises to the next magnitude above the smallest kept one: from then on an
//                     equal one, having a higher index, loses. So memory is O(k) whatever comes.
//   too few reach it  one more pass, with t = 0.
// An earlier round's t takes the place of the sample where it may (select_above()).
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "common/compress/select_kernels.h"
#include "common/compress/squared_norm.h"

namespace laconic::compress {

// Positions of the k entries of `in` with the largest magnitude, ascending.
//
//   in  [d] f32, finite    k  1..d    d  at most core::kCodecElementsMax
//
// Ties go to the lower index, so equal inputs give equal output on every rank. The specification of
// TopKSelector::select_exact(), which is much faster.
// Cost: three passes over `in`, 0.75 MiB of counters.
// Source: Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory", NeurIPS 2018.
std::vector<uint32_t> select_top_k(std::span<const float> in, int64_t k);

// Magnitude bits of x (select_kernels.h).
inline uint32_t magnitude_bits(float x) {
  return std::bit_cast<uint32_t>(x) & kMagnitudeMask;
}

// The k-th largest of some magnitudes, and how many of those equal to it are among the k.
struct KthMagnitude {
  uint32_t bits = 0;
  int64_t equal = 0;
};

// What to select from: `a` alone, or decay a + v, which the selection writes back to `a`.
struct SelectSource {
  std::span<const float> a;  // [d]
  // Empty: only `a`. Else [d], and sum.data() == a.data().
  std::span<const float> v{};
  std::span<float> sum{};
  float decay = 0;
  EncodeSquares* squares = nullptr;  // with v: gets the norms
};

// Holds the memory of a selection, O(k), and keeps it for the next one. Owned by one thread.
class TopKSelector {
 public:
  // Selects exactly k, 1 <= k <= d: those of select_top_k(). Cost: one pass, rarely two.
  void select_exact(const SelectSource& source, int64_t k);

  // Selects all elements with |x| >= t if those are at most kept_max, else exactly the k largest
  // and returns false. k <= kept_max <= 1.5 k. Cost: one pass.
  bool select_above(const SelectSource& source, uint32_t threshold, int64_t k, int64_t kept_max);

  // False if an element was a NaN or an infinity: nothing else here means anything then.
  bool finite() const { return found_.largest < kInfinityBits; }
  // The selected elements in ascending order of their positions.
  std::span<const uint32_t> positions() const { return {found_.positions, found_.count}; }
  std::span<const float> values() const { return {found_.values, found_.count}; }
  // After exactly k were selected: magnitude bits of the smallest of them.
  uint32_t smallest() const { return smallest_; }

 private:
  void reserve(size_t candidates);
  // One pass. Returns false if it had to drop some, in which case the k largest are left, perhaps
  // with others that came later.
  bool collect(const SelectSource& source, uint32_t threshold, int64_t k);
  // Drops all but the k largest; there are at least k.
  void keep_largest(int64_t k);
  KthMagnitude kth_largest(int64_t k);
  // A threshold that probably a little more than k elements reach.
  uint32_t sampled_threshold(const SelectSource& source, int64_t k);

  std::vector<uint32_t> positions_;
  std::vector<float> values_;
  SelectOutput found_;  // points into the two above
  uint32_t smallest_ = 0;
  std::vector<uint32_t> counts_;    // of magnitudes by their upper bits
  std::vector<uint32_t> boundary_;  // magnitudes of the bucket that holds the k-th
};

}  // namespace laconic::compress
