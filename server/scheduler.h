// Who gets slots, and why everybody else waits. Pure: the same queue and nodes give the same
// verdicts.
//
// Order is strict first in, first out, with one exception: a job that asks for more slots than all
// live nodes have together cannot start whatever ends, so it does not hold up the jobs behind it.
// Such a job may therefore be overtaken for as long as the slots are missing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace laconic::server {

struct QueuedJob {
  std::string id;
  int32_t slots = 0;  // ranks; all start or none does
};

// One live node.
struct NodeSlots {
  std::string name;
  int32_t slots = 0;  // in total
  int32_t free = 0;   // 0..slots
};

struct Verdict {
  std::string job_id;
  std::vector<std::string> placement;  // node of each rank; empty: the job waits
  std::string reason;                  // why it waits, from reasons.h; empty when placed
  std::string message;                 // one sentence with numbers
  int32_t position = 0;                // in the queue, from 1
  int32_t slots_wanted = 0;
  int32_t slots_free = 0;             // on live nodes, as this job saw them
  int32_t slots_total = 0;            // on live nodes
  std::vector<std::string> blockers;  // jobs that hold slots, or the one that stands ahead
};

// One verdict per queued job, in order. Slots are taken one by one from the node with the most free
// ones, ties to the lower name, so a gang spreads; ranks are then numbered by the nodes' names, so
// those of one node, and of nodes whose names begin alike, are neighbours.
//   queue    in order of submission
//   nodes    live nodes, any order
//   holders  ids of the jobs that hold slots now
// Cost: O(jobs + placed ranks * nodes).
std::vector<Verdict> schedule(std::span<const QueuedJob> queue, std::vector<NodeSlots> nodes,
                              const std::vector<std::string>& holders);

}  // namespace laconic::server
