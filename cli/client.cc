#include "cli/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/random.h>

#include <array>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/core/format.h"
#include "common/wire/channel.h"
#include "common/wire/status.h"

namespace laconic::cli {
namespace {

// How often a waiting command looks for Ctrl-C.
constexpr absl::Duration kInterruptPoll = absl::Milliseconds(50);
constexpr absl::Duration kRetryPause = absl::Milliseconds(300);

// Starts one call through `start(context, done)` and waits for its end, its deadline or Ctrl-C.
template <typename Start>
absl::Status call(Interrupt& interrupt, absl::Duration timeout, const Start& start) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  absl::Notification ended;
  grpc::Status result;
  const int seen = interrupt.count();
  start(&context, [&](grpc::Status status) {
    result = std::move(status);
    ended.Notify();
  });
  while (!ended.WaitForNotificationWithTimeout(kInterruptPoll)) {
    if (interrupt.count() > seen) {
      context.TryCancel();
      ended.WaitForNotification();
      return absl::CancelledError("interrupted");
    }
  }
  return wire::from_grpc(result);
}

// The job that an answer holds.
template <typename Response>
absl::StatusOr<v1::Job> job_of(absl::StatusOr<Response> response) {
  if (!response.ok()) {
    return std::move(response).status();
  }
  return std::move(*response->mutable_job());
}

}  // namespace

Client::Client(std::string address, absl::Duration timeout, Interrupt& interrupt)
    : address_(std::move(address)),
      timeout_(timeout),
      interrupt_(interrupt),
      channel_(grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(),
                                         wire::control_channel_arguments())),
      jobs_(v1::JobService::NewStub(channel_)),
      nodes_(v1::NodeService::NewStub(channel_)) {}

absl::Status Client::explain(const absl::Status& status) const {
  // A reason means that a server answered: its own words are better.
  if (status.ok() || !wire::error_info(status).reason.empty()) {
    return status;
  }
  const std::string said(status.message());
  if (status.code() == absl::StatusCode::kUnavailable) {
    return wire::with_error_info(
        absl::UnavailableError(absl::StrCat(
            "cannot reach laconic-server at ", address_, " (", said,
            "); is it running? start laconic-server, or name another one with --server HOST:PORT "
            "or LACONIC_SERVER")),
        {.reason = "SERVER_UNREACHABLE", .metadata = {{"address", address_}}});
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return wire::with_error_info(
        absl::DeadlineExceededError(absl::StrCat(
            "laconic-server at ", address_, " did not answer within ",
            core::format_duration(timeout_), "; raise --timeout, or check the address")),
        {.reason = "SERVER_TIMEOUT", .metadata = {{"address", address_}}});
  }
  if (status.code() == absl::StatusCode::kUnimplemented) {
    return absl::UnimplementedError(absl::StrCat(
        "the server at ", address_, " does not know this call (", said,
        "); is it a laconic-server of this version? see laconic version --server-info"));
  }
  return status;
}

#define LACONIC_CALL(stub, Method, request, Response)                             \
  Response response;                                                              \
  const absl::Status status =                                                     \
      call(interrupt_, timeout_, [&](grpc::ClientContext* context, auto done) {   \
        (stub)->async()->Method(context, &(request), &response, std::move(done)); \
      });                                                                         \
  if (!status.ok()) {                                                             \
    return explain(status);                                                       \
  }                                                                               \
  return response

absl::StatusOr<v1::CreateJobResponse> Client::create_job(const v1::CreateJobRequest& request) {
  const absl::Time give_up = absl::Now() + timeout_;
  const auto once = [&]() -> absl::StatusOr<v1::CreateJobResponse> {
    LACONIC_CALL(jobs_, CreateJob, request, v1::CreateJobResponse);
  };
  for (;;) {
    absl::StatusOr<v1::CreateJobResponse> response = once();
    const bool away = response.status().code() == absl::StatusCode::kUnavailable;
    if (!away || request.validate_only() || absl::Now() + kRetryPause >= give_up) {
      return response;
    }
    absl::SleepFor(kRetryPause);
    if (interrupt_.count() > 0) {
      return absl::CancelledError("interrupted");
    }
  }
}

absl::StatusOr<v1::Job> Client::get_job(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  const auto get = [&]() -> absl::StatusOr<v1::GetJobResponse> {
    LACONIC_CALL(jobs_, GetJob, request, v1::GetJobResponse);
  };
  return job_of(get());
}

absl::StatusOr<v1::ListJobsResponse> Client::list_jobs(const v1::ListJobsRequest& request) {
  LACONIC_CALL(jobs_, ListJobs, request, v1::ListJobsResponse);
}

absl::StatusOr<v1::Job> Client::cancel_job(const std::string& id) {
  v1::CancelJobRequest request;
  request.set_id(id);
  const auto cancel = [&]() -> absl::StatusOr<v1::CancelJobResponse> {
    LACONIC_CALL(jobs_, CancelJob, request, v1::CancelJobResponse);
  };
  return job_of(cancel());
}

absl::StatusOr<v1::DeleteJobResponse> Client::delete_job(const std::string& id) {
  v1::DeleteJobRequest request;
  request.set_id(id);
  LACONIC_CALL(jobs_, DeleteJob, request, v1::DeleteJobResponse);
}

absl::StatusOr<v1::ExplainJobResponse> Client::explain_job(const std::string& id) {
  v1::ExplainJobRequest request;
  request.set_id(id);
  LACONIC_CALL(jobs_, ExplainJob, request, v1::ExplainJobResponse);
}

absl::StatusOr<v1::ListNodesResponse> Client::list_nodes() {
  const v1::ListNodesRequest request;
  LACONIC_CALL(nodes_, ListNodes, request, v1::ListNodesResponse);
}

absl::StatusOr<v1::GetServerInfoResponse> Client::server_info() {
  const v1::GetServerInfoRequest request;
  LACONIC_CALL(nodes_, GetServerInfo, request, v1::GetServerInfoResponse);
}

#undef LACONIC_CALL

std::unique_ptr<StreamReader<v1::WatchJobResponse>> Client::watch_job(const std::string& id) {
  v1::WatchJobRequest request;
  request.set_id(id);
  return std::make_unique<StreamReader<v1::WatchJobResponse>>(
      [&](grpc::ClientContext* context) { return jobs_->WatchJob(context, request); });
}

std::unique_ptr<StreamReader<v1::StreamEventsResponse>> Client::stream_events(
    const v1::StreamEventsRequest& request) {
  return std::make_unique<StreamReader<v1::StreamEventsResponse>>(
      [&](grpc::ClientContext* context) { return jobs_->StreamEvents(context, request); });
}

std::unique_ptr<StreamReader<v1::StreamLogsResponse>> Client::stream_logs(
    const v1::StreamLogsRequest& request) {
  return std::make_unique<StreamReader<v1::StreamLogsResponse>>(
      [&](grpc::ClientContext* context) { return jobs_->StreamLogs(context, request); });
}

absl::StatusOr<std::string> new_request_id() {
  std::array<uint8_t, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return absl::InternalError("the system gave no random bytes for a request id");
  }
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0F) | 0x40);  // RFC 9562, 5.4: version 4
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3F) | 0x80);  // and its variant
  std::string text;
  for (size_t at = 0; at < bytes.size(); ++at) {
    const bool dash = at == 4 || at == 6 || at == 8 || at == 10;
    absl::StrAppend(&text, dash ? "-" : "", absl::Hex(bytes[at], absl::kZeroPad2));
  }
  return text;
}

}  // namespace laconic::cli
