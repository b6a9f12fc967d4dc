// What goes out of the coordinator: states, events, history, commands.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/wire/job_spec.h"
#include "server/coordinator.h"
#include "server/reasons.h"

namespace laconic::server {

void Coordinator::add_event(JobRecord& record, const std::string& reason,
                            const std::string& message, std::optional<int32_t> rank,
                            absl::Time now) {
  const bool last_word = is_final(record.job.state());
  if (record.events.size() >= limits_.events_max && !last_word) {
    return;
  }
  v1::Event event;
  event.set_sequence(record.events.empty() ? 1 : record.events.back().sequence() + 1);
  *event.mutable_time() = to_proto(now);
  const bool full = record.events.size() + 1 == limits_.events_max && !last_word;
  event.set_reason(full ? kEventLimit : reason);
  event.set_message(full ? absl::StrCat("the limit of ", limits_.events_max,
                                        " events is reached; only the end is noted from here on")
                         : message);
  if (rank && !full) {
    event.set_rank(*rank);
  }
  effects_.events.emplace_back(record.id(), event);
  record.events.push_back(std::move(event));
  touch(record);
}

void Coordinator::send(const std::string& node, v1::SessionResponse message) {
  // What a node misses while it is away follows from its snapshot when it is back.
  if (membership_.live(node)) {
    effects_.commands.push_back({node, std::move(message)});
  }
}

void Coordinator::send_start(JobRecord& record, int32_t rank) {
  const Task& task = record.tasks[static_cast<size_t>(rank)];
  v1::SessionResponse message;
  v1::StartTask& start = *message.mutable_start_task();
  *start.mutable_key() = task_key({record.id(), record.job.generation(), rank});
  start.set_world_size(record.world_size());
  *start.mutable_job() = record.job.job();
  start.set_task_token(task.task_token);
  start.set_peer_token(record.peer_token);
  send(record.job.ranks(rank).node(), std::move(message));
}

void Coordinator::send_launch(const JobRecord& record, int32_t rank) {
  v1::SessionResponse message;
  v1::LaunchTask& launch = *message.mutable_launch_task();
  *launch.mutable_key() = task_key({record.id(), record.job.generation(), rank});
  launch.mutable_launch()->set_generation(record.job.generation());
  for (const v1::Rank& r : record.job.ranks()) {
    v1::Peer& peer = *launch.mutable_launch()->add_peers();
    peer.set_rank(r.rank());
    peer.set_address(r.hello().peer_address());
  }
  send(record.job.ranks(rank).node(), std::move(message));
}

void Coordinator::send_stop(const std::string& node, const TaskId& task, const std::string& reason,
                            absl::Duration grace) {
  v1::SessionResponse message;
  *message.mutable_stop_task()->mutable_key() = task_key(task);
  message.mutable_stop_task()->set_reason(reason);
  *message.mutable_stop_task()->mutable_grace() = to_proto(grace);
  send(node, std::move(message));
}

void Coordinator::send_release(const std::string& node, const TaskId& task) {
  v1::SessionResponse message;
  *message.mutable_release_task()->mutable_key() = task_key(task);
  send(node, std::move(message));
}

void Coordinator::stop_all(JobRecord& record, const std::string& reason) {
  const absl::Duration grace = wire::derive_timeouts(record.job.job()).stop_grace;
  for (int32_t rank = 0; rank < record.job.ranks_size(); ++rank) {
    Task& task = record.tasks[static_cast<size_t>(rank)];
    if (!task.gone) {
      task.stopping = true;
      send_stop(record.job.ranks(rank).node(), {record.id(), record.job.generation(), rank}, reason,
                grace);
    }
  }
}

void Coordinator::enter_state(JobRecord& record, v1::JobState state, const std::string& reason,
                              const std::string& message, absl::Time now) {
  v1::Job& job = record.job;
  if (job.state() == v1::QUEUED && state != v1::QUEUED) {
    queue_.erase(std::remove(queue_.begin(), queue_.end(), job.id()), queue_.end());
  }
  job.set_state(state);
  job.set_reason(reason);
  job.set_message(message);
  *job.mutable_state_since() = to_proto(now);
  record.clock_base = now;
  if (is_final(state)) {
    *job.mutable_finish_time() = to_proto(now);
    collect_history(record, now, /*all=*/true);
    effects_.finished.push_back(job.id());
  }
  add_event(record, reason, message, std::nullopt, now);
  open_.insert(job.id());
  dirty(record);
}

void Coordinator::fail(JobRecord& record, const std::string& reason, const std::string& message,
                       absl::Time now) {
  stop_all(record, absl::StrCat("the job failed: ", reason));
  enter_state(record, v1::FAILED, reason, message, now);
}

void Coordinator::collect_history(JobRecord& record, absl::Time now, bool all) {
  bool thinned = false;
  for (v1::HistoryPoint& point : close_points(record, limits_, now, all, thinned)) {
    effects_.history.emplace_back(record.id(), std::move(point));
    touch(record);
  }
  if (thinned) {
    effects_.history_rewritten.insert(record.id());
  }
}

}  // namespace laconic::server
