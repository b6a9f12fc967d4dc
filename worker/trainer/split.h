// Which samples a rank trains on, and in which order. Pure functions of seed, world and labels: all
// ranks compute the same shares without a word.
//
//   n  samples    P  world_size    K  classes
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/core/random.h"

namespace laconic::trainer {

struct World {
  int rank = 0;
  int world_size = 1;
};

// The r-th of P equal stretches of 0..n-1; the first n mod P are one longer.
struct Stretch {
  int64_t begin = 0;
  int64_t end = 0;
};
Stretch equal_stretch(int64_t samples, World world);

// Share of `world.rank`, in ascending stretches of one shuffled order. Together the shares hold
// every sample once. Errors: InvalidArgument, reason BAD_DATA, if n < P.
absl::StatusOr<std::vector<int64_t>> iid_share(int64_t samples, World world, uint64_t seed);

// The rank's equal_stretch. Errors: as iid_share.
absl::StatusOr<std::vector<int64_t>> contiguous_share(int64_t samples, World world);

// Unlike shares: for every class, the proportions of the ranks are drawn from Dirichlet(alpha) and
// its shuffled samples are dealt out by them. A rank with fewer than `share_min` samples then gets
// the last ones of the rank that has most.
//
//   labels   [n], 0..K-1
//   returns  [P] shares, together every sample once
//
// Errors: InvalidArgument, reason BAD_DATA, if n < P share_min.
// Source: Hsu, Qi, Brown, arXiv 1909.06335.
struct DirichletOptions {
  double alpha = 1;
  uint64_t seed = 0;
  int world_size = 1;
  int64_t share_min = 1;
};
absl::StatusOr<std::vector<std::vector<int64_t>>> dirichlet_shares(std::span<const int64_t> labels,
                                                                   const DirichletOptions& options);

// Endless stream of the samples of one share: every pass is a new permutation.
class SampleOrder {
 public:
  SampleOrder(std::vector<int64_t> share, uint64_t seed, int rank);

  // The next `count` samples; a pass may end within.
  std::vector<int64_t> next(int64_t count);
  // As next(count), without the samples.
  void skip(int64_t count);
  // Samples of the share by their places in it, as it was given.
  std::vector<int64_t> pick(std::span<const int64_t> places) const;
  int64_t size() const { return static_cast<int64_t>(share_.size()); }

 private:
  void start_pass();

  std::vector<int64_t> share_;
  core::Random random_;
  std::vector<int64_t> order_;
  size_t position_ = 0;
};

// Streams of core::Random: one number per use, so that none repeats another's draws.
inline constexpr uint64_t kSplitStream = 1;
inline constexpr uint64_t kDirichletStream = 2;
inline constexpr uint64_t kOrderStream = 1000;      // plus the rank
inline constexpr uint64_t kWindowStream = 1 << 20;  // plus the rank
inline constexpr uint64_t kProbeStream = 1 << 21;   // plus the rank

// `count` indices evenly over 0..total-1, ascending and distinct; all of them if count >= total.
std::vector<int64_t> evenly_spaced(int64_t total, int64_t count);

}  // namespace laconic::trainer
