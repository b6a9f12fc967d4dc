// What workers report of their tasks, and what follows from it.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/core/digest.h"
#include "common/core/exit_codes.h"
#include "common/core/format.h"
#include "common/wire/job_spec.h"
#include "server/coordinator.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

std::string rank_text(const v1::Rank& rank) {
  return absl::StrCat("rank ", rank.rank(), " on ", rank.node());
}

bool blames_a_peer(const v1::Rank& rank) {
  if (rank.has_failure()) {
    return rank.failure().reason() == kPeerLost;
  }
  return rank.has_exit() && rank.exit().signal() == 0 &&
         rank.exit().exit_code() == core::kTrainerPeerLost;
}

// The reason and sentence for a rank that failed by its own cause.
std::pair<std::string, std::string> own_cause(const v1::Rank& rank) {
  const std::string ended =
      rank.has_exit() ? absl::StrCat(" (", exit_text(rank.exit()), ")") : std::string();
  if (rank.has_failure()) {
    return {rank.failure().reason(),
            absl::StrCat(rank_text(rank), " failed: ", rank.failure().message(), ended)};
  }
  if (!rank.has_exit()) {
    return {kWorkerLost, absl::StrCat(rank_text(rank), " is gone: laconic-worker on ", rank.node(),
                                      " was restarted and its trainers ended with it")};
  }
  const std::string last =
      rank.exit().last_lines().empty()
          ? std::string()
          : absl::StrCat("; its last line: ", *rank.exit().last_lines().rbegin());
  if (rank.exit().signal() != 0) {
    return {kTrainerKilled,
            absl::StrCat(rank_text(rank), " was killed by ", exit_text(rank.exit()), last)};
  }
  if (rank.pid() == 0) {
    return {kSpawnFailed,
            absl::StrCat("the trainer of ", rank_text(rank), " could not be started", last)};
  }
  return {kTrainerExited, absl::StrCat(rank_text(rank), " ended before it was done, ",
                                       exit_text(rank.exit()), last)};
}

}  // namespace

// ---- Sessions --------------------------------------------------------------------------------

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

// ---- Updates ---------------------------------------------------------------------------------

void Coordinator::update(const std::string& node, const v1::TaskUpdate& update, absl::Time now) {
  const TaskId id = task_id(update.key());
  JobRecord* record = find_mutable(id.job_id);
  if (record == nullptr || !record->is_current(id.generation, id.rank) ||
      record->job.ranks(id.rank).node() != node) {
    // A task of an earlier generation, or of a deleted job: only its end matters.
    if (update.has_exit()) {
      membership_.free(node, id);
      send_release(node, id);
    }
    return;
  }
  Task& task = record->tasks[static_cast<size_t>(id.rank)];
  if (!task.confirmed) {
    task.confirmed = true;
    lazy(*record);
  }
  switch (update.update_case()) {
    case v1::TaskUpdate::kPid:
      take_pid(*record, id.rank, update.pid());
      return;
    case v1::TaskUpdate::kReport:
      take_report(*record, id.rank, update.report(), now);
      return;
    case v1::TaskUpdate::kExit:
      take_exit(*record, id.rank, update.exit(), now);
      return;
    case v1::TaskUpdate::UPDATE_NOT_SET:
      return;
  }
}

void Coordinator::take_report(JobRecord& record, int32_t rank, const v1::TrainerReport& report,
                              absl::Time now) {
  switch (report.report_case()) {
    case v1::TrainerReport::kHello:
      take_hello(record, rank, report.hello(), now);
      return;
    case v1::TrainerReport::kProgress:
      if (report.progress().step() >= record.job.ranks(rank).progress().step()) {
        *record.job.mutable_ranks(rank)->mutable_progress() = report.progress();
        touch(record);  // Not stored: the worker sends it again.
      }
      return;
    case v1::TrainerReport::kHistory:
      if (!is_final(record.job.state()) && add_point(record, rank, report.history(), now)) {
        collect_history(record, now, /*all=*/false);
      }
      return;
    case v1::TrainerReport::kEvent:
      if (record.events.size() >= limits_.events_max) {
        return;  // Beyond the limit only what ends the job and its ranks is noted.
      }
      add_event(record, is_reason(report.event().reason()) ? report.event().reason() : "TRAINER",
                shortened(report.event().message(), limits_.message_bytes_max), rank, now);
      return;
    case v1::TrainerReport::kFinished:
      take_finished(record, rank, report.finished(), now);
      return;
    case v1::TrainerReport::kFailure:
      take_failure(record, rank, report.failure(), now);
      return;
    case v1::TrainerReport::REPORT_NOT_SET:
      return;
  }
}

void Coordinator::take_pid(JobRecord& record, int32_t rank, int32_t pid) {
  v1::Rank& r = *record.job.mutable_ranks(rank);
  if (r.pid() != pid) {
    r.set_pid(pid);
    r.set_state(std::max(r.state(), v1::SPAWNED));
    lazy(record);
  }
}

void Coordinator::take_hello(JobRecord& record, int32_t rank, const v1::Hello& hello,
                             absl::Time now) {
  v1::Rank& r = *record.job.mutable_ranks(rank);
  if (r.has_hello()) {
    return;
  }
  *r.mutable_hello() = hello;
  r.mutable_hello()->set_peer_address(shortened(hello.peer_address(), limits_.message_bytes_max));
  r.set_state(std::max(r.state(), v1::READY));
  add_event(record, kRankReady,
            absl::StrCat(rank_text(r), " is ready: ", core::format_count(hello.parameters()),
                         " parameters, ", core::format_count(hello.samples()), " samples"),
            rank, now);
  lazy(record);
  check_ready(record, now);
}

void Coordinator::check_ready(JobRecord& record, absl::Time now) {
  v1::Job& job = record.job;
  const bool all_ready = std::all_of(job.ranks().begin(), job.ranks().end(),
                                     [](const auto& rank) { return rank.has_hello(); });
  if (job.state() != v1::STARTING || !all_ready) {
    return;
  }
  std::map<uint64_t, std::vector<std::string>> layouts;
  for (const v1::Rank& rank : job.ranks()) {
    layouts[rank.hello().layout_hash()].push_back(absl::StrCat(rank.rank()));
  }
  if (layouts.size() > 1) {
    std::vector<std::string> groups;
    groups.reserve(layouts.size());
    for (const auto& [hash, ranks] : layouts) {
      groups.push_back(absl::StrFormat("%s have %016x", absl::StrJoin(ranks, ", "), hash));
    }
    fail(record, kLayoutMismatch,
         absl::StrCat("the ranks have different models: layout of ranks ",
                      absl::StrJoin(groups, "; of ranks "),
                      "; give all nodes the same data and model files"),
         now);
    return;
  }
  *job.mutable_start_time() = to_proto(now);
  for (int32_t rank = 0; rank < job.ranks_size(); ++rank) {
    v1::Rank& r = *job.mutable_ranks(rank);
    r.set_state(std::max(r.state(), v1::TRAINING));
    send_launch(record, rank);
  }
  record.expired_reservations = 0;
  enter_state(record, v1::RUNNING, kTraining,
              absl::StrCat("trains on ", job.ranks_size(), " ranks"), now);
}

void Coordinator::take_finished(JobRecord& record, int32_t rank, const v1::Finished& finished,
                                absl::Time now) {
  v1::Rank& r = *record.job.mutable_ranks(rank);
  if (r.has_finished()) {
    return;
  }
  *r.mutable_finished() = bounded(finished, limits_);
  r.set_state(v1::DONE);
  add_event(record, kRankDone,
            absl::StrCat(rank_text(r), " is done, digest ", core::format_digest(finished.digest())),
            rank, now);
  dirty(record);
  check_done(record, now);
}

void Coordinator::check_done(JobRecord& record, absl::Time now) {
  v1::Job& job = record.job;
  const bool all_done = std::all_of(job.ranks().begin(), job.ranks().end(),
                                    [](const auto& rank) { return rank.has_finished(); });
  if (!is_active(job.state()) || !all_done) {
    return;
  }
  std::vector<std::string> different;
  for (const v1::Rank& rank : job.ranks()) {
    if (rank.finished().digest() != job.ranks(0).finished().digest()) {
      different.push_back(
          absl::StrCat(rank_text(rank), " has ", core::format_digest(rank.finished().digest())));
    }
  }
  if (!different.empty()) {
    fail(record, kDivergedRanks,
         absl::StrCat("the ranks ended with different parameters: rank 0 has ",
                      core::format_digest(job.ranks(0).finished().digest()), ", ",
                      absl::StrJoin(different, ", "),
                      "; the results are not to be used, please report this as a bug"),
         now);
    return;
  }
  enter_state(record, v1::SUCCEEDED, kTrained,
              absl::StrCat("trained ", job.ranks(0).finished().steps(), " steps; all ",
                           job.ranks_size(), " ranks agree on every parameter"),
              now);
}

// ---- Failures --------------------------------------------------------------------------------

void Coordinator::take_failure(JobRecord& record, int32_t rank, const v1::Failure& failure,
                               absl::Time now) {
  v1::Rank& r = *record.job.mutable_ranks(rank);
  if (r.has_failure()) {
    return;
  }
  *r.mutable_failure() = bounded(failure, limits_);
  add_event(
      record, kRankFailed,
      absl::StrCat(rank_text(r), " failed, ", r.failure().reason(), ": ", r.failure().message()),
      rank, now);
  dirty(record);
  note_trouble(record, rank, now);
  check_trouble(record, now);
}

void Coordinator::take_exit(JobRecord& record, int32_t rank, const v1::RankExit& exit,
                            absl::Time now) {
  v1::Rank& r = *record.job.mutable_ranks(rank);
  Task& task = record.tasks[static_cast<size_t>(rank)];
  const TaskId id{record.id(), record.job.generation(), rank};
  membership_.free(r.node(), id);
  send_release(r.node(), id);  // Goes out once the exit is stored.
  task.gone = true;
  if (r.has_exit()) {
    return;
  }
  *r.mutable_exit() = bounded(exit, record.job.ranks_size(), limits_);
  dirty(record);
  if (!r.has_finished()) {
    r.set_state(v1::EXITED);
    add_event(record, kRankExited, absl::StrCat(rank_text(r), " ended, ", exit_text(exit)), rank,
              now);
    note_trouble(record, rank, now);
  }
  check_trouble(record, now);
  check_cancelled(record, now);
}

void Coordinator::lose_task(JobRecord& record, int32_t rank, absl::Time now) {
  v1::Rank& r = *record.job.mutable_ranks(rank);
  Task& task = record.tasks[static_cast<size_t>(rank)];
  membership_.free(r.node(), {record.id(), record.job.generation(), rank});
  task.gone = true;
  dirty(record);
  if (!r.has_finished()) {
    r.set_state(v1::EXITED);
    add_event(record, kWorkerLost,
              absl::StrCat(rank_text(r), " is gone: its worker came back without it"), rank, now);
    note_trouble(record, rank, now);
  }
  check_trouble(record, now);
  check_cancelled(record, now);
}

void Coordinator::note_trouble(JobRecord& record, int32_t rank, absl::Time now) {
  Task& task = record.tasks[static_cast<size_t>(rank)];
  if (task.cause_order != 0 || task.stopping || !is_active(record.job.state())) {
    return;
  }
  task.cause_order = ++record.causes;
  record.trouble_since = std::min(record.trouble_since, now);
}

// Fails the job once its root cause is known: at once when a rank with a cause of its own has
// ended, otherwise after root_cause_wait with the best cause there is.
void Coordinator::check_trouble(JobRecord& record, absl::Time now) {
  if (!is_active(record.job.state()) || record.causes == 0) {
    return;
  }
  const bool time_is_up =
      now - record.trouble_since > wire::derive_timeouts(record.job.job()).root_cause_wait;
  const v1::Rank* first = nullptr;
  int first_order = 0;
  for (int32_t rank = 0; rank < record.job.ranks_size(); ++rank) {
    const v1::Rank& r = record.job.ranks(rank);
    const Task& task = record.tasks[static_cast<size_t>(rank)];
    const bool own = task.cause_order != 0 && !blames_a_peer(r);
    if (own && (task.gone || time_is_up) && (first == nullptr || task.cause_order < first_order)) {
      first = &r;
      first_order = task.cause_order;
    }
  }
  if (first != nullptr) {
    const auto [reason, message] = own_cause(*first);
    fail(record, reason, message, now);
  } else if (time_is_up) {
    blame_peers(record, now);
  }
}

// All that failed say that another rank is to blame.
void Coordinator::blame_peers(JobRecord& record, absl::Time now) {
  const v1::Rank* away = nullptr;
  const v1::Rank* witness = nullptr;
  for (const v1::Rank& rank : record.job.ranks()) {
    if (away == nullptr && !rank.has_finished() && !membership_.live(rank.node())) {
      away = &rank;
    }
    const int order = record.tasks[static_cast<size_t>(rank.rank())].cause_order;
    if (order == 1) {
      witness = &rank;
    }
  }
  // A rank that was blamed by name and cannot be reached is better evidence than any other.
  for (const v1::Rank& rank : record.job.ranks()) {
    if (rank.has_failure() && rank.failure().has_peer_rank() && rank.failure().peer_rank() >= 0 &&
        rank.failure().peer_rank() < record.job.ranks_size() &&
        !membership_.live(record.job.ranks(rank.failure().peer_rank()).node())) {
      away = &record.job.ranks(rank.failure().peer_rank());
    }
  }
  const std::string said = witness != nullptr && witness->has_failure()
                               ? witness->failure().message()
                               : std::string("it lost a peer");
  const std::string who = witness != nullptr ? rank_text(*witness) : std::string("a rank");
  if (away != nullptr) {
    fail(record, kWorkerLost,
         absl::StrCat("node ", away->node(), " with rank ", away->rank(),
                      " cannot be reached and other ranks lost it; ", who, " says: ", said),
         now);
    return;
  }
  fail(record, kPeerLost,
       absl::StrCat(who, " lost a peer, and no rank reported a cause of its own: ", said,
                    "; check the network between the nodes"),
       now);
}

}  // namespace laconic::server
