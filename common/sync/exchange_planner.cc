#include "common/sync/exchange_planner.h"

#include <algorithm>
#include <memory>

#include "common/collective/link_probe.h"
#include "common/core/codec_name.h"
#include "common/core/payload_size.h"
#include "common/core/schedule_choice.h"
#include "common/core/status_macros.h"

namespace laconic::sync {
namespace {

// Nothing is measured where nothing is sent; any link gives the same plan.
constexpr collective::LinkCost kNoLink{.latency_seconds = 0, .bytes_per_second = 1};

struct ProbeSizes {
  int64_t first = collective::kFirstProbeBytes;
  int64_t largest = 0;
};

// Where hierarchical is a way of its own: with sites of one rank it is sharded, with one site it
// encodes nothing.
bool has_sites(const core::ExchangeSpec& asked, int world_size) {
  const bool several = asked.ranks_per_site > 1 && asked.ranks_per_site < world_size;
  return asked.schedule == core::Schedule::kHierarchical ||
         (asked.schedule == core::Schedule::kAuto && several);
}

// Where the job limits its bytes, all probes together send at most a tenth of them.
ProbeSizes probe_sizes(const core::ExchangeSpec& asked, const core::Layout& layout,
                       int world_size) {
  ProbeSizes sizes = {.largest = 4 * layout.elements()};
  if (asked.automatic.has_value() && asked.automatic->bytes > 0) {
    // Every probe of a kind goes to so many peers, and the smaller ones add up to one more.
    const int64_t peers = has_sites(asked, world_size) ? world_size - 1 + asked.ranks_per_site - 1 +
                                                             world_size / asked.ranks_per_site - 1
                                                       : world_size - 1;
    sizes.largest = std::min(sizes.largest, asked.automatic->bytes / (20 * peers));
    sizes.first = std::clamp<int64_t>(sizes.largest / 2, 1, collective::kFirstProbeBytes);
  }
  return sizes;
}

absl::StatusOr<collective::CodecCost> measure(const core::CodecSpec& spec,
                                              const core::Layout& layout,
                                              collective::Communicator& communicator) {
  const core::Layout probed = {
      {{"probe", 1, std::min<int64_t>(layout.elements(), kProbeElementsMax)}}};
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<compress::Codec> codec,
                           compress::make_codec(spec, probed));
  LACONIC_ASSIGN_OR_RETURN(
      collective::CodecCost cost,
      collective::probe_codec(communicator, *codec, layout.elements(), collective::OpTag{}));
  cost.payload_bytes = core::payload_bytes_expected(spec, layout);
  return cost;
}

}  // namespace

absl::StatusOr<PlannedExchange> plan_exchange(const core::ExchangeSpec& asked,
                                              const core::Layout& layout,
                                              collective::Communicator& communicator) {
  const bool alone = communicator.world_size() == 1;
  PlannedExchange planned{
      .spec = asked, .link = kNoLink, .sites = {}, .candidates = {}, .plan = {}};
  if (!alone) {
    const ProbeSizes probe = probe_sizes(asked, layout, communicator.world_size());
    LACONIC_ASSIGN_OR_RETURN(planned.link,
                             collective::probe_links(communicator, {}, probe.largest, probe.first));
    if (has_sites(asked, communicator.world_size())) {
      LACONIC_ASSIGN_OR_RETURN(planned.sites,
                               collective::probe_sites(communicator, {}, asked.ranks_per_site,
                                                       probe.largest, probe.first));
    }
  }
  for (const core::CodecSpec& spec : asked.candidates) {
    collective::Candidate candidate{
        .name = core::codec_name(spec), .cost = {}, .may_be_cut = core::may_be_cut(spec)};
    if (!alone) {
      LACONIC_ASSIGN_OR_RETURN(candidate.cost, measure(spec, layout, communicator));
    }
    planned.candidates.push_back(std::move(candidate));
  }
  LACONIC_ASSIGN_OR_RETURN(planned.plan,
                           collective::make_plan({.world_size = communicator.world_size(),
                                                  .link = planned.link,
                                                  .sites = planned.sites,
                                                  .float32_bytes = 4 * layout.elements(),
                                                  .error_budget = asked.error_budget,
                                                  .schedule = asked.schedule},
                                                 planned.candidates));
  const collective::PlannedWay& chosen = planned.plan.chosen;
  planned.spec.codec = alone ? core::CodecSpec{} : asked.candidates[chosen.candidate];
  planned.spec.schedule = alone ? core::Schedule::kAuto : chosen.prediction.schedule;
  return planned;
}

}  // namespace laconic::sync
