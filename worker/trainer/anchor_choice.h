// Which rank is the anchor worker of a convex method: the closer its Hessian is to the mean of all,
// the smaller the delta_1 that the subproblems on its data leave over.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/convex/objective.h"

namespace laconic::trainer {

struct AnchorChoice {
  int rank = 0;
  // Of every rank, in rank order: the largest |(Hess f_m - Hess f) v| / |v| that was seen, which is
  // at most |Hess f_m - Hess f|. Empty: not measured.
  std::vector<double> deltas;
};

// All ranks call it together and come to the same choice: the rank with the smallest delta, the
// first of equals.
//
//   v      random, of the seed; then (Hess f_m - Hess f) v of the rank m whose delta is smallest so
//          far: power iteration on the one that would be chosen, until another would be
//   Hess v from gradients at x and x + v; their mean travels as float32
//
// Cost: kAnchorSteps + 1 gradients of each f_m; 4 (P-1)/P float32 vectors sent in each of the
// kAnchorSteps, one less in the first. Errors: those of the exchange and f_m.
inline constexpr int kAnchorSteps = 6;
absl::StatusOr<AnchorChoice> choose_anchor(convex::Objective& objective, std::span<const double> x,
                                           uint64_t seed, collective::Communicator& communicator);

}  // namespace laconic::trainer
