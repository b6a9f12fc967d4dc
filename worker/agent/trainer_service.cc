#include "worker/agent/trainer_service.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/channel.h"

namespace laconic::agent {
namespace {

constexpr size_t kSocketPathBytesMax = 107;  // sun_path without its final zero

// A new directory of mode 0700 whose path leaves room for the socket's name.
absl::StatusOr<std::string> private_directory() {
  // The environment is not changed by any thread of this process.
  const char* runtime = getenv("XDG_RUNTIME_DIR");  // NOLINT(concurrency-mt-unsafe)
  std::string errors;
  for (const std::string& base :
       {std::string(runtime != nullptr ? runtime : ""), std::string("/tmp")}) {
    std::string path = absl::StrCat(base, "/laconic-XXXXXX");
    if (base.empty() || base[0] != '/' || path.size() + 2 > kSocketPathBytesMax) {
      continue;
    }
    if (mkdtemp(path.data()) != nullptr) {
      return path;
    }
    errors += absl::StrCat(" ", base, ": ", std::generic_category().message(errno), ".");
  }
  return absl::InternalError(absl::StrCat(
      "cannot make a directory for the socket of the trainers:", errors,
      " Make /tmp writable, or set XDG_RUNTIME_DIR to a writable directory with a short path."));
}

grpc::Status refused() {
  return {grpc::StatusCode::UNAUTHENTICATED,
          absl::StrCat("the metadata key ", kTaskTokenKey,
                       " holds no token of a task that runs here and is not attached yet")};
}

// Ends at once with a status.
class Refusal final : public grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse> {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

// One trainer's stream. Lives until OnDone(). gRPC's threads and the agent's call into it.
class TrainerServer::Attachment final
    : public grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse> {
 public:
  Attachment(TrainerServer& server, TaskId id) : server_(server), id_(std::move(id)) {}

  const TaskId& id() const { return id_; }

  void read() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!finished_ && !std::exchange(reading_, true)) {
      StartRead(&request_);
    }
  }

  bool send(const v1::AttachResponse& command) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (finished_ || commands_.size() >= kCommandsMax) {
      return false;
    }
    commands_.push_back(command);
    if (commands_.size() == 1) {
      StartWrite(&commands_.front());
    }
    return true;
  }

  void finish(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!std::exchange(finished_, true)) {
      Finish(status);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      finish(grpc::Status::OK);
      return;
    }
    {
      absl::MutexLock lock(&mutex_);
      reading_ = false;
    }
    // One read at a time: the next begins when the agent has taken this one, so a trainer that
    // floods its worker is slowed down by its own full stream.
    server_.inbox_.post([server = &server_, id = id_, self = this, report = request_.report()] {
      server->on_report_(id, report);
      server->read_on(id, self);
    });
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    commands_.pop_front();
    if (ok && !finished_ && !commands_.empty()) {
      StartWrite(&commands_.front());
    }
  }

  void OnCancel() override { finish(grpc::Status::CANCELLED); }

  void OnDone() override {
    server_.detach(this);
    delete this;
  }

 private:
  TrainerServer& server_;
  const TaskId id_;
  v1::AttachRequest request_;  // gRPC's while a read is outstanding
  absl::Mutex mutex_;
  std::deque<v1::AttachResponse> commands_ ABSL_GUARDED_BY(mutex_);  // the first is being written
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

TrainerServer::TrainerServer(Inbox& inbox, OnReport on_report)
    : inbox_(inbox), on_report_(std::move(on_report)) {}

absl::StatusOr<std::unique_ptr<TrainerServer>> TrainerServer::start(Inbox& inbox,
                                                                    OnReport on_report) {
  absl::StatusOr<std::string> directory = private_directory();
  if (!directory.ok()) {
    return directory.status();
  }
  std::unique_ptr<TrainerServer> result(new TrainerServer(inbox, std::move(on_report)));
  result->directory_ = *std::move(directory);
  result->address_ = absl::StrCat("unix:", result->directory_, "/s");
  grpc::ServerBuilder builder;
  wire::apply_control_settings(builder);
  builder.SetMaxReceiveMessageSize(kReportBytesMax);
  builder.AddListeningPort(result->address_, grpc::InsecureServerCredentials());
  builder.RegisterService(result.get());
  result->server_ = builder.BuildAndStart();
  if (result->server_ == nullptr) {
    return absl::InternalError(absl::StrCat(
        "cannot listen on ", result->address_,
        "; check that its file system has room and allows sockets, or set XDG_RUNTIME_DIR"));
  }
  return result;
}

TrainerServer::~TrainerServer() {
  if (server_ != nullptr) {
    // Calls are cancelled at the deadline; that is an end their reactors know (OnCancel).
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  std::error_code ignored;  // What cannot be removed is an empty directory below /tmp.
  std::filesystem::remove_all(directory_, ignored);
}

void TrainerServer::admit(const TaskId& id, const std::string& token) {
  absl::MutexLock lock(&mutex_);
  tokens_[token] = id;
}

void TrainerServer::dismiss(const TaskId& id) {
  absl::MutexLock lock(&mutex_);
  for (auto at = tokens_.begin(); at != tokens_.end();) {
    at = at->second == id ? tokens_.erase(at) : std::next(at);
  }
  const auto found = attachments_.find(id);
  if (found != attachments_.end()) {
    found->second->finish(grpc::Status::CANCELLED);
  }
}

bool TrainerServer::attached(const TaskId& id) {
  absl::MutexLock lock(&mutex_);
  return attachments_.contains(id);
}

bool TrainerServer::send(const TaskId& id, const v1::AttachResponse& command) {
  absl::MutexLock lock(&mutex_);
  const auto found = attachments_.find(id);
  return found != attachments_.end() && found->second->send(command);
}

grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>* TrainerServer::Attach(
    grpc::CallbackServerContext* context) {
  const auto found = context->client_metadata().find(kTaskTokenKey);
  Attachment* attachment = nullptr;
  if (found != context->client_metadata().end()) {
    attachment = attach(std::string(found->second.data(), found->second.size()));
  }
  if (attachment == nullptr) {
    return new Refusal(refused());
  }
  attachment->read();
  return attachment;
}

TrainerServer::Attachment* TrainerServer::attach(const std::string& token) {
  absl::MutexLock lock(&mutex_);
  const auto task = tokens_.find(token);
  if (token.empty() || task == tokens_.end() || attachments_.contains(task->second)) {
    return nullptr;
  }
  auto* attachment = new Attachment(*this, task->second);
  attachments_[task->second] = attachment;
  return attachment;
}

void TrainerServer::detach(Attachment* attachment) {
  absl::MutexLock lock(&mutex_);
  const auto found = attachments_.find(attachment->id());
  if (found != attachments_.end() && found->second == attachment) {
    attachments_.erase(found);
  }
}

void TrainerServer::read_on(const TaskId& id, const Attachment* attachment) {
  absl::MutexLock lock(&mutex_);
  const auto found = attachments_.find(id);
  // The stream may have ended, even another one have begun, while its report waited.
  if (found != attachments_.end() && found->second == attachment) {
    found->second->read();
  }
}

}  // namespace laconic::agent
