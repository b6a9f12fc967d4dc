// Chooses codec and schedule for a link: the fastest that keeps within an error budget, and dense
// where dense wins. Pure: equal inputs give every rank the same plan.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/cost_model.h"

namespace laconic::collective {

// One codec that the job allows. name: as in the log, "int8 blocks of 256".
struct Candidate {
  std::string name;
  CodecCost cost;
};

struct PlannedWay {
  size_t candidate = 0;  // index into the candidates
  Prediction prediction;
};

struct Plan {
  PlannedWay chosen;
  std::vector<PlannedWay> ways;  // all that the budget allows, fastest first
  std::string explanation;       // a few lines for the log: numbers of the chosen and of the others
};

// A lossy way must be predicted this much faster than the best dense one to be chosen: predictions
// are not better than that, and dense loses nothing.
inline constexpr double kDenseAdvantage = 1.05;

// world_size: P >= 1. candidates: at least one, in order of preference where predictions are equal.
// error_budget: largest NMSE of the mean (cost_model.h); lossless ways always keep within it.
// Errors: InvalidArgument for a link without latency or rate, an empty list, or a budget that
// nothing keeps.
absl::StatusOr<Plan> make_plan(int world_size, const LinkCost& link,
                               std::span<const Candidate> candidates, double error_budget);

}  // namespace laconic::collective
