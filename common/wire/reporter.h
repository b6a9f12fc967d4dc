// Which rank of a job speaks for all of them.
#pragma once

#include "laconic/v1/control.pb.h"

namespace laconic::wire {

// The one whose reports name what the job exchanges by: rank 0, or the anchor worker of
// exchange.convex. It alone evaluates and knows what all decided together. Rank 0 before the first
// report. job: has at least one rank.
const v1::Rank& reporter(const v1::Job& job);

}  // namespace laconic::wire
