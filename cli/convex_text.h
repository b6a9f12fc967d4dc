// How the convex method of a job stands, for tables, JSON and reports. Pure.
#pragma once

#include <optional>
#include <string>

#include "laconic/v1/control.pb.h"

namespace laconic::cli {

// As the anchor worker reported it last; unset: the job has no exchange.convex, or nothing came
// yet.
std::optional<v1::ConvexState> convex_of(const v1::Job& job);

// "gradient norm 1.2e-05 (converged), delta 0.031, anchor worker rank 2, 120 of 640 messages not
// sent".
std::string convex_text(const v1::ConvexState& state);

// {"gradient_norm", "similarity", "messages", "skipped_messages", "subproblem_steps",
// "divergence_guards", "converged", "anchor"}; null: unset.
std::string convex_json(const std::optional<v1::ConvexState>& state);

}  // namespace laconic::cli
