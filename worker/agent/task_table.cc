#include "worker/agent/task_table.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/time.h"

namespace laconic::agent {
namespace {

absl::Duration grace_of(const v1::StopTask& command) {
  if (!command.has_grace()) {
    return kStopGrace;
  }
  return std::clamp(wire::from_proto(command.grace()), absl::ZeroDuration(), kStopGraceMax);
}

v1::RankExit gone(const std::string& why) {
  v1::RankExit exit;
  exit.set_signal(SIGKILL);
  exit.add_last_lines(absl::StrCat("laconic-worker: ", why));
  return exit;
}

}  // namespace

std::vector<Action> TaskTable::apply(const v1::SessionResponse& command) {
  switch (command.message_case()) {
    case v1::SessionResponse::kStartTask:
      return start(command.start_task());
    case v1::SessionResponse::kLaunchTask:
      return launch(command.launch_task());
    case v1::SessionResponse::kStopTask:
      return stop(command.stop_task());
    case v1::SessionResponse::kReleaseTask:
      return release(command.release_task());
    case v1::SessionResponse::kWelcome:
    case v1::SessionResponse::kResendLog:
    case v1::SessionResponse::MESSAGE_NOT_SET:
      return {};
  }
  return {};
}

std::vector<Action> TaskTable::start(const v1::StartTask& command) {
  const TaskId id = task_id(command.key());
  if (find(id) != nullptr) {
    return {};
  }
  if (tasks_.size() >= kTasksMax) {
    answer_unknown(id, absl::StrCat("not started: ", tasks_.size(),
                                    " tasks wait for their release, the limit is ", kTasksMax));
    return {};
  }
  std::vector<Action> actions;
  for (const auto& [other, task] : tasks_) {
    if (other.job_id != id.job_id || other.generation == id.generation) {
      continue;
    }
    if (other.generation > id.generation) {
      answer_unknown(
          id, absl::StrCat("not started: generation ", id.generation, " is older than generation ",
                           other.generation, " of job ", id.job_id));
      return {};
    }
    if (task.running) {
      actions.push_back(EndTask{other, "a newer generation starts", kStopGrace});
    }
  }
  *tasks_[id].known.mutable_key() = command.key();
  actions.push_back(SpawnTask{command});
  return actions;
}

std::vector<Action> TaskTable::launch(const v1::LaunchTask& command) {
  const TaskId id = task_id(command.key());
  Task* task = find(id);
  if (task == nullptr) {
    answer_unknown(id, "this worker does not know the task");
    return {};
  }
  if (task->known.launched() || !task->running) {
    return {};
  }
  task->known.set_launched(true);
  return {PassLaunch{id, command.launch()}};
}

std::vector<Action> TaskTable::stop(const v1::StopTask& command) {
  const TaskId id = task_id(command.key());
  Task* task = find(id);
  if (task == nullptr) {
    answer_unknown(id, "this worker does not know the task");
    return {};
  }
  if (!task->running) {
    task->exit_untold = true;  // Whoever stops an ended task has missed its exit.
    return {};
  }
  return {EndTask{id, command.reason(), grace_of(command)}};
}

std::vector<Action> TaskTable::release(const v1::ReleaseTask& command) {
  const TaskId id = task_id(command.key());
  Task* task = find(id);
  if (task == nullptr) {
    return {};
  }
  if (!task->running) {
    tasks_.erase(id);
    return {ForgetTask{id}};
  }
  if (std::exchange(task->released, true)) {
    return {};
  }
  return {EndTask{id, "the server has released the task", kStopGrace}};
}

void TaskTable::answer_unknown(const TaskId& id, const std::string& why) {
  if (answers_.size() >= kAnswersMax) {
    answers_.pop_front();
  }
  v1::TaskUpdate& update = answers_.emplace_back();
  *update.mutable_key() = task_key(id);
  *update.mutable_exit() = gone(why);
}

TaskTable::Task* TaskTable::find(const TaskId& id) {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

void TaskTable::spawned(const TaskId& id, int32_t pid) {
  if (Task* task = find(id)) {
    task->known.set_pid(pid);
    task->pid_untold = true;
  }
}

void TaskTable::could_not_spawn(const TaskId& id, const v1::Failure& failure) {
  Task* task = find(id);
  if (task == nullptr) {
    return;
  }
  *task->known.mutable_failure() = failure;
  task->failure_untold = true;
  v1::RankExit exit;
  exit.set_exit_code(kExitNotSpawned);
  exited(id, exit);
  logs_shipped(id);
}

void TaskTable::reported(const TaskId& id, const v1::TrainerReport& report) {
  Task* task = find(id);
  if (task == nullptr) {
    return;
  }
  switch (report.report_case()) {
    case v1::TrainerReport::kHello:
      *task->known.mutable_hello() = report.hello();
      task->hello_untold = true;
      break;
    case v1::TrainerReport::kProgress:
      *task->known.mutable_progress() = report.progress();
      task->progress_untold = true;
      break;
    case v1::TrainerReport::kHistory:
      if (task->history.size() >= kHistoryPointsMax) {
        task->history.pop_back();
        task->history_told = std::min(task->history_told, task->history.size());
      }
      task->history.push_back(report.history());
      break;
    case v1::TrainerReport::kEvent:
      if (task->events.size() >= kEventsMax) {
        task->events.pop_front();
      }
      task->events.push_back(report.event());
      break;
    case v1::TrainerReport::kFinished:
      *task->known.mutable_finished() = report.finished();
      task->finished_untold = true;
      break;
    case v1::TrainerReport::kFailure:
      *task->known.mutable_failure() = report.failure();
      task->failure_untold = true;
      break;
    case v1::TrainerReport::REPORT_NOT_SET:
      break;
  }
}

std::vector<Action> TaskTable::exited(const TaskId& id, const v1::RankExit& exit) {
  Task* task = find(id);
  if (task == nullptr) {
    return {};
  }
  task->running = false;
  if (task->released) {
    tasks_.erase(id);
    return {ForgetTask{id}};
  }
  *task->known.mutable_exit() = exit;
  task->exit_untold = true;
  return {};
}

void TaskTable::logs_shipped(const TaskId& id) {
  if (Task* task = find(id)) {
    task->logs_shipped = true;
  }
}

std::vector<v1::TaskSnapshot> TaskTable::snapshots() {
  std::vector<v1::TaskSnapshot> result;
  size_t bytes = 0;
  for (auto& [id, task] : tasks_) {
    v1::TaskSnapshot& snapshot = result.emplace_back(task.known);
    task.pid_untold = task.hello_untold = task.progress_untold = false;
    // Texts of any length travel on their own when there are many.
    task.finished_untold = task.failure_untold = task.exit_untold = false;
    if (!task.logs_shipped && snapshot.has_exit()) {
      snapshot.clear_exit();
      task.exit_untold = true;
    }
    if (bytes + snapshot.ByteSizeLong() > kSnapshotBytesMax) {
      task.finished_untold = snapshot.has_finished();
      task.failure_untold = snapshot.has_failure();
      task.exit_untold = task.known.has_exit();
      snapshot.clear_finished();
      snapshot.clear_failure();
      snapshot.clear_exit();
    }
    bytes += snapshot.ByteSizeLong();
    task.history_told = 0;
    for (const v1::HistoryPoint& point : task.history) {
      const size_t more = point.ByteSizeLong() + 4;
      if (bytes + more > kSnapshotBytesMax) {
        break;
      }
      *snapshot.add_history() = point;
      bytes += more;
      ++task.history_told;
    }
    // An exit is the last word on a task, so it waits for the points that did not fit.
    if (task.history_told < task.history.size() && snapshot.has_exit()) {
      snapshot.clear_exit();
      task.exit_untold = true;
    }
  }
  return result;
}

std::optional<v1::TaskUpdate> TaskTable::next_update() {
  if (!answers_.empty()) {
    v1::TaskUpdate update = std::move(answers_.front());
    answers_.pop_front();
    return update;
  }
  for (auto& [id, task] : tasks_) {
    v1::TaskUpdate update;
    if (next_of(task, update)) {
      *update.mutable_key() = task.known.key();
      return update;
    }
  }
  return std::nullopt;
}

bool TaskTable::next_of(Task& task, v1::TaskUpdate& update) {
  if (std::exchange(task.pid_untold, false)) {
    update.set_pid(task.known.pid());
  } else if (std::exchange(task.hello_untold, false)) {
    *update.mutable_report()->mutable_hello() = task.known.hello();
  } else if (!task.events.empty()) {
    *update.mutable_report()->mutable_event() = std::move(task.events.front());
    task.events.pop_front();
  } else if (task.history_told < task.history.size()) {
    *update.mutable_report()->mutable_history() = task.history[task.history_told++];
  } else if (std::exchange(task.progress_untold, false)) {
    *update.mutable_report()->mutable_progress() = task.known.progress();
  } else if (std::exchange(task.finished_untold, false)) {
    *update.mutable_report()->mutable_finished() = task.known.finished();
  } else if (std::exchange(task.failure_untold, false)) {
    *update.mutable_report()->mutable_failure() = task.known.failure();
  } else if (task.logs_shipped && std::exchange(task.exit_untold, false)) {
    *update.mutable_exit() = task.known.exit();
  } else {
    return false;
  }
  return true;
}

std::vector<TaskId> TaskTable::running() const {
  std::vector<TaskId> result;
  for (const auto& [id, task] : tasks_) {
    if (task.running) {
      result.push_back(id);
    }
  }
  return result;
}

std::vector<TaskId> TaskTable::awaiting_logs() const {
  std::vector<TaskId> result;
  for (const auto& [id, task] : tasks_) {
    if (!task.running && !task.logs_shipped) {
      result.push_back(id);
    }
  }
  return result;
}

bool TaskTable::all_told() const {
  for (const auto& [id, task] : tasks_) {
    if (task.exit_untold || task.failure_untold || task.finished_untold) {
      return false;
    }
  }
  return answers_.empty();
}

}  // namespace laconic::agent
