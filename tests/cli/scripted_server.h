// A real gRPC server on a free port whose answers a test sets.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/wire/status.h"
#include "laconic/v1/control.grpc.pb.h"

namespace laconic::cli {

class ScriptedServer : public v1::JobService::Service, public v1::NodeService::Service {
 public:
  ScriptedServer() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<v1::JobService::Service*>(this));
    builder.RegisterService(static_cast<v1::NodeService::Service*>(this));
    server_ = builder.BuildAndStart();
    address = "127.0.0.1:" + std::to_string(port);
  }
  ~ScriptedServer() override {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  }

  std::string address;
  absl::Status error;                     // of every call, when not OK
  std::atomic<int> unavailable_times{0};  // CreateJob fails this often first
  v1::Job job;                            // of every answer that has one
  std::vector<v1::Job> watched;           // sent by WatchJob, one after the other
  bool hold_watch = false;                // WatchJob then stays open until it is cancelled
  std::vector<v1::StreamLogsResponse> logs;
  std::vector<v1::Event> events;
  // StreamLogs and StreamEvents break off this often, each time after one more message.
  std::atomic<int> breaks{0};
  v1::ExplainJobResponse explanation;
  v1::ListNodesResponse nodes;

  std::vector<v1::CreateJobRequest> created() {
    absl::MutexLock lock(&mutex_);
    return created_;
  }
  v1::StreamLogsRequest logs_request() {
    absl::MutexLock lock(&mutex_);
    return logs_request_;
  }
  v1::StreamEventsRequest events_request() {
    absl::MutexLock lock(&mutex_);
    return events_request_;
  }

  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request,
                         v1::CreateJobResponse* response) override {
    {
      absl::MutexLock lock(&mutex_);
      created_.push_back(*request);
    }
    if (unavailable_times.fetch_sub(1) > 0) {
      return {grpc::StatusCode::UNAVAILABLE, "starting"};
    }
    *response->mutable_job() = job;
    return wire::to_grpc(error);
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*,
                      v1::GetJobResponse* response) override {
    *response->mutable_job() = job;
    return wire::to_grpc(error);
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                        v1::ListJobsResponse* response) override {
    if (!job.id().empty()) {
      *response->add_jobs() = job;
    }
    return wire::to_grpc(error);
  }
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest*,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    for (const v1::Job& state : watched) {
      v1::WatchJobResponse response;
      *response.mutable_job() = state;
      writer->Write(response);
    }
    absl::MutexLock lock(&mutex_);
    while (hold_watch && !context->IsCancelled()) {
      mutex_.AwaitWithTimeout(absl::Condition(
                                  +[](bool* never) { return *never; }, &never_),
                              absl::Milliseconds(10));
    }
    return wire::to_grpc(error);
  }
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest*,
                         v1::CancelJobResponse* response) override {
    *response->mutable_job() = job;
    return wire::to_grpc(error);
  }
  grpc::Status DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest*,
                         v1::DeleteJobResponse*) override {
    return wire::to_grpc(error);
  }
  grpc::Status ExplainJob(grpc::ServerContext*, const v1::ExplainJobRequest*,
                          v1::ExplainJobResponse* response) override {
    *response = explanation;
    return wire::to_grpc(error);
  }
  grpc::Status StreamEvents(grpc::ServerContext*, const v1::StreamEventsRequest* request,
                            grpc::ServerWriter<v1::StreamEventsResponse>* writer) override {
    {
      absl::MutexLock lock(&mutex_);
      events_request_ = *request;
    }
    for (const v1::Event& event : events) {
      if (event.sequence() <= request->after_sequence()) {
        continue;
      }
      v1::StreamEventsResponse response;
      *response.mutable_event() = event;
      writer->Write(response);
      if (breaks.fetch_sub(1) > 0) {
        return {grpc::StatusCode::UNAVAILABLE, "stopping"};
      }
    }
    return wire::to_grpc(error);
  }
  grpc::Status StreamLogs(grpc::ServerContext*, const v1::StreamLogsRequest* request,
                          grpc::ServerWriter<v1::StreamLogsResponse>* writer) override {
    {
      absl::MutexLock lock(&mutex_);
      logs_request_ = *request;
    }
    for (const v1::StreamLogsResponse& response : logs) {
      if (!request->after().empty() && response.end_offset() <= request->after(0).offset()) {
        continue;
      }
      writer->Write(response);
      if (breaks.fetch_sub(1) > 0) {
        return {grpc::StatusCode::UNAVAILABLE, "stopping"};
      }
    }
    return wire::to_grpc(error);
  }
  grpc::Status ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*,
                         v1::ListNodesResponse* response) override {
    *response = nodes;
    return wire::to_grpc(error);
  }
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::GetServerInfoResponse* response) override {
    response->set_version("0.1.0");
    return wire::to_grpc(error);
  }

 private:
  absl::Mutex mutex_;
  std::vector<v1::CreateJobRequest> created_ ABSL_GUARDED_BY(mutex_);
  v1::StreamLogsRequest logs_request_ ABSL_GUARDED_BY(mutex_);
  v1::StreamEventsRequest events_request_ ABSL_GUARDED_BY(mutex_);
  bool never_ = false;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace laconic::cli
