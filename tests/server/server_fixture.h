// The whole server over real gRPC, with workers that speak the session protocol.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/wire/channel.h"
#include "common/wire/status.h"
#include "laconic/v1/control.grpc.pb.h"
#include "server/server.h"
#include "tests/server/job_fixture.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {

namespace fixture = ::laconic::server::testing;

inline constexpr absl::Duration kCallDeadline = absl::Seconds(30);

inline std::string uuid(int number) {
  return absl::StrCat("00000000-0000-4000-8000-", 100'000'000'000 + number);
}

// A worker's side of the session, one message at a time.
class FakeWorker {
 public:
  FakeWorker(const std::shared_ptr<grpc::Channel>& channel, std::string name)
      : stub_(v1::SessionService::NewStub(channel)), name_(std::move(name)) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kCallDeadline));
    stream_ = stub_->Session(&context_);
  }
  ~FakeWorker() {
    context_.TryCancel();
    if (!finished_) {
      finish().IgnoreError();
    }
  }

  v1::Welcome enter(const v1::Register& registration) {
    v1::SessionRequest request;
    *request.mutable_register_() = registration;
    EXPECT_TRUE(stream_->Write(request));
    return read().welcome();
  }
  v1::SessionResponse read() {
    v1::SessionResponse response;
    stream_->Read(&response);  // An ended session gives an empty message, which no test expects.
    return response;
  }
  void send(const v1::TaskUpdate& update) {
    v1::SessionRequest request;
    *request.mutable_task_update() = update;
    stream_->Write(request);
  }
  void log(const TaskId& id, int64_t offset, const std::string& data) {
    v1::SessionRequest request;
    v1::LogChunk& chunk = *request.mutable_log_chunk();
    *chunk.mutable_key() = task_key(id);
    chunk.set_source(v1::STDERR);
    chunk.set_offset(offset);
    chunk.set_data(data);
    stream_->Write(request);
  }
  void heartbeat() {
    v1::SessionRequest request;
    request.mutable_heartbeat();
    stream_->Write(request);
  }
  absl::Status finish() {
    finished_ = true;
    v1::SessionResponse rest;
    while (stream_->Read(&rest)) {
    }
    return wire::from_grpc(stream_->Finish());
  }

 private:
  std::unique_ptr<v1::SessionService::Stub> stub_;
  std::string name_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;
  bool finished_ = false;
};

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override { start(); }

  void start() {
    ServerOptions options;
    options.listen = "127.0.0.1:0";
    options.metrics_listen = "";
    options.data_dir = directory_.path();
    options.limits = limits_;
    ASSERT_OK_AND_ASSIGN(server_, Server::start(options));
    channel_ = grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(),
                                         wire::control_channel_arguments());
    jobs_ = v1::JobService::NewStub(channel_);
  }
  void restart() {
    server_->stop(absl::Seconds(1));
    server_.reset();
    start();
  }
  static std::unique_ptr<grpc::ClientContext> context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + kCallDeadline));
    return context;
  }
  absl::StatusOr<v1::Job> create(const v1::TrainJob& job, const std::string& request_id) {
    v1::CreateJobRequest request;
    *request.mutable_job() = job;
    request.set_request_id(request_id);
    v1::CreateJobResponse response;
    const grpc::Status status = jobs_->CreateJob(context().get(), request, &response);
    if (!status.ok()) {
      return wire::from_grpc(status);
    }
    return response.job();
  }
  absl::StatusOr<v1::Job> get(const std::string& id) {
    v1::GetJobRequest request;
    request.set_id(id);
    v1::GetJobResponse response;
    const grpc::Status status = jobs_->GetJob(context().get(), request, &response);
    if (!status.ok()) {
      return wire::from_grpc(status);
    }
    return response.job();
  }
  absl::Status cancel(const std::string& id) {
    v1::CancelJobRequest request;
    request.set_id(id);
    v1::CancelJobResponse response;
    return wire::from_grpc(jobs_->CancelJob(context().get(), request, &response));
  }
  // Watches the job until `until` says so; fails when the stream ends before.
  template <typename Until>
  v1::Job watch(const std::string& id, Until until) {
    const auto call = context();
    v1::WatchJobRequest request;
    request.set_id(id);
    const auto stream = jobs_->WatchJob(call.get(), request);
    v1::WatchJobResponse response;
    while (stream->Read(&response)) {
      if (until(response.job())) {
        call->TryCancel();
        return response.job();
      }
    }
    ADD_FAILURE() << "the watch ended: " << stream->Finish().error_message() << " at "
                  << response.job().ShortDebugString();
    return response.job();
  }
  v1::Job watch_state(const std::string& id, v1::JobState state) {
    return watch(id, [state](const v1::Job& job) { return job.state() == state; });
  }
  // Takes `count` StartTasks and brings the ranks to training.
  std::vector<TaskId> run(FakeWorker& worker, int count) {
    std::vector<TaskId> tasks;
    for (int i = 0; i < count; ++i) {
      const v1::SessionResponse message = worker.read();
      EXPECT_TRUE(message.has_start_task()) << message.ShortDebugString();
      tasks.push_back(task_id(message.start_task().key()));
    }
    for (const TaskId& task : tasks) {
      worker.send(fixture::pid_of(task));
      worker.send(fixture::hello_of(task));
    }
    for (int i = 0; i < count; ++i) {
      EXPECT_TRUE(worker.read().has_launch_task());
    }
    return tasks;
  }

  ::laconic::testing::TemporaryDirectory directory_;
  Limits limits_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
};

}  // namespace laconic::server
