// A program this process started and will end.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace laconic::cli {

// Owns one child in a process group of its own, so that Ctrl-C reaches only us. The kernel kills
// the child when the thread that started it dies, however that happens: start children from the
// main thread. The destructor kills what still runs. Not thread-safe.
class ChildProcess {
 public:
  // Starts argv[0] (a path) with standard input empty and both outputs written to `log_path`.
  // Errors: InvalidArgument when the log cannot be written; Internal when nothing can be started.
  static absl::StatusOr<ChildProcess> start(const std::vector<std::string>& argv,
                                            const std::string& log_path);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  // How it ended ("exit code 2", "killed by signal 9 (SIGKILL)"); nothing: it runs.
  std::optional<std::string> end();
  // SIGTERM, and SIGKILL to its whole group when it has not ended within `grace`.
  void stop(absl::Duration grace);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}

  pid_t pid_ = 0;  // 0: moved away
  std::optional<std::string> end_;
};

}  // namespace laconic::cli
