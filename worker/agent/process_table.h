// The trainers as processes: spawned, watched and ended with everything they started.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace laconic::agent {

// Longest wait for the killed members of a group: only a process that hangs in the kernel lives on
// after SIGKILL, and its trainer's end must be reported all the same.
inline constexpr absl::Duration kSweepMax = absl::Seconds(3);
inline constexpr absl::Duration kSweepInterval = absl::Milliseconds(5);
// Name of the environment variable that holds ProcessSpec::name.
inline constexpr const char* kTaskVariable = "LACONIC_TASK";

struct ProcessSpec {
  std::string name;                      // unique among the running ones
  std::vector<std::string> argv;         // argv[0] is the program's path
  std::vector<std::string> environment;  // "NAME=value", besides this process's own
  std::string directory;                 // where it runs
  std::string stdout_path, stderr_path;  // appended to
};

struct ProcessExit {
  std::string name;
  int exit_code = 0;  // meaningless when signal is set
  int signal = 0;     // 0: none
};

// Each process leads its own group, dies with this process (PR_SET_PDEATHSIG), and reads from
// /dev/null. When it ends, its group is killed, and so are the processes it started that moved to
// another group or session: this process is their subreaper, so they become its children.
//
// Owned by one thread, which must live as long as the process: the kernel ties the death signal to
// the thread that forked. A process that has one must start no other children meanwhile.
class ProcessTable {
 public:
  ProcessTable();
  ~ProcessTable();  // Kills what still runs.
  ProcessTable(const ProcessTable&) = delete;
  ProcessTable& operator=(const ProcessTable&) = delete;

  // Errors: NotFound, PermissionDenied or Internal with the step that failed and the cause.
  absl::StatusOr<pid_t> spawn(const ProcessSpec& spec);

  // SIGTERM to the group now, SIGKILL after `grace`. A second call can only shorten the grace.
  // Nothing happens if no such process runs.
  void stop(const std::string& name, absl::Duration grace, absl::Time now);

  // Acts on what has ended or is due; returns those whose end is complete. Never waits.
  std::vector<ProcessExit> collect(absl::Time now);

  // Descriptors that become readable when a process ends; call collect() then, and at
  // next_deadline().
  void append_poll_fds(std::vector<pollfd>& fds) const;
  absl::Time next_deadline(absl::Time now) const;
  bool empty() const { return processes_.empty(); }

 private:
  struct Process {
    pid_t pid = 0;
    int pidfd = -1;
    absl::Time kill_at = absl::InfiniteFuture();
    bool stopping = false;
    bool ended = false;  // a zombie, kept as one so that nobody gets its id
    absl::Time sweep_until;
    std::map<pid_t, absl::Time> nameless;  // strays whose environment was empty, since when
    ProcessExit exit;
  };

  enum class Owner { kThis, kOther, kUnknown };

  bool notice_end(Process& process, absl::Time now);
  bool sweep(const std::string& name, Process& process, absl::Time now);
  bool is_stray(pid_t pid, pid_t parent, pid_t group, const Process& ended) const;
  Owner owner_of(pid_t pid, const std::string& name) const;

  std::map<std::string, Process> processes_;
  std::set<pid_t> children_before_;
};

}  // namespace laconic::agent
