// laconic-worker without its command line: session, processes, logs and trainers around one loop.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/agent/inbox.h"
#include "worker/agent/log_shipper.h"
#include "worker/agent/process_table.h"
#include "worker/agent/session.h"
#include "worker/agent/task_table.h"
#include "worker/agent/trainer_service.h"

namespace laconic::agent {

inline constexpr absl::Duration kTick = absl::Milliseconds(100);
// How long the exit of a task waits for what its trainer reported and printed last.
inline constexpr absl::Duration kReportPatience = absl::Seconds(1);
inline constexpr absl::Duration kLogPatience = absl::Seconds(3);
inline constexpr absl::Duration kGoodbyeMax = absl::Seconds(2);

struct AgentOptions {
  std::string server;      // host:port
  std::string name;        // of this node
  int slots = 1;           // ranks at once, 1..1024
  std::string work_dir;    // absolute; one directory per task below it
  std::string peer_host;   // where trainers of other nodes reach this node
  std::string trainer;     // path of laconic-trainer
  std::string ready_file;  // written at the first registration; empty: none
};

// Everything happens on the thread that calls run(), which must be the one that lives longest: the
// trainers die with it.
class Agent {
 public:
  // Errors: what TrainerServer::start() returns; Internal when there is no random device.
  static absl::StatusOr<std::unique_ptr<Agent>> create(AgentOptions options);
  ~Agent();

  // Works until `signal_fd` (a signalfd) delivers; ends all trainers then, with grace. A second
  // signal ends them at once. Errors: Internal if the ready file cannot be written.
  absl::Status run(int signal_fd);

 private:
  struct Ended {
    ProcessExit exit;
    absl::Time report_until;
  };

  explicit Agent(AgentOptions options);

  v1::Register make_register();
  void handle(const v1::SessionResponse& message);
  void act(const std::vector<Action>& actions);
  void spawn(const v1::StartTask& command);
  absl::StatusOr<pid_t> try_spawn(const v1::StartTask& command);
  void end(const EndTask& action);
  void forget(const TaskId& id);
  void collect_ends(absl::Time now);
  void settle_ends(absl::Time now);
  void finish_logs(absl::Time now);
  void pump(absl::Time now);
  void wait(int signal_fd, absl::Time now);
  void stop_all(absl::Duration grace);
  void say_goodbye(int signal_fd);
  absl::Status write_ready_file() const;
  std::string directory_of(const TaskId& id) const;

  const AgentOptions options_;
  const std::string incarnation_;
  Inbox inbox_;
  ProcessTable processes_;
  TaskTable table_;
  LogShipper logs_;
  std::map<TaskId, Ended> ended_;              // processes whose last reports are awaited
  std::map<TaskId, absl::Time> logs_awaited_;  // since when
  std::map<std::string, TaskId> names_;        // of running processes
  absl::Time welcome_time_ = absl::InfinitePast();
  bool welcomed_ = false;
  int stop_requests_ = 0;
  // Last, so that no callback of theirs finds the rest gone.
  std::unique_ptr<TrainerServer> trainers_;
  std::unique_ptr<Session> session_;
};

}  // namespace laconic::agent
