#include "tests/testing/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace laconic::testing {
namespace {

int poll_ms(absl::Time deadline) {
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now()) + 1;
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

[[noreturn]] void exec_child(const std::vector<std::string>& arguments,
                             const std::map<std::string, std::string>& environment,
                             const std::filesystem::path& files) {
  const int in = open("/dev/null", O_RDONLY);
  const int out = open((files / "out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int err = open((files / "err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  for (const auto& [name, value] : environment) {
    setenv(name.c_str(), value.c_str(), 1);
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

}  // namespace

bool wait_for_exit(pid_t pid, absl::Time deadline) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) {
    return errno == ESRCH;
  }
  pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&poll_fd, 1, poll_ms(deadline));
  } while (ready < 0 && errno == EINTR);
  close(fd);
  return ready > 0;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "laconic-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    perror("mkdtemp");
    abort();
  }
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;  // A file that a child still writes must not fail the test.
  std::filesystem::remove_all(path_, ignored);
}

ChildProcess::ChildProcess(const std::vector<std::string>& arguments,
                           const std::map<std::string, std::string>& environment) {
  pid_ = fork();
  if (pid_ == 0) {
    exec_child(arguments, environment, files_.path());
  }
}

ChildProcess::~ChildProcess() {
  if (!ended_.has_value()) {
    kill(SIGKILL);
    wait(absl::Seconds(10));
  }
}

void ChildProcess::kill(int signal) const {
  ::kill(pid_, signal);
}

std::optional<Ended> ChildProcess::wait(absl::Duration timeout) {
  if (ended_.has_value()) {
    return ended_;
  }
  if (!wait_for_exit(pid_, absl::Now() + timeout)) {
    return std::nullopt;
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  ended_ = Ended{.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                 .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                 .out = out(),
                 .err = err()};
  return ended_;
}

std::string ChildProcess::out() const {
  return read_file(files_.path() / "out");
}
std::string ChildProcess::err() const {
  return read_file(files_.path() / "err");
}

Ended run_program(const std::vector<std::string>& arguments, absl::Duration timeout,
                  const std::map<std::string, std::string>& environment) {
  ChildProcess child(arguments, environment);
  std::optional<Ended> ended = child.wait(timeout);
  if (!ended.has_value()) {
    ADD_FAILURE() << arguments[0] << " still runs after " << absl::FormatDuration(timeout)
                  << "; it wrote:\n"
                  << child.out() << child.err();
    child.kill(SIGKILL);
    ended = child.wait(absl::Seconds(10));
  }
  return ended.value_or(Ended{});
}

bool wait_for_file(const std::filesystem::path& path, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  const int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  inotify_add_watch(watch, path.parent_path().c_str(), IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE);
  bool found = std::filesystem::exists(path);
  while (!found && absl::Now() < deadline) {
    pollfd poll_fd{.fd = watch, .events = POLLIN, .revents = 0};
    poll(&poll_fd, 1, poll_ms(deadline));
    char events[4096];
    while (read(watch, events, sizeof(events)) > 0) {
    }
    found = std::filesystem::exists(path);
  }
  close(watch);
  return found;
}

std::string read_file(const std::filesystem::path& path) {
  // Unlike iterators of the buffer, this does not throw when a file of /proc loses its process.
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::vector<pid_t> processes_with(const std::string& name, const std::string& value) {
  const std::string wanted = name + "=" + value;
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const pid_t pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    // A zombie has no environment any more, so only what runs is found.
    const std::string environment = pid > 0 ? read_file(entry.path() / "environ") : "";
    for (size_t at = 0; at < environment.size(); at = environment.find('\0', at) + 1) {
      if (environment.compare(at, wanted.size() + 1, wanted + '\0') == 0) {
        found.push_back(pid);
        break;
      }
      if (environment.find('\0', at) == std::string::npos) {
        break;
      }
    }
  }
  return found;
}

std::vector<pid_t> wait_until_gone(const std::string& name, const std::string& value,
                                   absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  std::vector<pid_t> left = processes_with(name, value);
  while (!left.empty() && absl::Now() < deadline) {
    wait_for_exit(left.front(), deadline);
    left = processes_with(name, value);
  }
  return left;
}

}  // namespace laconic::testing
