#include "cli/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/job_text.h"

namespace laconic::cli {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(20);
constexpr int kExecFailed = 127;

// Between fork and exec: only what is safe in a child of a process with threads.
[[noreturn]] void become(char* const* argv, int log, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) {
    _exit(kExecFailed);  // the parent died before prctl
  }
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int input = open("/dev/null", O_RDONLY);
  dup2(input, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(argv[0], argv);
  constexpr char kText[] = "cannot start the program\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
  _exit(kExecFailed);
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::start(const std::vector<std::string>& argv,
                                                 const std::string& log_path) {
  std::vector<char*> pointers;
  pointers.reserve(argv.size() + 1);
  for (const std::string& word : argv) {
    pointers.push_back(const_cast<char*>(word.c_str()));  // exec takes char*, but only reads it
  }
  pointers.push_back(nullptr);
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (log < 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write the log ", log_path, ": ",
                                                   std::generic_category().message(errno)));
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    become(pointers.data(), log, parent);
  }
  const int error = errno;
  close(log);
  if (pid < 0) {
    return absl::InternalError(
        absl::StrCat("cannot start ", argv[0], ": ", std::generic_category().message(error)));
  }
  // Both sides set the group, so that it exists whoever runs first.
  setpgid(pid, pid);
  return ChildProcess(pid);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), end_(std::move(other.end_)) {}

ChildProcess::~ChildProcess() {
  stop(absl::ZeroDuration());
}

std::optional<std::string> ChildProcess::end() {
  if (pid_ == 0 || end_) {
    return end_;
  }
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) {
    return std::nullopt;
  }
  v1::RankExit exit;
  exit.set_exit_code(WIFEXITED(status) ? WEXITSTATUS(status) : 0);
  exit.set_signal(WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  end_ = format_exit(exit);
  return end_;
}

void ChildProcess::stop(absl::Duration grace) {
  if (pid_ == 0 || end()) {
    return;
  }
  kill(pid_, SIGTERM);
  const absl::Time give_up = absl::Now() + grace;
  while (!end() && absl::Now() < give_up) {
    absl::SleepFor(kPoll);
  }
  if (!end_) {
    kill(-pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
    end_ = "killed by us";
  }
}

}  // namespace laconic::cli
