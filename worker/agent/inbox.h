// What gRPC's threads hand to the agent's one thread.
#pragma once

#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace laconic::agent {

// A queue of closures with a file descriptor that is readable while it is not empty. All state of
// the agent belongs to the thread that calls run_all(), so nothing else there needs a lock.
// Thread-safe. It stays short: each stream has one read outstanding, and reads on only after the
// agent has taken the last message.
class Inbox {
 public:
  Inbox();
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  void post(std::function<void()> closure) ABSL_LOCKS_EXCLUDED(mutex_);
  // Runs what was posted before the call, in order.
  void run_all() ABSL_LOCKS_EXCLUDED(mutex_);
  int fd() const { return fd_; }

 private:
  const int fd_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> closures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace laconic::agent
