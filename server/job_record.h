// What the coordinator knows of one job: the message that users see, and what they do not.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/core/format.h"
#include "common/wire/time.h"
#include "laconic/v1/control.pb.h"
#include "server/limits.h"

namespace laconic::server {

// The part of a rank that no user sees.
struct Task {
  std::string incarnation;  // of the worker process it was given to
  std::string task_token;
  bool confirmed = false;  // its worker said something about it
  bool gone = false;       // exited, or lost with its worker process
  bool stopping = false;   // StopTask was sent: its exit is no cause of anything
  int cause_order = 0;     // when it failed, from 1; 0: it did not
};

// Points of one step that some ranks have reported.
struct OpenPoint {
  v1::HistoryPoint merged;           // evaluation of rank 0, largest bytes
  std::map<int32_t, double> losses;  // by rank
  absl::Time since;
};

struct JobRecord {
  v1::Job job;              // history included
  std::vector<Task> tasks;  // as job.ranks
  std::string peer_token;
  std::vector<v1::Event> events;
  int expired_reservations = 0;
  absl::Time clock_base;  // STARTING: deadlines count from here (restarts of the server move it)
  absl::Time trouble_since = absl::InfiniteFuture();  // first failure of a rank
  int causes = 0;
  bool stragglers_stopped = false;  // of a SUCCEEDED job
  std::map<int64_t, OpenPoint> open_points;

  const std::string& id() const { return job.id(); }
  int32_t world_size() const { return job.job().spec().workers().count(); }
  bool is_current(uint64_t generation, int32_t rank) const {
    return generation == job.generation() && rank >= 0 && rank < job.ranks_size();
  }
};

using core::shortened;
using wire::from_proto;
using wire::to_proto;

bool is_final(v1::JobState state);
bool is_active(v1::JobState state);  // STARTING or RUNNING

// Takes one rank's point in; false if it was known or comes too late.
bool add_point(JobRecord& record, int32_t rank, const v1::HistoryPoint& point, absl::Time now);

// Moves complete points to job.history, in step order: those that all ranks have reported or
// passed, and those that waited for longer than limits.history_wait. `all` moves the rest too.
// Returns the new points; `thinned` is set when the history had to drop every second one.
std::vector<v1::HistoryPoint> close_points(JobRecord& record, const Limits& limits, absl::Time now,
                                           bool all, bool& thinned);

// Cuts what a trainer may send at will to the limits.
v1::Failure bounded(v1::Failure failure, const Limits& limits);
v1::RankExit bounded(v1::RankExit exit, int32_t world_size, const Limits& limits);
v1::Finished bounded(v1::Finished finished, const Limits& limits);

// "rank 2 on node-1".
std::string rank_text(const v1::Rank& rank);
// "exit code 3", "signal 9 (Killed)".
std::string exit_text(const v1::RankExit& exit);

}  // namespace laconic::server
