// A worker comes, goes, and tells in a snapshot what its tasks are; what follows from it.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/wire/job_spec.h"
#include "server/coordinator.h"
#include "server/reasons.h"

namespace laconic::server {

absl::Status Coordinator::enter(const v1::Register& request, uint64_t session, absl::Time now) {
  const NodeRecord* known = membership_.find(request.node());
  const bool was_away = known != nullptr && !known->live();
  if (absl::Status status = membership_.enter(request, session, now); !status.ok()) {
    return status;
  }
  for (const v1::TaskSnapshot& snapshot : request.tasks()) {
    take_snapshot(request.node(), snapshot, now);
  }
  reconcile_missing(request.node(), request, now);
  for (const std::string& id : std::vector<std::string>(open_.begin(), open_.end())) {
    JobRecord& record = jobs_.at(id);
    const bool here = std::any_of(record.job.ranks().begin(), record.job.ranks().end(),
                                  [&](const auto& rank) { return rank.node() == request.node(); });
    if (was_away && here && is_active(record.job.state())) {
      add_event(record, kNodeReturned, absl::StrCat("node ", request.node(), " is back"),
                std::nullopt, now);
    }
  }
  return absl::OkStatus();
}

void Coordinator::leave(const std::string& node, uint64_t session, absl::Time now) {
  if (session != 0 && !membership_.leave(node, session)) {
    return;  // A newer session has taken over.
  }
  for (const std::string& id : std::vector<std::string>(open_.begin(), open_.end())) {
    JobRecord& record = jobs_.at(id);
    const bool here = std::any_of(record.job.ranks().begin(), record.job.ranks().end(),
                                  [&](const auto& rank) { return rank.node() == node; });
    if (here && is_active(record.job.state())) {
      add_event(record, kNodeUnreachable,
                absl::StrCat("node ", node, " cannot be reached; its trainers may well go on"),
                std::nullopt, now);
    }
  }
}

// Tasks that should be on the node but are not in its registration.
void Coordinator::reconcile_missing(const std::string& name, const v1::Register& request,
                                    absl::Time now) {
  std::set<TaskId> present;
  for (const v1::TaskSnapshot& snapshot : request.tasks()) {
    present.insert(task_id(snapshot.key()));
  }
  std::set<TaskId> expected = membership_.find(name)->tasks;
  // Those of a node that had been forgotten.
  for (const std::string& id : open_) {
    const JobRecord& record = jobs_.at(id);
    for (const v1::Rank& rank : record.job.ranks()) {
      if (rank.node() == name && !record.tasks[static_cast<size_t>(rank.rank())].gone) {
        expected.insert({id, record.job.generation(), rank.rank()});
      }
    }
  }
  for (const TaskId& id : expected) {
    if (present.count(id) > 0) {
      continue;
    }
    JobRecord* record = find_mutable(id.job_id);
    if (record == nullptr || !record->is_current(id.generation, id.rank)) {
      membership_.free(name, id);
      continue;
    }
    Task& task = record->tasks[static_cast<size_t>(id.rank)];
    if (record->job.state() == v1::STARTING && !task.confirmed) {
      // The command was lost with the stream, or with the old process: nothing has started.
      task.incarnation = request.incarnation();
      send_start(*record, id.rank);
      dirty(*record);
      continue;
    }
    lose_task(*record, id.rank, now);
  }
}

void Coordinator::take_snapshot(const std::string& node, const v1::TaskSnapshot& snapshot,
                                absl::Time now) {
  const TaskId id = task_id(snapshot.key());
  JobRecord* record = find_mutable(id.job_id);
  if (record == nullptr || !record->is_current(id.generation, id.rank) ||
      record->job.ranks(id.rank).node() != node) {
    if (snapshot.has_exit()) {
      membership_.free(node, id);
      send_release(node, id);
    } else {
      membership_.hold(node, id);
      send_stop(node, id, "the server has no use for this task any more", absl::Seconds(2));
    }
    return;
  }
  Task& task = record->tasks[static_cast<size_t>(id.rank)];
  if (!task.confirmed) {
    task.confirmed = true;
    lazy(*record);
  }
  if (snapshot.pid() != 0) {
    take_pid(*record, id.rank, snapshot.pid());
  }
  if (snapshot.has_hello()) {
    take_hello(*record, id.rank, snapshot.hello(), now);
  }
  v1::TrainerReport report;
  for (const v1::HistoryPoint& point : snapshot.history()) {
    *report.mutable_history() = point;
    take_report(*record, id.rank, report, now);
  }
  if (snapshot.has_progress()) {
    *report.mutable_progress() = snapshot.progress();
    take_report(*record, id.rank, report, now);
  }
  if (snapshot.has_finished()) {
    take_finished(*record, id.rank, snapshot.finished(), now);
  }
  if (snapshot.has_failure()) {
    take_failure(*record, id.rank, snapshot.failure(), now);
  }
  if (snapshot.has_exit()) {
    take_exit(*record, id.rank, snapshot.exit(), now);
    return;
  }
  membership_.hold(node, id);  // It does already, unless the node had been forgotten.
  if (record->job.state() == v1::RUNNING && snapshot.has_hello() && !snapshot.launched()) {
    send_launch(*record, id.rank);
  } else if (!is_active(record->job.state()) &&
             (record->job.state() != v1::SUCCEEDED || record->stragglers_stopped)) {
    // The time to end by itself is over: a node that was away then is told now.
    send_stop(node, id, absl::StrCat("the job is ", v1::JobState_Name(record->job.state())),
              wire::derive_timeouts(record->job.job()).stop_grace);
  }
}

}  // namespace laconic::server
