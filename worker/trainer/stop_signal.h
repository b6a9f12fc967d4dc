// "End now", from the worker, from a signal, or because the worker is gone.
#pragma once

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace laconic::trainer {

// Thread-safe. Shared by the threads that may stop the run and the one that trains.
class StopSignal {
 public:
  using Listener = std::function<void(const absl::Status&)>;

  // The first reason stays; later ones are ignored. Calls the listener, and starts a timer that
  // kills this process if it has not ended within kStopGraceMs: a forward pass cannot be
  // interrupted otherwise.
  void stop(const absl::Status& reason);

  // OK until stop() was called, then its reason.
  absl::Status status() const;

  // Called once, on the thread that stops, or at once if the run was stopped before. What it
  // captures must live as long as this object or until another listener is set, and may be used
  // shortly after that: capture shared pointers.
  void set_listener(Listener listener);

 private:
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  Listener listener_ ABSL_GUARDED_BY(mutex_);
};

// Makes SIGTERM and SIGINT raise `stop`, on a thread of their own so that what follows need not be
// signal-safe. Call before any other thread is started.
void stop_on_signals(const std::shared_ptr<StopSignal>& stop);

inline constexpr int kStopGraceMs = 800;

}  // namespace laconic::trainer
