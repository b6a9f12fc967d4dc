// Nodes, their sessions, their liveness, and which tasks hold their slots. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/wire/task_id.h"
#include "laconic/v1/control.pb.h"
#include "server/limits.h"
#include "server/scheduler.h"

namespace laconic::server {

using wire::task_id;
using wire::task_key;
using wire::TaskId;

struct NodeRecord {
  std::string name;
  std::string incarnation;  // of the worker process that registered last; empty: none yet
  std::string version;
  int32_t slots = 0;
  uint64_t session = 0;  // 0: unreachable
  absl::Time last_seen;
  std::set<TaskId> tasks;  // each holds one slot until its process is known to be gone

  bool live() const { return session != 0; }
  int32_t free() const {
    const auto used = static_cast<int32_t>(tasks.size());
    return used < slots ? slots - used : 0;
  }
};

// Not thread-safe.
class Membership {
 public:
  explicit Membership(const Limits& limits) : limits_(limits) {}

  // Checks a registration and makes its session the node's live one.
  // Errors: InvalidArgument BAD_REGISTRATION; AlreadyExists NODE_NAME_TAKEN when a process with
  // another incarnation is live under this name; ResourceExhausted NODE_LIMIT.
  absl::Status enter(const v1::Register& request, uint64_t session, absl::Time now);
  // A node of which only a task is known: it has not come back since the server started.
  NodeRecord& expect(const std::string& name, absl::Time now);

  void heard(const std::string& name, uint64_t session, absl::Time now);
  // Counts as a heartbeat of every live node.
  void excuse_silence(absl::Time now);
  // True if the session was the node's live one; the node is unreachable from now on.
  bool leave(const std::string& name, uint64_t session);
  // Nodes whose session was silent for too long, now unreachable; forgets nodes that were away
  // for longer than limits.node_memory and hold no task.
  std::vector<std::string> expire(absl::Time now);
  // Tasks of nodes that were away for longer than limits.node_memory.
  std::vector<std::pair<std::string, TaskId>> stale_tasks(absl::Time now) const;

  NodeRecord* find(const std::string& name);
  const std::map<std::string, NodeRecord>& nodes() const { return nodes_; }
  bool live(const std::string& name) const;
  std::vector<NodeSlots> live_slots() const;

  void hold(const std::string& node, const TaskId& task);
  void free(const std::string& node, const TaskId& task);

 private:
  bool is_stale(const NodeRecord& node, absl::Time now) const;

  const Limits limits_;
  std::map<std::string, NodeRecord> nodes_;
};

}  // namespace laconic::server
