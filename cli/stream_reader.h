// Reads a server stream on a thread of its own, so that the caller can wait with a limit.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/wire/status.h"

namespace laconic::cli {

// Thread-safe towards its own thread only: one caller. The destructor cancels the call and joins.
template <typename Response>
class StreamReader {
 public:
  using Reader = grpc::ClientReader<Response>;
  using Open = std::function<std::unique_ptr<Reader>(grpc::ClientContext*)>;

  explicit StreamReader(const Open& open) : reader_(open(&context_)), thread_([this] { read(); }) {}

  ~StreamReader() {
    {
      absl::MutexLock lock(&mutex_);
      closing_ = true;
    }
    context_.TryCancel();
    thread_.join();
  }
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // The next message. Nothing: none came within `timeout`, or the stream is over (see ended()).
  std::optional<Response> next(absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(
        absl::Condition(
            +[](StreamReader* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
              return !self->queue_.empty() || self->status_.has_value();
            },
            this),
        timeout);
    if (queue_.empty()) {
      return std::nullopt;
    }
    Response response = std::move(queue_.front());
    queue_.pop_front();
    return response;
  }

  // How the stream ended, once everything before the end was taken; nothing: it goes on.
  std::optional<absl::Status> ended() {
    absl::MutexLock lock(&mutex_);
    return queue_.empty() ? status_ : std::nullopt;
  }

 private:
  // A reader that is not drained stops reading, and flow control stops the server.
  static constexpr size_t kQueueMax = 64;

  bool has_room() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return queue_.size() < kQueueMax || closing_;
  }

  void read() {
    Response response;
    while (reader_->Read(&response)) {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &StreamReader::has_room));
      if (!closing_) {
        queue_.push_back(std::move(response));
      }
    }
    absl::Status status = wire::from_grpc(reader_->Finish());
    absl::MutexLock lock(&mutex_);
    status_ = std::move(status);
  }

  grpc::ClientContext context_;
  std::unique_ptr<Reader> reader_;
  absl::Mutex mutex_;
  std::deque<Response> queue_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace laconic::cli
