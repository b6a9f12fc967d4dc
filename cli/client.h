// The server as a command sees it: calls with a deadline that Ctrl-C can end, and errors that say
// what to do.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/console.h"
#include "cli/stream_reader.h"
#include "laconic/v1/control.grpc.pb.h"

namespace laconic::cli {

// Errors of every call: what the server said; Unavailable or DeadlineExceeded with the address and
// the remedy when it did not answer; Cancelled after Ctrl-C. Not thread-safe.
class Client {
 public:
  // Connects lazily. `timeout` bounds each call, and how long a server that is away is waited for
  // where a call is repeated.
  Client(std::string address, absl::Duration timeout, Interrupt& interrupt);

  // Repeats the call while the server is away, at most for `timeout`: the request id makes that
  // safe.
  absl::StatusOr<v1::CreateJobResponse> create_job(const v1::CreateJobRequest& request);
  absl::StatusOr<v1::Job> get_job(const std::string& id);
  absl::StatusOr<v1::ListJobsResponse> list_jobs(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::Job> cancel_job(const std::string& id);
  absl::StatusOr<v1::DeleteJobResponse> delete_job(const std::string& id);
  absl::StatusOr<v1::ExplainJobResponse> explain_job(const std::string& id);
  absl::StatusOr<v1::ListNodesResponse> list_nodes();
  absl::StatusOr<v1::GetServerInfoResponse> server_info();

  std::unique_ptr<StreamReader<v1::WatchJobResponse>> watch_job(const std::string& id);
  std::unique_ptr<StreamReader<v1::StreamEventsResponse>> stream_events(
      const v1::StreamEventsRequest& request);
  std::unique_ptr<StreamReader<v1::StreamLogsResponse>> stream_logs(
      const v1::StreamLogsRequest& request);

  // Adds address and remedy to an error of the connection; others pass as they are.
  absl::Status explain(const absl::Status& status) const;

  const std::string& address() const { return address_; }
  absl::Duration timeout() const { return timeout_; }
  Interrupt& interrupt() { return interrupt_; }

 private:
  std::string address_;
  absl::Duration timeout_;
  Interrupt& interrupt_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::NodeService::Stub> nodes_;
};

// A random (version 4) UUID from the system's random device.
// Errors: Internal when the system has none to give.
absl::StatusOr<std::string> new_request_id();

}  // namespace laconic::cli
