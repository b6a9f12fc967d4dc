// Constants of a problem that nobody gave, from the workers' data before the first iteration.
//
//   f_m  of worker m, f their mean    L  smoothness of f    delta_1  max |Hess f_1 - Hess f|
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/convex/objective.h"

namespace laconic::convex {

inline constexpr int kSimilaritySteps = 10;

// All ranks call it together. Returns on all ranks the mean of the workers' own L_m, each from
// initial_smoothness() at x: no less than L where Hessians are largest at x, as those of logistic
// and softmax regression are at 0.
//
// Cost: 11 gradients of each f_m; 4 bytes up, 8 down. Errors: those of the exchange and f_m;
// OutOfRange if it is not above 0 or not finite: f does not curve.
absl::StatusOr<double> estimate_mean_smoothness(collective::Communicator& communicator, int anchor,
                                                Objective& objective, std::span<const double> x,
                                                uint64_t seed);

// All ranks call it together. Returns on all ranks an estimate of delta_1 at x: power iteration on
// differences of grad (f_1 - f), with a margin of 1.1 (10 steps find 95 % of the norm of a random
// matrix). Never below `least`.
//
// Cost: kSimilaritySteps + 1 gradients of each f_m, as many float32 vectors up and down. Errors:
// those of the exchange and f_m. Source: similarity-methods 11.2.
absl::StatusOr<double> estimate_similarity(collective::Communicator& communicator, int anchor,
                                           Objective& objective, std::span<const double> x,
                                           double least, uint64_t seed);

}  // namespace laconic::convex
