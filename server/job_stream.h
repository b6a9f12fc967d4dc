// A server stream about one job: writes one message at a time, built when it is wanted, so a slow
// client holds no queue.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/wire/reactor_order.h"
#include "common/wire/status.h"
#include "server/engine.h"

namespace laconic::server {

// gRPC calls the On... methods on its threads; they only post. All else runs on the engine's
// thread, which alone calls StartWrite() and Finish(). Lives until OnDone(): it holds itself.
template <typename Response>
class JobStream : public grpc::ServerWriteReactor<Response>,
                  public JobWatcher,
                  public std::enable_shared_from_this<JobStream<Response>> {
 public:
  JobStream(Engine& engine, std::string method, std::string key)
      : engine_(engine), method_(std::move(method)), key_(std::move(key)) {}

  // Any thread, once. Returns the reactor for gRPC.
  grpc::ServerWriteReactor<Response>* begin() {
    self_ = this->shared_from_this();
    order_.started();  // OnCancel() and OnDone() follow this call.
    if (!engine_.try_post([self = self_] { self->open(); })) {
      finished_ = true;  // Nothing is posted yet, so no other thread looks.
      grpc::ServerWriteReactor<Response>::Finish(wire::to_grpc(Engine::busy()));
    }
    return this;
  }

  void OnWriteDone(bool ok) override {
    order_.reacts();
    engine_.post([self = this->shared_from_this(), ok] {
      self->writing_ = false;
      if (ok) {
        self->poke();
      } else {
        self->end(absl::CancelledError("the client went away"));
      }
    });
  }
  void OnCancel() override {
    order_.reacts();
    engine_.post([self = this->shared_from_this()] {
      self->end(absl::CancelledError("the client went away"));
    });
  }
  void OnDone() override {
    order_.reacts();
    // The last reference may be one in the engine's queue; the object ends with it.
    const std::shared_ptr<JobStream> self = std::move(self_);
  }

  // The engine's thread.
  void poke() override {
    if (writing_ || finished_) {
      return;
    }
    message_.Clear();
    switch (next(message_)) {
      case Next::kWrite:
        writing_ = true;
        order_.started();
        this->StartWrite(&message_);
        return;
      case Next::kWait:
        return;
      case Next::kEnd:
        end(absl::OkStatus());
        return;
    }
  }
  void end(const absl::Status& status) override {
    if (!finished_) {
      finished_ = true;
      const grpc::Status answer = wire::to_grpc(status);
      engine_.metrics().handled(method_, absl::StatusCodeToString(status.code()));
      order_.started();
      this->Finish(answer);
    }
  }

 protected:
  enum class Next { kWrite, kWait, kEnd };
  // The engine's thread: the next message, if there is one.
  virtual Next next(Response& out) = 0;
  // The engine's thread: checks the request once the job is known.
  virtual absl::Status check() { return absl::OkStatus(); }

  Engine& engine() { return engine_; }
  const std::string& id() const { return id_; }

 private:
  void open() {
    if (finished_) {
      return;
    }
    absl::StatusOr<std::string> id = engine_.resolve(key_);
    if (!id.ok()) {
      end(id.status());
      return;
    }
    id_ = *std::move(id);
    absl::Status status = check();
    if (status.ok()) {
      status = engine_.subscribe(id_, this->shared_from_this());
    }
    if (!status.ok()) {
      end(status);
      return;
    }
    poke();
  }

  Engine& engine_;
  const std::string method_;
  const std::string key_;
  std::shared_ptr<JobStream> self_;  // set before gRPC knows the reactor, dropped in OnDone
  wire::ReactorOrder order_;

  // Owned by the engine's thread.
  std::string id_;
  Response message_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace laconic::server
