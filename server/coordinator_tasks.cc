// What workers report of their tasks, and what follows while all goes well.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/core/digest.h"
#include "common/core/format.h"
#include "server/coordinator.h"
#include "server/reasons.h"

namespace laconic::server {

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

}  // namespace laconic::server
