// Every limit of laconic-server, by name. Durations that a job implies are in wire::Timeouts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace laconic::server {

struct Limits {
  // Jobs and what is kept of each.
  size_t jobs_max = 10'000;          // all states; delete final ones to make room
  size_t queued_max = 1'000;         // waiting ones
  int history_points_max = 2'000;    // beyond it every second point is dropped
  size_t events_max = 1'000;         // per job; the final state's event is always kept
  int reservations_max = 10;         // expired in a row, then the job fails
  int last_lines_max = 50;           // of standard error, per rank
  size_t line_bytes_max = 4'096;     // of one such line
  size_t lines_bytes_max = 1 << 20;  // of such lines, all ranks of a job together
  size_t message_bytes_max = 4'096;  // of one message of a trainer
  size_t files_max = 64;             // a rank may name as written
  int64_t log_bytes_max = 64 << 20;  // per rank and file; the rest stays on the node
  // Nodes and sessions.
  size_t nodes_max = 4'096;
  int32_t node_slots_max = 1'024;
  size_t tasks_per_register_max = 4'096;
  size_t session_queue_max = 8'192;  // messages to one worker not yet written
  size_t sessions_max = 4'096;       // open session streams
  size_t streams_max = 1'024;        // open watch, event and log streams
  size_t engine_queue_max = 10'000;  // commands not yet handled
  // Times.
  absl::Duration session_silence = absl::Seconds(5);     // then a node is unreachable
  absl::Duration cancel_slack = absl::Seconds(3);        // after stop_grace: CANCELLED anyway
  absl::Duration history_wait = absl::Seconds(3);        // for the other ranks' point of a step
  absl::Duration node_memory = absl::Hours(24);          // of a node that cannot be reached
  absl::Duration request_id_memory = absl::Hours(24);    // of request ids
  absl::Duration metrics_retention = absl::Minutes(15);  // of a final job's series
  absl::Duration tick = absl::Milliseconds(100);
  absl::Duration lazy_commit = absl::Seconds(1);  // events and history without a state change
};

}  // namespace laconic::server
