// The server's side of the workers' sessions, real gRPC, with the decisions made by the test.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/wire/channel.h"
#include "laconic/v1/control.grpc.pb.h"
#include "tests/agent/processes.h"
#include "worker/agent/task_table.h"

namespace laconic::agent {

// What one or more sessions have told so far.
struct Heard {
  std::vector<v1::Register> registrations;
  std::vector<v1::TaskUpdate> updates;
  std::map<TaskId, std::string> out, err;
  int heartbeats = 0;
  bool gap_in_log = false;
  int logs_repeated = 0;  // chunks that begin before the end of what has come

  const v1::RankExit* exit_of(const TaskId& id) const {
    for (const v1::TaskUpdate& update : updates) {
      if (task_id(update.key()) == id && update.has_exit()) {
        return &update.exit();
      }
    }
    return nullptr;
  }
  int pid_of(const TaskId& id) const {
    for (const v1::TaskUpdate& update : updates) {
      if (task_id(update.key()) == id && update.update_case() == v1::TaskUpdate::kPid) {
        return update.pid();
      }
    }
    return 0;
  }
  bool has_report(const TaskId& id, v1::TrainerReport::ReportCase which) const {
    for (const v1::TaskUpdate& update : updates) {
      if (task_id(update.key()) == id && update.has_report() &&
          update.report().report_case() == which) {
        return true;
      }
    }
    return false;
  }
};

class SessionServer final : public v1::SessionService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>;

  SessionServer() { start(0); }
  ~SessionServer() override { stop(); }

  // Ends all sessions at once, as a crash would.
  void stop() {
    set_deaf(false);
    if (server_ != nullptr) {
      server_->Shutdown(std::chrono::system_clock::now());
      server_->Wait();
      server_.reset();
    }
  }
  // Listens on the same port again.
  void restart() { start(port_); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // Sends to the newest session.
  void send(const v1::SessionResponse& command) {
    absl::MutexLock lock(&mutex_);
    ASSERT_NE(stream_, nullptr) << "no worker is registered";
    stream_->Write(command);
  }

  // Waits until `holds` is true of what was heard.
  bool hears(const std::function<bool(const Heard&)>& holds, absl::Duration patience = kPatience) {
    absl::MutexLock lock(&mutex_);
    const auto condition = [&] { return holds(heard_); };
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), patience);
  }
  Heard heard() {
    absl::MutexLock lock(&mutex_);
    return heard_;
  }
  // What Welcome says the server has of a log; default: nothing.
  void set_offset(const TaskId& id, v1::LogSource source, int64_t bytes) {
    absl::MutexLock lock(&mutex_);
    v1::LogOffset* offset = welcome_.add_log_offsets();
    *offset->mutable_key() = task_key(id);
    offset->set_source(source);
    offset->set_offset(bytes);
  }

  // Registrations stay without an answer.
  void set_silent(bool silent) {
    absl::MutexLock lock(&mutex_);
    silent_ = silent;
  }

  // Reads nothing after a registration until it is no longer deaf.
  void set_deaf(bool deaf) {
    absl::MutexLock lock(&mutex_);
    deaf_ = deaf;
  }

  grpc::Status Session(grpc::ServerContext* /*context*/, Stream* stream) override {
    v1::SessionRequest request;
    while (stream->Read(&request)) {
      absl::MutexLock lock(&mutex_);
      take(request);
      if (request.has_register_()) {
        v1::SessionResponse response;
        *response.mutable_welcome() = welcome_;
        if (!silent_) {
          stream->Write(response);
        }
        stream_ = stream;
      }
      mutex_.Await(absl::Condition(
          +[](bool* deaf) { return !*deaf; }, &deaf_));
    }
    absl::MutexLock lock(&mutex_);
    if (stream_ == stream) {
      stream_ = nullptr;
    }
    return grpc::Status::OK;
  }

 private:
  void start(int port) {
    grpc::ServerBuilder builder;
    wire::apply_control_settings(builder);
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

  void take(const v1::SessionRequest& request) {
    if (request.has_register_()) {
      heard_.registrations.push_back(request.register_());
    } else if (request.has_heartbeat()) {
      ++heard_.heartbeats;
    } else if (request.has_task_update()) {
      heard_.updates.push_back(request.task_update());
    } else if (request.has_log_chunk()) {
      const v1::LogChunk& chunk = request.log_chunk();
      auto& logs = chunk.source() == v1::STDOUT ? heard_.out : heard_.err;
      std::string& log = logs[task_id(chunk.key())];
      heard_.gap_in_log |= chunk.offset() > static_cast<int64_t>(log.size());
      heard_.logs_repeated += chunk.offset() < static_cast<int64_t>(log.size()) ? 1 : 0;
      log.resize(static_cast<size_t>(chunk.offset()));
      log += chunk.data();
    }
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  absl::Mutex mutex_;
  Stream* stream_ = nullptr;
  v1::Welcome welcome_;
  bool silent_ = false;
  bool deaf_ = false;
  Heard heard_;
};

}  // namespace laconic::agent
