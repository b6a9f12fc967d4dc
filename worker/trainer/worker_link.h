// The trainer's stream to the worker that started it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "laconic/v1/trainer.grpc.pb.h"
#include "worker/trainer/stop_signal.h"

namespace laconic::trainer {

inline constexpr size_t kReportsWaitingMax = 65536;

// Thread-safe. The stream's end, unless finish() asked for it, and a Stop command raise `stop`.
class WorkerLink final : private grpc::ClientBidiReactor<v1::AttachRequest, v1::AttachResponse> {
 public:
  // address: "unix:PATH" of the worker. task_token: shown to it. Does not wait; a worker that is
  // not there raises `stop`.
  WorkerLink(const std::string& address, const std::string& task_token,
             std::shared_ptr<StopSignal> stop);
  // Breaks the stream off unless finish() came first.
  ~WorkerLink() override;

  // Queues a report; reports arrive in this order. A progress report that still waits is replaced
  // by a later one. More than kReportsWaitingMax waiting reports raise `stop`.
  void report(v1::TrainerReport report);
  // Reports an event of now. reason: UPPER_SNAKE, in docs/errors.md.
  void report_event(const char* reason, const std::string& message);

  // Waits for the worker's Launch. Errors: the reason of `stop`.
  absl::StatusOr<v1::Launch> wait_for_launch();

  // Delivers all that was reported and closes the stream; nothing may be reported afterwards.
  // Errors: Unavailable or DeadlineExceeded if the worker did not confirm the end.
  absl::Status finish(absl::Time deadline);

  // Lets wait_for_launch() look at `stop` again.
  void wake();

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnWritesDoneDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  // Takes the next report for writing, when there is one and none is being written.
  bool take_next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True, once, when no operation will be started any more and none is under way.
  bool may_release() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<StopSignal> stop_;
  const std::unique_ptr<v1::TrainerService::Stub> stub_;
  grpc::ClientContext context_;

  v1::AttachResponse response_;  // Owned by the read under way.
  v1::AttachRequest request_;    // Owned by the write under way.

  absl::Mutex mutex_;
  std::deque<v1::TrainerReport> waiting_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::Launch> launch_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;     // No read or write will succeed any more.
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;  // The end is wanted.
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;     // Writes are done.
  bool released_ ABSL_GUARDED_BY(mutex_) = false;   // The hold on the call is gone.
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace laconic::trainer
