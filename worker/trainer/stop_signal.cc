#include "worker/trainer/stop_signal.h"

#include <signal.h>
#include <sys/time.h>

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {

void StopSignal::stop(const absl::Status& reason) {
  Listener listener;
  {
    const absl::MutexLock lock(&mutex_);
    if (!status_.ok()) {
      return;
    }
    status_ = reason;
    listener = listener_;
  }
  // SIGALRM's default action ends the process, whatever its threads do.
  const itimerval timer{.it_interval = {},
                        .it_value = {.tv_sec = 0, .tv_usec = kStopGraceMs * 1000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  if (listener) {
    listener(reason);
  }
}

absl::Status StopSignal::status() const {
  const absl::MutexLock lock(&mutex_);
  return status_;
}

void StopSignal::set_listener(Listener listener) {
  absl::Status reason;
  {
    const absl::MutexLock lock(&mutex_);
    listener_ = listener;
    reason = status_;
  }
  if (!reason.ok() && listener) {
    listener(reason);
  }
}

void stop_on_signals(const std::shared_ptr<StopSignal>& stop) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([stop, signals] {
    int number = 0;
    sigwait(&signals, &number);
    stop->stop(failure(absl::StatusCode::kCancelled, kStopped,
                       absl::StrCat("stopped by signal ", number)));
  }).detach();
}

}  // namespace laconic::trainer
