#include "worker/agent/process_table.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/core/status_macros.h"
#include "worker/agent/errno_status.h"
#include "worker/agent/process_list.h"

namespace laconic::agent {
namespace {

constexpr int kErrorFd = 3;  // of the child, until it becomes the program

struct ChildError {
  int error = 0;
  const char* step = nullptr;  // A constant of this program, so it has the same address here.
};

// What the child needs, made before the fork: between fork and exec it may not allocate.
struct ChildPlan {
  std::vector<char*> argv, environment;
  const char* directory = nullptr;
  int stdin_fd = -1, stdout_fd = -1, stderr_fd = -1, error_fd = -1;
  pid_t parent = 0;
};

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) {
      close(fd_);
    }
    fd_ = fd;
  }

 private:
  int fd_;
};

// ---- Between fork and exec: only async-signal-safe calls -------------------------------------

[[noreturn]] void give_up(const char* step) {
  const ChildError report{errno, step};
  [[maybe_unused]] const ssize_t written = write(kErrorFd, &report, sizeof report);
  _exit(127);
}

[[noreturn]] void become(const ChildPlan& plan) {
  // The sources are above 2 (see the constructor), so no copy overwrites one that is still needed.
  if (dup2(plan.stdin_fd, 0) < 0 || dup2(plan.stdout_fd, 1) < 0 || dup2(plan.stderr_fd, 2) < 0 ||
      dup2(plan.error_fd, kErrorFd) < 0) {
    _exit(127);
  }
  fcntl(kErrorFd, F_SETFD, FD_CLOEXEC);
  if (setpgid(0, 0) != 0) {
    give_up("setpgid");
  }
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    give_up("PR_SET_PDEATHSIG");
  }
  if (getppid() != plan.parent) {
    _exit(127);  // The parent died before the line above took effect.
  }
  if (close_range(kErrorFd + 1, ~0U, 0) != 0) {
    give_up("close_range");
  }
  for (const int signal : {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGCHLD}) {
    ::signal(signal, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  if (chdir(plan.directory) != 0) {
    give_up("chdir");
  }
  execve(plan.argv[0], plan.argv.data(), plan.environment.data());
  give_up("execve");
}

}  // namespace

ProcessTable::ProcessTable() {
  // With a closed standard stream, files of children would get its number.
  int spare = 0;
  do {
    spare = open("/dev/null", O_RDWR | O_CLOEXEC);
  } while (spare >= 0 && spare <= 2);
  if (spare > 2) {
    close(spare);
  }
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  for (const ProcessEntry& entry : all_processes()) {
    if (entry.parent == getpid()) {
      children_before_.insert(entry.pid);
    }
  }
}

ProcessTable::~ProcessTable() {
  const absl::Time begin = absl::Now();
  for (auto& [name, process] : processes_) {
    process.kill_at = begin;
  }
  collect(begin);
  while (!processes_.empty()) {
    std::vector<pollfd> fds;
    append_poll_fds(fds);
    poll(fds.data(), fds.size(), static_cast<int>(absl::ToInt64Milliseconds(kSweepInterval)));
    collect(absl::Now());
  }
}

absl::StatusOr<pid_t> ProcessTable::spawn(const ProcessSpec& spec) {
  ChildPlan plan;
  std::vector<std::string> environment = spec.environment;
  environment.push_back(absl::StrCat(kTaskVariable, "=", spec.name));
  std::set<std::string> own;
  for (const std::string& variable : environment) {
    own.insert(variable.substr(0, variable.find('=') + 1));
  }
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string inherited = *variable;
    if (!own.contains(inherited.substr(0, inherited.find('=') + 1))) {
      environment.push_back(inherited);
    }
  }
  std::vector<std::string> argv = spec.argv;
  std::transform(argv.begin(), argv.end(), std::back_inserter(plan.argv),
                 [](std::string& text) { return text.data(); });
  std::transform(environment.begin(), environment.end(), std::back_inserter(plan.environment),
                 [](std::string& text) { return text.data(); });
  plan.argv.push_back(nullptr);
  plan.environment.push_back(nullptr);
  plan.directory = spec.directory.c_str();
  plan.parent = getpid();

  constexpr int kAppend = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
  const Fd in(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Fd out(open(spec.stdout_path.c_str(), kAppend, 0600));
  if (out.get() < 0) {
    return errno_status(errno, absl::StrCat("cannot open ", spec.stdout_path));
  }
  const Fd err(open(spec.stderr_path.c_str(), kAppend, 0600));
  if (err.get() < 0) {
    return errno_status(errno, absl::StrCat("cannot open ", spec.stderr_path));
  }
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return errno_status(errno, "cannot make a pipe");
  }
  const Fd error_in(ends[0]);
  Fd error_out(ends[1]);
  plan.stdin_fd = in.get();
  plan.stdout_fd = out.get();
  plan.stderr_fd = err.get();
  plan.error_fd = error_out.get();

  const pid_t pid = fork();
  if (pid < 0) {
    return errno_status(errno, "cannot fork");
  }
  if (pid == 0) {
    become(plan);
  }
  setpgid(pid, pid);  // Also here: a stop may come before the child has done it.
  error_out.reset();
  ChildError error;
  ssize_t count = 0;
  do {
    count = read(error_in.get(), &error, sizeof error);
  } while (count < 0 && errno == EINTR);
  if (count == static_cast<ssize_t>(sizeof error)) {
    waitpid(pid, nullptr, 0);
    return errno_status(error.error, absl::StrCat("cannot run ", spec.argv[0], " in ",
                                                  spec.directory, " (", error.step, ")"));
  }
  Process& process = processes_[spec.name];
  process.pid = pid;
  process.pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  process.exit.name = spec.name;
  return pid;
}

void ProcessTable::stop(const std::string& name, absl::Duration grace, absl::Time now) {
  const auto found = processes_.find(name);
  if (found == processes_.end() || found->second.ended) {
    return;
  }
  Process& process = found->second;
  if (!std::exchange(process.stopping, true)) {
    kill(-process.pid, SIGTERM);
  }
  process.kill_at = std::min(process.kill_at, now + grace);
}

std::vector<ProcessExit> ProcessTable::collect(absl::Time now) {
  std::vector<ProcessExit> result;
  for (auto at = processes_.begin(); at != processes_.end();) {
    Process& process = at->second;
    if (!process.ended && now >= process.kill_at) {
      kill(-process.pid, SIGKILL);
      process.kill_at = absl::InfiniteFuture();
    }
    if (!notice_end(process, now) ||
        (!sweep(at->first, process, now) && now < process.sweep_until)) {
      ++at;
      continue;
    }
    waitpid(process.pid, nullptr, 0);
    if (process.pidfd >= 0) {
      close(process.pidfd);
    }
    result.push_back(process.exit);
    at = processes_.erase(at);
  }
  return result;
}

// Leaves the process a zombie: as long as it is one, its id and its group's id are nobody else's.
bool ProcessTable::notice_end(Process& process, absl::Time now) {
  if (process.ended) {
    return true;
  }
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(process.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid == 0) {
    return false;
  }
  process.ended = true;
  process.sweep_until = now + kSweepMax;
  if (info.si_code == CLD_EXITED) {
    process.exit.exit_code = info.si_status;
  } else {
    process.exit.signal = info.si_status;
  }
  kill(-process.pid, SIGKILL);
  return true;
}

// Kills what an ended process left behind and reaps what has died of it. Returns true once there
// was nothing left; killing one process may hand its own children to this one, hence the repeats.
bool ProcessTable::sweep(const std::string& name, Process& process, absl::Time now) {
  bool clean = true;
  for (const ProcessEntry& entry : all_processes()) {
    if (!is_stray(entry.pid, entry.parent, entry.group, process)) {
      continue;
    }
    if (entry.state == 'Z') {
      if (entry.parent == getpid()) {
        waitpid(entry.pid, nullptr, WNOHANG);
      }
      continue;
    }
    const Owner owner = entry.group == process.pid ? Owner::kThis : owner_of(entry.pid, name);
    if (owner == Owner::kOther) {
      continue;
    }
    clean = false;
    // In the middle of an execve() the environment reads as empty for a moment. Only what is still
    // nameless at a later look has none.
    if (owner == Owner::kUnknown &&
        now < process.nameless.try_emplace(entry.pid, now).first->second + kSweepInterval) {
      continue;
    }
    kill(entry.pid, SIGKILL);
  }
  return clean;
}

bool ProcessTable::is_stray(pid_t pid, pid_t parent, pid_t group, const Process& ended) const {
  const bool ours = std::any_of(processes_.begin(), processes_.end(),
                                [&](const auto& item) { return item.second.pid == pid; });
  if (ours || children_before_.contains(pid)) {
    return false;
  }
  return group == ended.pid || parent == getpid();
}

// Strays of a trainer that still runs carry its name in their environment.
ProcessTable::Owner ProcessTable::owner_of(pid_t pid, const std::string& name) const {
  if (processes_.size() == 1) {
    return Owner::kThis;
  }
  const std::string text = environment_of(pid);
  if (text.empty()) {
    return Owner::kUnknown;
  }
  const std::string prefix = absl::StrCat(kTaskVariable, "=");
  for (const absl::string_view variable : absl::StrSplit(text, '\0')) {
    if (variable.substr(0, prefix.size()) == prefix) {
      const std::string task(variable.substr(prefix.size()));
      const auto found = processes_.find(task);
      const bool runs = found != processes_.end() && !found->second.ended;
      return task != name && runs ? Owner::kOther : Owner::kThis;
    }
  }
  return Owner::kThis;
}

void ProcessTable::append_poll_fds(std::vector<pollfd>& fds) const {
  for (const auto& [name, process] : processes_) {
    if (!process.ended && process.pidfd >= 0) {
      fds.push_back({.fd = process.pidfd, .events = POLLIN, .revents = 0});
    }
  }
}

absl::Time ProcessTable::next_deadline(absl::Time now) const {
  absl::Time deadline = absl::InfiniteFuture();
  for (const auto& [name, process] : processes_) {
    deadline = std::min(deadline, process.ended ? now + kSweepInterval : process.kill_at);
  }
  return deadline;
}

}  // namespace laconic::agent
