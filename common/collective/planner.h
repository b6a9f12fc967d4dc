// Chooses codec and schedule for a link: the fastest that keeps within an error budget, and dense
// where dense wins. Pure: equal inputs give every rank the same plan.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/cost_model.h"

namespace laconic::collective {

// One codec that the job allows. name: as in the log, "int8".
struct Candidate {
  std::string name;
  CodecCost cost;
  bool may_be_cut = true;  // core::may_be_cut(); false: all-gather only
};

struct PlannedWay {
  size_t candidate = 0;  // index into the candidates
  Prediction prediction;
};

struct Plan {
  PlannedWay chosen;
  std::vector<PlannedWay> ways;         // all that the budget allows, fastest first
  std::vector<PlannedWay> over_budget;  // likewise, those that it does not
  std::string explanation;  // a few lines for the log: numbers of the chosen and of the others
};

struct PlanRequest {
  int world_size = 1;  // P >= 1
  LinkCost link;
  std::optional<SiteLinks> sites = std::nullopt;  // measured: hierarchical is a way, too
  int64_t float32_bytes = 0;                      // with sites: 4 d
  double error_budget = 0;  // largest NMSE of the mean (cost_model.h); lossless ways always keep it
  core::Schedule schedule = core::Schedule::kAuto;  // other than kAuto: only ways by this one
};

// A lossy way must be predicted this much faster than the best dense one to be chosen, as a factor
// and in seconds per exchange: predictions are not better than that, and dense loses nothing.
inline constexpr double kDenseAdvantage = 1.05;
inline constexpr double kDenseAdvantageSeconds = 1e-3;

// candidates: at least one, in order of preference where predictions are equal. In float32
// all-gather is a way only for rounds of at most core::kTinyRoundBytes: beyond, its copies cost
// what the model does not count.
// Errors: InvalidArgument for a link without latency or rate, an empty list, or a budget and a
// schedule that nothing keeps.
absl::StatusOr<Plan> make_plan(const PlanRequest& request, std::span<const Candidate> candidates);

}  // namespace laconic::collective
