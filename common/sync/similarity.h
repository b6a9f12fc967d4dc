// How alike the losses of the ranks curve, from gradients at two shared points and few bytes.
//
//   y_m = grad f_m(theta') - grad f_m(theta)    of rank m = 0..P-1, on samples of its share
//   y   = (1/P) sum_m y_m                       s = theta' - theta
//   delta_m = |y_m - y| / |s|                   = |(Hess f_m - Hess f) s| / |s| along the way
//   L       = |y| / |s|
//
// L / delta tells how many steps one exchange is worth. Nobody sends y_m, [d]: a rank sends a
// sketch S y_m, [k], from which inner products are known up to a relative error of about sqrt(2 /
// k). It does so for two halves A and B of its samples: the noise of the samples has mean 0 in
// <y_m^A - y^A, y_m^B - y^B>, and would be all that |y_m - y|^2 shows where the ranks are alike.
//
// Source: secant estimate of the second-order similarity delta (Shamir, Srebro, Zhang, DANE, ICML
// 2014); sketch: Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", ICALP
// 2002, one row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"

namespace laconic::sync {

inline constexpr size_t kSketchSize = 256;  // k: 9 % of a squared norm, 4 % of delta and L

struct Similarity {
  std::vector<double> deltas;  // [P], >= 0
  double delta_rms = 0;        // root of the mean of their squares, >= 0
  double smoothness = 0;       // L >= 0
  // What the roots were taken of; below 0 where the noise is larger than what it hides.
  double delta_square = 0;
  double smoothness_square = 0;
};

// Several measurements in a row: one alone is noisy where the ranks are alike. Plain, so that it
// can be saved.
struct SimilarityMean {
  float delta_square = 0;
  float smoothness_square = 0;
  float count = 0;  // 0: nothing yet

  // Counts half, what was before the other half; the first one whole. Squares, since those are
  // unbiased.
  void add(const Similarity& similarity);
  // delta / L, 0 or more; infinite where L is 0 and delta is not.
  double ratio() const;
};

// S v: adds every element, with a random sign, to one of k sums. Linear, the same on all machines
// for the same seed.
//
//   v [d] any d    sketch [k] overwritten
//
// Cost: O(d), a few ns an element.
void make_sketch(std::span<const float> v, uint64_t seed, std::span<float> sketch);

// |theta' - theta| in double, the same bits on every rank. Both [d].
double secant_length(std::span<const float> from, std::span<const float> to);

// From the sketches of all ranks.
//
//   sketches  [P, 2, k] of y_m, half A before half B    distance  |s| > 0
//
// Squares that come out negative, as they may where a norm is below the noise, count as 0 in
// `deltas`, but as what they are in delta_rms, whose mean they keep unbiased.
Similarity estimate_similarity(std::span<const float> sketches, double distance);

// All ranks call it together: gathers the sketches and estimates. The same result on all, bit for
// bit.
//
//   halves  [2, k] of this rank
//
// Cost: 2 k floats to every other rank. Errors: as Communicator::all_gather; DataLoss for a peer's
// sketch of another length or with a number that is not finite.
absl::StatusOr<Similarity> gather_similarity(std::span<const float> halves, double distance,
                                             collective::Communicator& communicator,
                                             const collective::OpTag& tag);

// H = 8 (1 / ratio + 2) for ratio = delta / L >= 0, in [low, high]: so many steps between rounds
// cost no more than a constant in the number of rounds. Source: I-CGM-RG ("Non-convex federated
// optimization under cost-aware client selection", ICLR 2026): 8 (L + lambda) / (lambda - delta)
// steps in the mean, with lambda = 2 delta.
int64_t steps_for_similarity(double ratio, int64_t low, int64_t high);

}  // namespace laconic::sync
