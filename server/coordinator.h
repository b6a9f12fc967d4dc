// The coordinator: jobs, nodes, and every decision about them. Pure: no clock, no I/O, no thread;
// time and random tokens come in, effects go out. The engine (server/engine.h) stores the effects
// and sends the commands once they are stored.
//
//   QUEUED -> STARTING -> RUNNING -> SUCCEEDED | FAILED
//   QUEUED -> CANCELLED, FAILED (queue_deadline)
//   STARTING -> QUEUED (reservation expired), FAILED
//   STARTING, RUNNING -> CANCELLING -> CANCELLED
//
// An unreachable node is never a failure by itself. Final jobs still take in the exits of their
// tasks; a task holds its slot until its process is known to be gone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/v1/control.pb.h"
#include "server/job_record.h"
#include "server/limits.h"
#include "server/membership.h"
#include "server/scheduler.h"

namespace laconic::server {

// A command for the worker of one node.
struct Command {
  std::string node;
  v1::SessionResponse message;
};

// What a step changed. Rows first, then commands: a worker must never hear of what a crash of the
// server could forget.
struct Effects {
  std::set<std::string> jobs;       // rows to write
  std::set<std::string> lazy_jobs;  // rows that may wait: the worker would say it again
  std::vector<std::pair<std::string, v1::Event>> events;          // to add
  std::vector<std::pair<std::string, v1::HistoryPoint>> history;  // to add
  std::set<std::string> history_rewritten;                        // to replace as a whole
  std::set<std::string> logs_dropped;  // jobs that start anew: earlier output goes
  std::vector<Command> commands;
  std::set<std::string> touched;  // jobs that look different to a watcher
  // Since the last take(), for the metrics.
  std::vector<std::string> finished;        // ids of jobs that became final
  std::vector<absl::Duration> queue_waits;  // of jobs that got slots
  int64_t reservations_expired = 0;
};

// Not thread-safe.
class Coordinator {
 public:
  // Returns 32 hexadecimal digits that nobody can guess; tests pass a counter.
  using TokenSource = std::function<std::string()>;

  Coordinator(const Limits& limits, TokenSource tokens)
      : limits_(limits), membership_(limits), tokens_(std::move(tokens)) {}

  // ---- At the start: what the store holds. Call before anything else.
  void load(JobRecord record, absl::Time now);

  // ---- From users. `key` is an id or the name of exactly one job.
  // Errors: NotFound JOB_NOT_FOUND; FailedPrecondition NAME_NOT_UNIQUE.
  absl::StatusOr<std::string> resolve(const std::string& key) const;
  // The job must be valid and hold its defaults, the id must be new.
  // Errors: ResourceExhausted JOB_LIMIT.
  absl::Status submit(const v1::TrainJob& job, const std::string& id, absl::Time now);
  // Idempotent. Errors: FailedPrecondition JOB_FINISHED for SUCCEEDED and FAILED jobs.
  absl::Status cancel(const std::string& id, absl::Time now);
  // Errors: FailedPrecondition JOB_NOT_FINISHED.
  absl::Status check_deletable(const std::string& id) const;
  // Drops a job and all its effects that were not taken yet; also undoes a submit.
  void forget(const std::string& id);
  // Puts a job back as it was, effects included; for a cancel that could not be stored.
  void restore(JobRecord before);
  v1::ExplainJobResponse explain(const std::string& id, absl::Time now) const;

  // ---- From workers.
  // Errors: as Membership::enter().
  absl::Status enter(const v1::Register& request, uint64_t session, absl::Time now);
  void heard(const std::string& node, uint64_t session, absl::Time now) {
    membership_.heard(node, session, now);
  }
  // True while messages of the session count: it is the node's newest and was not silent.
  bool is_live(const std::string& node, uint64_t session) const {
    const auto found = membership_.nodes().find(node);
    return found != membership_.nodes().end() && found->second.session == session;
  }
  // The server itself stood still until `now`: no node's silence before that counts.
  void excuse_silence(absl::Time now) { membership_.excuse_silence(now); }
  void leave(const std::string& node, uint64_t session, absl::Time now);
  void update(const std::string& node, const v1::TaskUpdate& update, absl::Time now);

  // ---- Time: deadlines, silence, scheduling. Any time, at least once a second.
  void tick(absl::Time now);
  // False: no queued job gets slots (the store cannot write).
  void set_scheduling(bool on) { scheduling_ = on; }

  const JobRecord* find(const std::string& id) const;
  const std::map<std::string, JobRecord>& jobs() const { return jobs_; }
  const Membership& membership() const { return membership_; }
  // True while a process of the job may still live.
  bool holds_slots(const std::string& id) const;
  Effects& effects() { return effects_; }
  const Effects& effects() const { return effects_; }
  Effects take() { return std::exchange(effects_, Effects()); }

 private:
  // coordinator.cc: users and time
  JobRecord* find_mutable(const std::string& id);
  std::vector<Verdict> verdicts() const;
  void schedule_queue(absl::Time now);
  void reserve(JobRecord& record, const std::vector<std::string>& placement, absl::Time now);
  void free_stale_tasks(absl::Time now);
  void release_reservation(JobRecord& record, absl::Time now);
  void wait_with(JobRecord& record, const Verdict& verdict, absl::Time now);
  void tick_job(JobRecord& record, absl::Time now);
  void tick_starting(JobRecord& record, absl::Time now);
  void tick_cancelling(JobRecord& record, absl::Time now);
  void check_cancelled(JobRecord& record, absl::Time now);

  // coordinator_sessions.cc: workers come and go
  void reconcile_missing(const std::string& node, const v1::Register& request, absl::Time now);
  void take_snapshot(const std::string& node, const v1::TaskSnapshot& snapshot, absl::Time now);

  // coordinator_tasks.cc: what workers report, and what follows
  void take_report(JobRecord& record, int32_t rank, const v1::TrainerReport& report,
                   absl::Time now);
  void take_pid(JobRecord& record, int32_t rank, int32_t pid);
  void take_hello(JobRecord& record, int32_t rank, const v1::Hello& hello, absl::Time now);
  void take_finished(JobRecord& record, int32_t rank, const v1::Finished& finished, absl::Time now);
  void check_ready(JobRecord& record, absl::Time now);
  void check_done(JobRecord& record, absl::Time now);

  // coordinator_failures.cc: tasks that end, and which rank is to blame
  void take_failure(JobRecord& record, int32_t rank, const v1::Failure& failure, absl::Time now);
  void take_exit(JobRecord& record, int32_t rank, const v1::RankExit& exit, absl::Time now);
  void lose_task(JobRecord& record, int32_t rank, absl::Time now);
  void check_trouble(JobRecord& record, absl::Time now);
  void blame_peers(JobRecord& record, absl::Time now);
  void note_trouble(JobRecord& record, int32_t rank, absl::Time now);

  // coordinator_effects.cc: what goes out; all of them use it
  void collect_history(JobRecord& record, absl::Time now, bool all);
  void enter_state(JobRecord& record, v1::JobState state, const std::string& reason,
                   const std::string& message, absl::Time now);
  void fail(JobRecord& record, const std::string& reason, const std::string& message,
            absl::Time now);
  void add_event(JobRecord& record, const std::string& reason, const std::string& message,
                 std::optional<int32_t> rank, absl::Time now);
  void send(const std::string& node, v1::SessionResponse message);
  void send_start(JobRecord& record, int32_t rank);
  void send_launch(const JobRecord& record, int32_t rank);
  void send_stop(const std::string& node, const TaskId& task, const std::string& reason,
                 absl::Duration grace);
  void send_release(const std::string& node, const TaskId& task);
  void stop_all(JobRecord& record, const std::string& reason);
  void touch(const JobRecord& record) { effects_.touched.insert(record.id()); }
  void lazy(const JobRecord& record) {
    effects_.lazy_jobs.insert(record.id());
    effects_.touched.insert(record.id());
  }
  void dirty(const JobRecord& record) {
    effects_.jobs.insert(record.id());
    effects_.touched.insert(record.id());
  }

  const Limits limits_;
  Membership membership_;
  const TokenSource tokens_;
  std::map<std::string, JobRecord> jobs_;
  std::vector<std::string> queue_;  // ids in order of submission
  std::set<std::string> open_;      // ids of jobs that a tick must look at
  Effects effects_;
  bool scheduling_ = true;
};

}  // namespace laconic::server
