#include "common/collective/planner.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/core/format.h"
#include "common/core/schedule_choice.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

constexpr core::Schedule kLossless[] = {core::Schedule::kSharded, core::Schedule::kAllGather,
                                        core::Schedule::kRing, core::Schedule::kTree};
constexpr core::Schedule kLossy[] = {core::Schedule::kAllGather, core::Schedule::kSharded,
                                     core::Schedule::kStar, core::Schedule::kTree};

// As many ways as a log line can hold without hiding the choice.
constexpr size_t kExplainedMax = 6;

absl::Status check_link(const LinkCost& link) {
  const bool good = std::isfinite(link.latency_seconds) && link.latency_seconds >= 0 &&
                    std::isfinite(link.bytes_per_second) && link.bytes_per_second > 0;
  if (!good) {
    return absl::InvalidArgumentError(
        absl::StrCat("planner: a link of ", link.latency_seconds, " s and ", link.bytes_per_second,
                     " bytes/s; the latency must be 0 or more, the rate above 0"));
  }
  return absl::OkStatus();
}

std::string describe(const PlannedWay& way, std::span<const Candidate> candidates) {
  const Prediction& p = way.prediction;
  return absl::StrFormat("%-11s %-24s %9.4f s = codec %.4f + latency %.4f + wire %.4f; %s sent",
                         core::schedule_name(p.schedule), candidates[way.candidate].name,
                         p.seconds(), p.codec_seconds, p.latency_seconds, p.wire_seconds,
                         core::format_bytes(static_cast<int64_t>(p.sent_bytes)));
}

std::string explain(const Plan& plan, const PlanRequest& request,
                    std::span<const Candidate> candidates) {
  std::string text = absl::StrFormat(
      "%d ranks, slowest link %.2f ms and %s/s; predicted seconds per exchange:\n",
      request.world_size, request.link.latency_seconds * 1e3,
      core::format_bytes(static_cast<int64_t>(std::min(request.link.bytes_per_second, 1e18))));
  if (request.sites.has_value()) {
    const SiteLinks& sites = *request.sites;
    absl::StrAppendFormat(
        &text, "%d ranks a site: %.2f ms and %s/s inside, %.2f ms and %s/s between sites\n",
        sites.ranks_per_site, sites.inside.latency_seconds * 1e3,
        core::format_bytes(static_cast<int64_t>(std::min(sites.inside.bytes_per_second, 1e18))),
        sites.between.latency_seconds * 1e3,
        core::format_bytes(static_cast<int64_t>(std::min(sites.between.bytes_per_second, 1e18))));
  }
  absl::StrAppend(&text, "chosen   ", describe(plan.chosen, candidates));
  for (size_t i = 0; i < std::min(plan.ways.size(), kExplainedMax); ++i) {
    absl::StrAppend(&text, "\n         ", describe(plan.ways[i], candidates));
  }
  return text;
}

// False for ways that cannot run, or that the request leaves out.
bool is_a_way(core::Schedule schedule, const PlanRequest& request, const Candidate& candidate) {
  if (request.schedule != core::Schedule::kAuto && request.schedule != schedule) {
    return false;
  }
  if (schedule != core::Schedule::kAllGather) {
    return candidate.may_be_cut;
  }
  const int64_t round = (request.world_size - 1) * candidate.cost.payload_bytes;
  return candidate.cost.lossy() || request.schedule == core::Schedule::kAllGather ||
         round <= core::kTinyRoundBytes;
}

void add_ways(const PlanRequest& request, std::span<const Candidate> candidates, Plan& plan) {
  const auto add = [&](size_t candidate, const Prediction& prediction) {
    const bool within =
        !candidates[candidate].cost.lossy() || prediction.error <= request.error_budget;
    (within ? plan.ways : plan.over_budget).push_back({candidate, prediction});
  };
  for (size_t i = 0; i < candidates.size(); ++i) {
    const CodecCost& cost = candidates[i].cost;
    const std::span<const core::Schedule> schedules =
        cost.lossy() ? std::span<const core::Schedule>(kLossy)
                     : std::span<const core::Schedule>(kLossless);
    for (const core::Schedule schedule : schedules) {
      if (is_a_way(schedule, request, candidates[i])) {
        add(i, predict(schedule, request.world_size, request.link, cost));
      }
    }
    if (request.sites.has_value() &&
        is_a_way(core::Schedule::kHierarchical, request, candidates[i])) {
      add(i, predict_sites(request.world_size, *request.sites, cost, request.float32_bytes));
    }
  }
  const auto faster = [](const PlannedWay& a, const PlannedWay& b) {
    return a.prediction.seconds() < b.prediction.seconds();
  };
  std::stable_sort(plan.ways.begin(), plan.ways.end(), faster);
  std::stable_sort(plan.over_budget.begin(), plan.over_budget.end(), faster);
}

}  // namespace

absl::StatusOr<Plan> make_plan(const PlanRequest& request, std::span<const Candidate> candidates) {
  if (const absl::Status status = check_link(request.link); !status.ok()) {
    return status;
  }
  if (request.sites.has_value()) {
    LACONIC_RETURN_IF_ERROR(check_link(request.sites->inside));
    LACONIC_RETURN_IF_ERROR(check_link(request.sites->between));
  }
  Plan plan;
  add_ways(request, candidates, plan);
  if (plan.ways.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("planner: none of ", candidates.size(), " codecs keeps within an error of ",
                     request.error_budget,
                     request.schedule == core::Schedule::kAuto
                         ? ""
                         : absl::StrCat(" by the schedule ", core::schedule_name(request.schedule)),
                     "; allow dense float32, or raise the budget"));
  }
  plan.chosen = plan.ways.front();
  const auto dense = std::find_if(plan.ways.begin(), plan.ways.end(), [&](const PlannedWay& way) {
    return !candidates[way.candidate].cost.lossy();
  });
  const double fastest = plan.chosen.prediction.seconds();
  if (dense != plan.ways.end() &&
      dense->prediction.seconds() <=
          std::max(kDenseAdvantage * fastest, fastest + kDenseAdvantageSeconds)) {
    plan.chosen = *dense;
  }
  plan.explanation = explain(plan, request, candidates);
  return plan;
}

}  // namespace laconic::collective
