#include "server/scheduler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

std::string slots_text(int64_t count) {
  return absl::StrCat(count, count == 1 ? " slot" : " slots");
}

// Takes the slots; the caller has checked that there are enough.
std::vector<std::string> place(int32_t slots, std::vector<NodeSlots>& nodes) {
  std::vector<std::string> placement;
  for (int32_t rank = 0; rank < slots; ++rank) {
    const auto best =
        std::min_element(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) {
          return a.free != b.free ? a.free > b.free : a.name < b.name;
        });
    placement.push_back(best->name);
    --best->free;
  }
  // Neighbouring ranks share a node, and nodes of one site where their names begin alike: what
  // exchange.ranks_per_site builds on.
  std::sort(placement.begin(), placement.end());
  return placement;
}

}  // namespace

std::vector<Verdict> schedule(std::span<const QueuedJob> queue, std::vector<NodeSlots> nodes,
                              const std::vector<std::string>& holders) {
  int32_t total = 0;
  int32_t free = 0;
  for (const NodeSlots& node : nodes) {
    total += node.slots;
    free += node.free;
  }
  std::vector<Verdict> verdicts;
  std::vector<std::string> running = holders;
  std::string blocker;  // The first job that waits for slots that exist.
  for (const QueuedJob& job : queue) {
    Verdict v;
    v.job_id = job.id;
    v.position = static_cast<int32_t>(verdicts.size()) + 1;
    v.slots_wanted = job.slots;
    v.slots_free = free;
    v.slots_total = total;
    if (nodes.empty()) {
      v.reason = kNoWorkers;
      v.message = absl::StrCat("needs ", slots_text(job.slots),
                               ", but no worker is connected; start laconic-worker on a node");
    } else if (job.slots > total) {
      v.reason = kNotEnoughSlots;
      v.message = absl::StrCat("needs ", slots_text(job.slots), ", but the ", nodes.size(),
                               nodes.size() == 1 ? " live node has " : " live nodes have ", total,
                               " in all; add workers or lower spec.workers.count");
    } else if (!blocker.empty()) {
      v.reason = kBehindOtherJob;
      v.message = absl::StrCat("place ", v.position, " in the queue; job ", blocker,
                               " stands ahead and waits for slots");
      v.blockers = {blocker};
    } else if (job.slots > free) {
      v.reason = kSlotsBusy;
      v.message = absl::StrCat("needs ", slots_text(job.slots), ", ", free, " of ", total,
                               free == 1 ? " is free" : " are free", "; waits for ", running.size(),
                               running.size() == 1 ? " job to end" : " jobs to end");
      v.blockers = running;
      blocker = job.id;
    } else {
      v.placement = place(job.slots, nodes);
      free -= job.slots;
      running.push_back(job.id);
    }
    verdicts.push_back(std::move(v));
  }
  return verdicts;
}

}  // namespace laconic::server
