// Turns SIGINT, SIGTERM and SIGHUP into counts of an Interrupt.
#pragma once

#include <thread>

#include "cli/console.h"

namespace laconic::cli {

// Lives in main(), before any other thread starts: it blocks the signals in this thread, and all
// later threads inherit that. Child processes must unblock them (see process.cc).
class SignalWatcher {
 public:
  explicit SignalWatcher(Interrupt& interrupt);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void watch();

  Interrupt& interrupt_;
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  std::thread thread_;
};

}  // namespace laconic::cli
