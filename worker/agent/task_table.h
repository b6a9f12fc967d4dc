// What the worker knows of its tasks, and what it still has to tell the server. Pure: commands and
// facts come in, actions and messages go out; no clock, process or socket inside.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "common/wire/task_id.h"
#include "laconic/v1/control.pb.h"

namespace laconic::agent {

inline constexpr size_t kTasksMax = 4096;
inline constexpr size_t kEventsMax = 256;             // unsent, per task; the oldest goes first
inline constexpr size_t kHistoryPointsMax = 1 << 20;  // per task; then only the newest is replaced
inline constexpr size_t kAnswersMax = 1024;           // exits of tasks that are not known
inline constexpr size_t kSnapshotBytesMax = 2 << 20;  // of one registration; the rest follows
inline constexpr absl::Duration kStopGrace = absl::Seconds(2);
inline constexpr absl::Duration kStopGraceMax = absl::Minutes(10);
inline constexpr int kExitNotSpawned = 127;  // as a shell reports a program that is not there

using wire::task_id;
using wire::task_key;
using wire::TaskId;

// What the agent must do.
struct SpawnTask {
  v1::StartTask command;
};
struct EndTask {
  TaskId id;
  std::string reason;
  absl::Duration grace;  // from SIGTERM to SIGKILL
};
struct PassLaunch {
  TaskId id;
  v1::Launch launch;
};
struct ForgetTask {  // its process has ended and the server has stored that
  TaskId id;
};
using Action = std::variant<SpawnTask, EndTask, PassLaunch, ForgetTask>;

// Owned by one thread.
class TaskTable {
 public:
  TaskTable() = default;

  // A command of the server. Repeating one changes nothing. A command for an unknown or an outdated
  // task is answered with that task's exit. A newer generation of a job ends the older ones.
  std::vector<Action> apply(const v1::SessionResponse& command);

  // Facts. Those about unknown tasks are dropped: the task was released meanwhile.
  void spawned(const TaskId& id, int32_t pid);
  void could_not_spawn(const TaskId& id, const v1::Failure& failure);
  void reported(const TaskId& id, const v1::TrainerReport& report);
  // The process and its group have ended. The exit is told only after logs_shipped().
  std::vector<Action> exited(const TaskId& id, const v1::RankExit& exit);
  void logs_shipped(const TaskId& id);

  // All tasks, for a registration. What is in there counts as told; what did not fit into
  // kSnapshotBytesMax comes out of next_update().
  std::vector<v1::TaskSnapshot> snapshots();
  // The next thing to tell on a registered session. Of several progress reports only the newest
  // comes out; history points come out all, in order; the exit of a task is its last.
  std::optional<v1::TaskUpdate> next_update();

  // Tasks whose process runs.
  std::vector<TaskId> running() const;
  // Tasks whose exit waits for logs_shipped().
  std::vector<TaskId> awaiting_logs() const;
  bool all_told() const;

 private:
  struct Task {
    v1::TaskSnapshot known;  // without history
    std::vector<v1::HistoryPoint> history;
    std::deque<v1::TrainerEvent> events;  // not told yet
    bool running = true;
    bool released = false;
    bool logs_shipped = false;
    // What the server was not told on this session.
    bool pid_untold = false, hello_untold = false, progress_untold = false;
    bool finished_untold = false, failure_untold = false, exit_untold = false;
    size_t history_told = 0;
  };

  std::vector<Action> start(const v1::StartTask& command);
  std::vector<Action> launch(const v1::LaunchTask& command);
  std::vector<Action> stop(const v1::StopTask& command);
  std::vector<Action> release(const v1::ReleaseTask& command);
  void answer_unknown(const TaskId& id, const std::string& why);
  Task* find(const TaskId& id);
  static bool next_of(Task& task, v1::TaskUpdate& update);

  std::map<TaskId, Task> tasks_;
  std::deque<v1::TaskUpdate> answers_;
};

}  // namespace laconic::agent
