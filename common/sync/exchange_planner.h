// The start of a job that leaves codec and schedule to the planner: the ranks measure links and
// codecs together, and all take the same way.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/collective/planner.h"
#include "common/core/exchange_spec.h"
#include "common/core/layout.h"

namespace laconic::sync {

struct PlannedExchange {
  core::ExchangeSpec spec;  // as asked, with the codec and the schedule of the chosen way
  collective::LinkCost link;
  std::optional<collective::SiteLinks> sites;     // measured where ranks may add up in sites first
  std::vector<collective::Candidate> candidates;  // in the order of spec.candidates
  collective::Plan plan;
};

// Codecs are timed on at most this many elements (8 MiB) and scaled up to the model.
inline constexpr int64_t kProbeElementsMax = int64_t{2} << 20;

// All ranks call it together, before their first exchange. asked.candidates: not empty;
// asked.schedule other than kAuto leaves only ways by that schedule.
//
// Measured once: a link that changes later changes nothing. One rank measures nothing and takes
// float32, since it sends nothing.
// Where the job names sites of several ranks, asked.ranks_per_site, the hierarchical schedule is
// one of the ways, and the links inside and between sites are measured for it. Cost: that of
// collective::probe_links(), likewise for each kind of link in sites, and three encodings of each
// candidate. Errors: those of probe_links(), probe_codec() and make_plan().
absl::StatusOr<PlannedExchange> plan_exchange(const core::ExchangeSpec& asked,
                                              const core::Layout& layout,
                                              collective::Communicator& communicator);

}  // namespace laconic::sync
