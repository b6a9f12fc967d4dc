// Real processes for tests: start, wait without sleeping, and see what is left.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace laconic::testing {

// A directory of its own, removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// How a process ended, and what it wrote.
struct Ended {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out;
  std::string err;
};

// One child process; killed with SIGKILL if it still runs when this object goes.
class ChildProcess {
 public:
  // arguments[0] is the program's path. `environment` is added to ours.
  explicit ChildProcess(const std::vector<std::string>& arguments,
                        const std::map<std::string, std::string>& environment = {});
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void kill(int signal) const;
  // Empty if it still runs after `timeout`.
  std::optional<Ended> wait(absl::Duration timeout);
  // What it wrote so far.
  std::string out() const;
  std::string err() const;

 private:
  TemporaryDirectory files_;
  pid_t pid_ = -1;
  std::optional<Ended> ended_;
};

// Starts, waits, and kills when the time is up (then exit_code -1, signal 9).
Ended run_program(const std::vector<std::string>& arguments,
                  absl::Duration timeout = absl::Seconds(60),
                  const std::map<std::string, std::string>& environment = {});

// True when the process, which need not be a child, ended before the deadline.
bool wait_for_exit(pid_t pid, absl::Time deadline);

// True when `path` exists before the timeout; woken by inotify.
bool wait_for_file(const std::filesystem::path& path, absl::Duration timeout);

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, const std::string& text);

// Running processes whose environment holds NAME=value.
std::vector<pid_t> processes_with(const std::string& name, const std::string& value);
// Waits until none is left; returns those that still run at the end.
std::vector<pid_t> wait_until_gone(const std::string& name, const std::string& value,
                                   absl::Duration timeout);

}  // namespace laconic::testing
