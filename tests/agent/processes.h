// Real processes in tests, watched through descriptors: no test of this layer ever sleeps.
#pragma once

#include <fcntl.h>
#include <grpc/grpc.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/testing/child_process.h"

namespace laconic::agent {

// The last object of gRPC to go shuts the library down. That waits for a thread that polls a socket
// with an unfinished write, for up to 10 s (gRPC's backup poller); so the library stays.
inline const bool kGrpcStays = (grpc_init(), true);

// Generous: only a broken program needs it.
inline constexpr absl::Duration kPatience = absl::Seconds(30);

// True once the process is dead, a zombie or never was; waits up to `patience`.
inline bool ends(pid_t pid, absl::Duration patience = kPatience) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) {
    return true;
  }
  pollfd item{.fd = fd, .events = POLLIN, .revents = 0};
  const int count = poll(&item, 1, static_cast<int>(absl::ToInt64Milliseconds(patience)));
  close(fd);
  return count == 1;
}

// A directory that goes with the test.
class TemporaryDirectory : public ::laconic::testing::TemporaryDirectory {
 public:
  std::string operator/(const std::string& name) const { return path() / name; }
};

using ::laconic::testing::read_file;

// A child of the test; killed at the end if it still runs.
class Child {
 public:
  Child(std::vector<std::string> argv, const std::string& stderr_path) {
    std::vector<char*> pointers;
    for (std::string& text : argv) {
      pointers.push_back(text.data());
    }
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, stderr_path.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    EXPECT_EQ(posix_spawn(&pid_, argv[0].c_str(), &actions, nullptr, pointers.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { kill(pid_, number); }
  // Its exit code, or 128 + its signal; nothing if it lives on.
  std::optional<int> wait() {
    int status = 0;
    if (!ends(pid_) || waitpid(pid_, &status, 0) != pid_) {
      return std::nullopt;
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace laconic::agent
