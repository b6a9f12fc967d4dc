#include "server/membership.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/wire/status.h"
#include "server/job_record.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

bool is_node_name(const std::string& name) {
  constexpr size_t kNodeNameBytesMax = 63;
  return !name.empty() && name.size() <= kNodeNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
         });
}

absl::Status bad_registration(const std::string& field, const std::string& value,
                              const std::string& allowed) {
  return wire::with_error_info(
      absl::InvalidArgumentError(
          absl::StrCat("register: ", field, " is ", value, "; allowed: ", allowed)),
      {kBadRegistration, {{"field", field}, {"value", value}, {"allowed", allowed}}});
}

}  // namespace

absl::Status Membership::enter(const v1::Register& request, uint64_t session, absl::Time now) {
  constexpr size_t kIncarnationBytesMax = 128;
  constexpr size_t kVersionBytesMax = 128;  // of each node in one answer of ListNodes
  if (!is_node_name(request.node())) {
    return bad_registration("node", absl::StrCat("'", shortened(request.node(), 80), "'"),
                            "1..63 of [a-z0-9.-]");
  }
  if (request.incarnation().empty() || request.incarnation().size() > kIncarnationBytesMax) {
    return bad_registration("incarnation",
                            absl::StrCat(request.incarnation().size(), " bytes long"),
                            absl::StrCat("1..", kIncarnationBytesMax, " bytes"));
  }
  if (request.version().size() > kVersionBytesMax) {
    return bad_registration("version", absl::StrCat(request.version().size(), " bytes long"),
                            absl::StrCat("at most ", kVersionBytesMax, " bytes"));
  }
  if (request.slots() < 1 || request.slots() > limits_.node_slots_max) {
    return bad_registration("slots", absl::StrCat(request.slots()),
                            absl::StrCat("1..", limits_.node_slots_max));
  }
  if (static_cast<size_t>(request.tasks_size()) > limits_.tasks_per_register_max) {
    return bad_registration("tasks", absl::StrCat(request.tasks_size(), " entries"),
                            absl::StrCat("at most ", limits_.tasks_per_register_max));
  }
  const auto found = nodes_.find(request.node());
  if (found == nodes_.end() && nodes_.size() >= limits_.nodes_max) {
    return wire::with_error_info(
        absl::ResourceExhaustedError(absl::StrCat("the server knows ", nodes_.size(),
                                                  " nodes, which is its limit; stop some workers")),
        {kNodeLimit, {{"limit", absl::StrCat(limits_.nodes_max)}}});
  }
  if (found != nodes_.end() && found->second.live() &&
      found->second.incarnation != request.incarnation()) {
    return wire::with_error_info(
        absl::AlreadyExistsError(absl::StrCat(
            "a live worker already has the name '", request.node(),
            "'; give this one another --name, or wait ",
            absl::FormatDuration(limits_.session_silence), " if it is the same one restarted")),
        {kNodeNameTaken, {{"node", request.node()}}});
  }
  NodeRecord& node = nodes_[request.node()];
  node.name = request.node();
  node.incarnation = request.incarnation();
  node.version = request.version();
  node.slots = request.slots();
  node.session = session;
  node.last_seen = now;
  return absl::OkStatus();
}

NodeRecord& Membership::expect(const std::string& name, absl::Time now) {
  NodeRecord& node = nodes_[name];
  if (node.name.empty()) {
    node.name = name;
    node.last_seen = now;
  }
  return node;
}

void Membership::heard(const std::string& name, uint64_t session, absl::Time now) {
  NodeRecord* node = find(name);
  if (node != nullptr && node->session == session) {
    node->last_seen = now;
  }
}

void Membership::excuse_silence(absl::Time now) {
  for (auto& [name, node] : nodes_) {
    if (node.live()) {
      node.last_seen = now;
    }
  }
}

bool Membership::leave(const std::string& name, uint64_t session) {
  NodeRecord* node = find(name);
  if (node == nullptr || node->session != session || session == 0) {
    return false;
  }
  node->session = 0;
  return true;
}

std::vector<std::string> Membership::expire(absl::Time now) {
  std::vector<std::string> lost;
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    NodeRecord& node = it->second;
    if (node.live() && now - node.last_seen > limits_.session_silence) {
      node.session = 0;
      lost.push_back(node.name);
    }
    it = is_stale(node, now) && node.tasks.empty() ? nodes_.erase(it) : std::next(it);
  }
  return lost;
}

bool Membership::is_stale(const NodeRecord& node, absl::Time now) const {
  return !node.live() && now - node.last_seen > limits_.node_memory;
}

std::vector<std::pair<std::string, TaskId>> Membership::stale_tasks(absl::Time now) const {
  std::vector<std::pair<std::string, TaskId>> stale;
  for (const auto& [name, node] : nodes_) {
    if (is_stale(node, now)) {
      std::transform(node.tasks.begin(), node.tasks.end(), std::back_inserter(stale),
                     [&name = name](const TaskId& task) { return std::make_pair(name, task); });
    }
  }
  return stale;
}

NodeRecord* Membership::find(const std::string& name) {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : &found->second;
}

bool Membership::live(const std::string& name) const {
  const auto found = nodes_.find(name);
  return found != nodes_.end() && found->second.live();
}

std::vector<NodeSlots> Membership::live_slots() const {
  std::vector<NodeSlots> slots;
  for (const auto& [name, node] : nodes_) {
    if (node.live()) {
      slots.push_back({name, node.slots, node.free()});
    }
  }
  return slots;
}

void Membership::hold(const std::string& node, const TaskId& task) {
  if (NodeRecord* record = find(node)) {
    record->tasks.insert(task);
  }
}

void Membership::free(const std::string& node, const TaskId& task) {
  if (NodeRecord* record = find(node)) {
    record->tasks.erase(task);
  }
}

}  // namespace laconic::server
