// Tasks that end, and the search for the one rank that made a job fail.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/exit_codes.h"
#include "common/wire/job_spec.h"
#include "server/coordinator.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

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
