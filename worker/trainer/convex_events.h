// What a person is told of a convex method: sentences for events and the log. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "common/convex/method.h"
#include "laconic/v1/job.pb.h"
#include "worker/trainer/anchor_choice.h"
#include "worker/trainer/convex_method.h"

namespace laconic::trainer {

// The constants that the method begins with, and where they come from; which rank is the anchor
// worker and why, where that was measured.
std::string constants_sentence(const v1::Convex& spec, const AnchorChoice& anchor,
                               const ConvexMethod& method);

// What the last iteration decided and why: inner rounds, messages that were not sent, delta. Empty
// for algorithms that decide nothing.
std::string iteration_sentence(const v1::Convex& spec, int64_t iteration,
                               const convex::IterationReport& report);

// How it ended.
std::string end_sentence(const v1::Convex& spec, int64_t iterations, double gradient_norm);

}  // namespace laconic::trainer
