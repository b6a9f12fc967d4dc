// How alike the ranks of a job are (exchange.similarity), for tables, JSON and reports. Pure.
#pragma once

#include <string>
#include <vector>

#include "laconic/v1/control.pb.h"

namespace laconic::cli {

// All that rank 0 measured, in order, or the last one of a job that still runs; empty: none.
std::vector<v1::SimilarityState> similarity_of(const v1::Job& job);

// "delta 0.31, L 1.2 (26 %)".
std::string similarity_text(const v1::SimilarityState& state);

// [{"step", "delta_rms", "smoothness", "deltas", "inner_steps"}, ...]
std::string similarity_json(const std::vector<v1::SimilarityState>& states);

}  // namespace laconic::cli
