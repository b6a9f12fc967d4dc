#include "cli/signal_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>

namespace laconic::cli {

SignalWatcher::SignalWatcher(Interrupt& interrupt) : interrupt_(interrupt) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  if (signal_fd_ >= 0 && stop_fd_ >= 0) {
    thread_ = std::thread([this] { watch(); });
  } else {
    // Out of descriptors: a Ctrl-C that simply ends the process is better than none.
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  }
}

SignalWatcher::~SignalWatcher() {
  if (thread_.joinable()) {
    eventfd_write(stop_fd_, 1);
    thread_.join();
  }
  close(signal_fd_);
  close(stop_fd_);
}

void SignalWatcher::watch() {
  for (;;) {
    std::array<pollfd, 2> descriptors = {pollfd{.fd = signal_fd_, .events = POLLIN, .revents = 0},
                                         pollfd{.fd = stop_fd_, .events = POLLIN, .revents = 0}};
    if (poll(descriptors.data(), descriptors.size(), -1) < 0) {
      continue;
    }
    if (descriptors[1].revents != 0) {
      return;
    }
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      interrupt_.trigger();
    }
  }
}

}  // namespace laconic::cli
