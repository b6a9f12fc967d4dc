#include "worker/agent/inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <utility>

namespace laconic::agent {

Inbox::Inbox() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) {
    std::abort();  // No descriptor at the very start: nothing of the agent could work.
  }
}

Inbox::~Inbox() {
  close(fd_);
}

void Inbox::post(std::function<void()> closure) {
  {
    absl::MutexLock lock(&mutex_);
    closures_.push_back(std::move(closure));
  }
  // A full counter (EAGAIN) is readable all the same, so a failed write loses nothing.
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
}

void Inbox::run_all() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = read(fd_, &count, sizeof count);
  std::deque<std::function<void()>> closures;
  {
    absl::MutexLock lock(&mutex_);
    closures.swap(closures_);
  }
  for (const std::function<void()>& closure : closures) {
    closure();
  }
}

}  // namespace laconic::agent
