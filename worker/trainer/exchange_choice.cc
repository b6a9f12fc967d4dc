#include "worker/trainer/exchange_choice.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/core/codec_name.h"
#include "common/core/format.h"
#include "common/core/schedule_choice.h"
#include "common/core/status_macros.h"
#include "common/sync/exchange_planner.h"

namespace laconic::trainer {
namespace {

using collective::PlannedWay;
using collective::Prediction;

v1::PlannedWay to_proto(const PlannedWay& way, const sync::PlannedExchange& planned, bool within) {
  const Prediction& prediction = way.prediction;
  const PlannedWay& chosen = planned.plan.chosen;
  v1::PlannedWay result;
  result.set_schedule(core::schedule_name(prediction.schedule));
  result.set_codec(planned.candidates[way.candidate].name);
  result.set_codec_seconds(prediction.codec_seconds);
  result.set_latency_seconds(prediction.latency_seconds);
  result.set_wire_seconds(prediction.wire_seconds);
  result.set_sent_bytes(std::llround(prediction.sent_bytes));
  result.set_error(prediction.error);
  result.set_within_budget(within);
  result.set_chosen(within && way.candidate == chosen.candidate &&
                    prediction.schedule == chosen.prediction.schedule);
  return result;
}

v1::Plan to_proto(const sync::PlannedExchange& planned) {
  v1::Plan result;
  result.set_latency_seconds(planned.link.latency_seconds);
  result.set_bytes_per_second(planned.link.bytes_per_second);
  result.set_error_budget(planned.spec.error_budget);
  if (planned.sites.has_value()) {
    v1::SiteLinks& sites = *result.mutable_sites();
    sites.set_inside_latency_seconds(planned.sites->inside.latency_seconds);
    sites.set_inside_bytes_per_second(planned.sites->inside.bytes_per_second);
    sites.set_between_latency_seconds(planned.sites->between.latency_seconds);
    sites.set_between_bytes_per_second(planned.sites->between.bytes_per_second);
  }
  for (const PlannedWay& way : planned.plan.ways) {
    *result.add_ways() = to_proto(way, planned, /*within=*/true);
  }
  for (const PlannedWay& way : planned.plan.over_budget) {
    *result.add_ways() = to_proto(way, planned, /*within=*/false);
  }
  return result;
}

std::string seconds_of(const PlannedWay& way) {
  return absl::StrFormat("%.4g s", way.prediction.seconds());
}

// One sentence: what, how fast, and against what.
std::string sentence(const sync::PlannedExchange& planned) {
  const PlannedWay& chosen = planned.plan.chosen;
  const auto name = [&](const PlannedWay& way) {
    return absl::StrCat(planned.candidates[way.candidate].name, " by ",
                        core::schedule_name(way.prediction.schedule));
  };
  std::string text = absl::StrFormat(
      "%s, predicted %s per exchange; slowest link %.3g ms and %s/s", name(chosen),
      seconds_of(chosen), planned.link.latency_seconds * 1e3,
      core::format_bytes(std::llround(std::min(planned.link.bytes_per_second, 1e18))));
  const bool dense = !planned.candidates[chosen.candidate].cost.lossy();
  const auto other =
      std::find_if(planned.plan.ways.begin(), planned.plan.ways.end(), [&](const PlannedWay& way) {
        return planned.candidates[way.candidate].cost.lossy() == dense;
      });
  if (other != planned.plan.ways.end()) {
    absl::StrAppend(&text, "; ", dense ? "the fastest compressed one, " : "the fastest dense one, ",
                    name(*other), ": ", seconds_of(*other));
  }
  return text;
}

void tell(const sync::PlannedExchange& planned, WorkerLink& link) {
  spdlog::info("plan: {}", planned.plan.explanation);
  link.report_event("PLAN_CHOSEN", sentence(planned));
}

std::string name_of(const core::ExchangeSpec& spec) {
  if (spec.method == core::Method::kPowerSgd) {
    return absl::StrCat("PowerSGD rank ", spec.power_sgd.rank);
  }
  if (spec.method == core::Method::kDemo) {
    return absl::StrCat("signs of ", spec.demo.kept, " in ", spec.demo.chunk * spec.demo.chunk);
  }
  return spec.shared_index.has_value()
             ? absl::StrFormat("shared index %.3g %%%s", 100 * spec.shared_index->density,
                               spec.shared_index->by_overlap ? " by overlap" : "")
             : core::codec_name(spec.codec);
}

// EF21 goes by all-gather whatever the job leaves open: sync::MeanExchange.
bool is_ef21(const core::ExchangeSpec& spec) {
  return spec.error_feedback && spec.feedback == core::FeedbackForm::kEf21;
}

}  // namespace

absl::StatusOr<ExchangeChoice> choose_exchange(const core::ExchangeSpec& asked,
                                               const core::Layout& layout,
                                               collective::Communicator& communicator,
                                               WorkerLink& link) {
  ExchangeChoice choice{.spec = asked, .message = {}};
  if (!asked.candidates.empty() && communicator.world_size() > 1) {
    LACONIC_ASSIGN_OR_RETURN(const sync::PlannedExchange planned,
                             sync::plan_exchange(asked, layout, communicator));
    choice.spec = planned.spec;
    *choice.message.mutable_plan() = to_proto(planned);
    if (communicator.rank() == 0) {
      tell(planned, link);
    }
  }
  const core::ExchangeSpec& spec = choice.spec;
  choice.message.set_codec(name_of(spec));
  choice.message.set_schedule(core::schedule_name(
      core::choose_schedule(is_ef21(spec) ? core::Schedule::kAllGather : spec.schedule, spec.codec,
                            layout, communicator.world_size())));
  return choice;
}

}  // namespace laconic::trainer
