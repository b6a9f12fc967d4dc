#include "worker/agent/session.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <spdlog/spdlog.h>

#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/wire/channel.h"
#include "common/wire/reactor_order.h"
#include "common/wire/status.h"
#include "worker/agent/monotonic_clock.h"

namespace laconic::agent {

// One attempt. Holds itself alive until OnDone().
class Session::Stream final
    : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  Stream(Inbox& inbox, Session* session, const std::string& server)
      : inbox_(inbox), session_(session) {
    // A channel per attempt, so that gRPC's own waiting between attempts does not add to ours and
    // the name is looked up anew.
    grpc::ChannelArguments arguments = wire::control_channel_arguments();
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = v1::SessionService::NewStub(
        grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
  }

  void start(std::shared_ptr<Stream> self, v1::SessionRequest first) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      self_ = std::move(self);
      order_.started();
      stub_->async()->Session(&context_, this);
      // Writes begin outside of gRPC's callbacks, which it only allows while it is held.
      AddHold();
      open_ = true;
      queue_.push_back(std::move(first));
      write_first();
      StartRead(&response_);
    }
    StartCall();
  }

  bool send(v1::SessionRequest request) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!open_ || finishing_ || queue_.size() >= kSendQueueMax) {
      return false;
    }
    queue_.push_back(std::move(request));
    if (queue_.size() == 1) {
      write_first();
    }
    return true;
  }

  void read_on() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (open_) {
      StartRead(&response_);
    }
  }

  size_t queued() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return queue_.size();
  }

  // When the message being written was begun; InfiniteFuture: none is.
  absl::Time writing_since() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return queue_.empty() ? absl::InfiniteFuture() : write_began_;
  }

  void finish() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (open_ && !std::exchange(finishing_, true) && queue_.empty()) {
      StartWritesDone();
    }
  }

  void cancel() {
    context_.TryCancel();
    let_go();
  }

  void wait_until_done() { done_->WaitForNotification(); }

  void OnReadDone(bool ok) override {
    order_.reacts();
    if (!ok) {
      let_go();
      return;
    }
    inbox_.post([session = session_, self = self_, response = response_] {
      session->handle(self, response);
    });
  }

  void OnWriteDone(bool ok) override {
    bool empty = false;
    {
      absl::MutexLock lock(&mutex_);
      queue_.pop_front();
      empty = queue_.empty();
      if (ok && open_ && !empty) {
        write_first();
      } else if (ok && open_ && finishing_) {
        StartWritesDone();
      }
    }
    if (empty) {
      inbox_.post([] {});  // The agent may have more that did not fit.
    }
  }

  // The agent's thread gets the last reference: gRPC 1.51 corrupts its callback queue when a
  // channel goes on the thread that serves it.
  void OnDone(const grpc::Status& status) override {
    order_.reacts();
    const std::shared_ptr<absl::Notification> done = done_;
    inbox_.post([session = session_, self = std::move(self_), status = wire::from_grpc(status)] {
      session->handle_end(self, status);
    });
    done->Notify();
  }

 private:
  void write_first() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    write_began_ = monotonic_now();
    StartWrite(&queue_.front());
  }

  void let_go() ABSL_LOCKS_EXCLUDED(mutex_) {
    bool held = false;
    {
      absl::MutexLock lock(&mutex_);
      held = std::exchange(open_, false);
    }
    if (held) {
      RemoveHold();
    }
  }

  Inbox& inbox_;
  Session* const session_;
  std::unique_ptr<v1::SessionService::Stub> stub_;
  grpc::ClientContext context_;
  std::shared_ptr<Stream> self_;  // written before the call starts and in OnDone()
  wire::ReactorOrder order_;
  v1::SessionResponse response_;  // gRPC's while a read is outstanding
  const std::shared_ptr<absl::Notification> done_ = std::make_shared<absl::Notification>();
  absl::Mutex mutex_;
  std::deque<v1::SessionRequest> queue_ ABSL_GUARDED_BY(mutex_);  // the first is being written
  absl::Time write_began_ ABSL_GUARDED_BY(mutex_);
  bool open_ ABSL_GUARDED_BY(mutex_) = false;  // held: reads and writes may be started
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
};

Session::Session(Inbox& inbox, std::string server, uint64_t seed, Calls calls)
    : inbox_(inbox), server_(std::move(server)), calls_(std::move(calls)), backoff_({}, seed) {}

Session::~Session() {
  if (stream_ != nullptr) {
    stream_->cancel();
    stream_->wait_until_done();
  }
}

void Session::tick(absl::Time now) {
  if (stream_ == nullptr) {
    if (!finishing_ && now >= open_at_) {
      open(now);
    }
    return;
  }
  const bool no_answer = !registered_ && now - opened_at_ > kSilenceMax;
  if (no_answer || now - stream_->writing_since() > kSilenceMax) {
    // The end comes through handle_end() with the status CANCELLED.
    stream_->cancel();
    return;
  }
  if (registered_ && now >= beat_at_) {
    v1::SessionRequest request;
    request.mutable_heartbeat();
    // A full queue moves or is given up; a beat behind it would say nothing new.
    if (stream_->send(std::move(request))) {
      beat_at_ = now + kHeartbeatInterval;
    }
  }
}

void Session::open(absl::Time now) {
  v1::SessionRequest first;
  *first.mutable_register_() = calls_.make_register();
  stream_ = std::make_shared<Stream>(inbox_, this, server_);
  opened_at_ = now;
  stream_->start(stream_, std::move(first));
}

size_t Session::queued() const {
  return stream_ == nullptr ? 0 : stream_->queued();
}

bool Session::send(v1::SessionRequest request) {
  return registered_ && stream_->send(std::move(request));
}

void Session::finish() {
  finishing_ = true;
  if (stream_ != nullptr && registered_) {
    stream_->finish();
  } else if (stream_ != nullptr) {
    stream_->cancel();
  }
}

void Session::handle(const std::shared_ptr<Stream>& from, const v1::SessionResponse& response) {
  if (from != stream_) {
    return;
  }
  if (response.has_welcome() && !std::exchange(registered_, true)) {
    backoff_.reset();
    beat_at_ = monotonic_now();
    last_trouble_.clear();
    spdlog::info("registered with the server at {} (version {})", server_,
                 response.welcome().server_version());
  }
  if (registered_) {
    calls_.on_message(response);
  }
  from->read_on();
}

void Session::handle_end(const std::shared_ptr<Stream>& from, const absl::Status& status) {
  if (from != stream_) {
    return;
  }
  if (!finishing_) {
    log_end(status);
  }
  stream_.reset();
  registered_ = false;
  open_at_ = monotonic_now() + backoff_.next();
}

void Session::log_end(const absl::Status& status) {
  // Only a change is worth a line; gRPC's text of one trouble differs from attempt to attempt.
  const std::string trouble = absl::StatusCodeToString(status.code());
  if (registered_) {
    spdlog::warn("lost the server at {}, trying again; tasks go on ({})", server_,
                 status.ToString());
  } else if (trouble != last_trouble_) {
    spdlog::warn("cannot register with the server at {}, trying again until it answers ({})",
                 server_, status.ToString());
  }
  last_trouble_ = trouble;
}

}  // namespace laconic::agent
