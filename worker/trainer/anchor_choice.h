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
  // Of every rank, in rank order: |(Hess f_m - Hess f) v| / |v|, root of the mean square over the
  // directions. Empty: not measured.
  std::vector<double> deltas;
};

// All ranks call it together and come to the same choice: the rank with the smallest delta, the
// first of equals. Gradients at x and at x + v in kAnchorDirections directions v that the seed
// draws, told by sketches (sync/similarity.h).
//
// Cost: 5 gradients of each f_m; 8 KiB to every other rank. Errors: those of the exchange and f_m.
inline constexpr int kAnchorDirections = 4;
absl::StatusOr<AnchorChoice> choose_anchor(convex::Objective& objective, std::span<const double> x,
                                           uint64_t seed, collective::Communicator& communicator);

}  // namespace laconic::trainer
