#include "server/session_service.h"

#include <deque>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/reactor_order.h"
#include "common/wire/status.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

// Threads as in JobStream. The next message is read only once the engine has handled the last one,
// so a worker that talks too much slows itself down.
class SessionStream : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>,
                      public SessionLink,
                      public std::enable_shared_from_this<SessionStream> {
 public:
  explicit SessionStream(Engine& engine) : engine_(engine) {}

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* begin() {
    self_ = shared_from_this();
    order_.started();  // OnCancel() and OnDone() follow this call.
    if (!engine_.try_post([self = self_] { self->open(); })) {
      finished_ = true;  // Nothing is posted yet, so no other thread looks.
      Finish(wire::to_grpc(Engine::busy()));
    }
    return this;
  }

  void OnReadDone(bool ok) override {
    order_.reacts();
    engine_.post([self = shared_from_this(), ok] { self->handle(ok); });
  }
  void OnWriteDone(bool ok) override {
    order_.reacts();
    engine_.post([self = shared_from_this(), ok] {
      self->writing_ = false;
      self->queue_.pop_front();
      if (ok) {
        self->write();
      } else {
        self->end(absl::CancelledError("the worker went away"));
      }
    });
  }
  void OnCancel() override {
    order_.reacts();
    engine_.post(
        [self = shared_from_this()] { self->end(absl::CancelledError("the worker went away")); });
  }
  void OnDone() override {
    order_.reacts();
    const std::shared_ptr<SessionStream> self = std::move(self_);
  }

  // The engine's thread.
  void send(const v1::SessionResponse& message) override {
    if (finished_) {
      return;
    }
    if (queue_.size() >= engine_.limits().session_queue_max) {
      // After the next registration both sides agree again.
      end(wire::with_error_info(
          absl::ResourceExhaustedError(
              absl::StrCat(queue_.size(), " messages wait for this worker; open a new session")),
          {kSessionQueueFull, {}}));
      return;
    }
    queue_.push_back(message);
    write();
  }
  void end(const absl::Status& status) override {
    if (!finished_) {
      finished_ = true;
      engine_.close_session(session_);
      engine_.metrics().handled("Session", absl::StatusCodeToString(status.code()));
      order_.started();
      Finish(wire::to_grpc(status));
    }
  }

 private:
  void open() {
    const absl::StatusOr<uint64_t> session = engine_.open_session(shared_from_this());
    if (!session.ok()) {
      end(session.status());
      return;
    }
    session_ = *session;
    read();
  }
  void handle(bool ok) {
    if (finished_) {
      return;
    }
    if (!ok) {
      end(absl::OkStatus());  // The worker has closed its side.
      return;
    }
    const absl::Status status = engine_.session_message(session_, request_);
    if (!status.ok()) {
      end(status);
    } else if (!finished_) {
      read();
    }
  }
  void read() {
    order_.started();
    StartRead(&request_);
  }
  void write() {
    if (!writing_ && !finished_ && !queue_.empty()) {
      writing_ = true;
      order_.started();
      StartWrite(&queue_.front());
    }
  }

  Engine& engine_;
  std::shared_ptr<SessionStream> self_;  // as in JobStream
  wire::ReactorOrder order_;

  // Owned by the engine's thread.
  uint64_t session_ = 0;
  v1::SessionRequest request_;
  std::deque<v1::SessionResponse> queue_;  // the front is being written when writing_
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* SessionServiceImpl::Session(
    grpc::CallbackServerContext* /*context*/) {
  return std::make_shared<SessionStream>(engine_)->begin();
}

}  // namespace laconic::server
