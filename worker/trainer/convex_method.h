// The convex method that a job names, with the constants that it gives or leaves to be estimated.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/convex/method.h"
#include "laconic/v1/job.pb.h"

namespace laconic::trainer {

struct ConvexMethod {
  std::unique_ptr<convex::Method> method;
  // Taken or estimated; 0: the method needs none. similarity: the first guess where it is adapted.
  double smoothness = 0;
  double similarity = 0;
  bool estimated = false;  // One of them was.
};

// All ranks call it together. job: with its defaults filled in. start: [d]. anchor: a rank.
// samples: of this rank; on the anchor they give OLGA's first guess of delta, L_1 / sqrt(samples),
// as for shuffled data.
//
// Steps by rule, times step_scale: GD, AGD, LAQ 1/L; DIANA 1/(L (1 + 4 w/M)); MARINA
// 1/(L (1 + w/sqrt(M))), both with w = d/K - 1; EF21 1/(4 L), as measured.
//
// Errors: those of the exchange and the objective; OutOfRange if the loss does not curve.
absl::StatusOr<ConvexMethod> make_convex_method(const v1::TrainJob& job,
                                                collective::Communicator& communicator,
                                                convex::Objective& objective,
                                                std::span<const double> start, int anchor,
                                                int64_t samples);

}  // namespace laconic::trainer
