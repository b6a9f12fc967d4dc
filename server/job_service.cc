#include "server/job_service.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "server/job_stream.h"
#include "server/reasons.h"
#include "server/unary_call.h"

namespace laconic::server {
namespace {

class WatchStream : public JobStream<v1::WatchJobResponse> {
 public:
  using JobStream::JobStream;

 protected:
  Next next(v1::WatchJobResponse& out) override {
    const JobRecord* record = engine().find(id());
    const uint64_t version = engine().version(id());
    if (record == nullptr || final_sent_) {
      return Next::kEnd;  // Deleted, or all is said.
    }
    if (sent_ && version == version_) {
      return Next::kWait;
    }
    *out.mutable_job() = record->job;
    const auto& history = record->job.history();
    const auto first_new = std::find_if(history.begin(), history.end(),
                                        [&](const auto& point) { return point.step() > step_; });
    out.mutable_job()->mutable_history()->DeleteSubrange(
        0, static_cast<int>(first_new - history.begin()));
    if (!history.empty()) {
      step_ = history.rbegin()->step();
    }
    sent_ = true;
    version_ = version;
    final_sent_ = is_final(record->job.state());
    return Next::kWrite;
  }

 private:
  bool sent_ = false;
  bool final_sent_ = false;
  uint64_t version_ = 0;
  int64_t step_ = -1;
};

class EventStream : public JobStream<v1::StreamEventsResponse> {
 public:
  EventStream(Engine& engine, const v1::StreamEventsRequest& request)
      : JobStream(engine, "StreamEvents", request.id()),
        follow_(request.follow()),
        sent_(request.after_sequence()) {}

 protected:
  Next next(v1::StreamEventsResponse& out) override {
    const JobRecord* record = engine().find(id());
    if (record == nullptr) {
      return Next::kEnd;
    }
    const auto later =
        std::upper_bound(record->events.begin(), record->events.end(), sent_,
                         [](int64_t after, const auto& event) { return after < event.sequence(); });
    if (later != record->events.end()) {
      *out.mutable_event() = *later;
      sent_ = later->sequence();
      return Next::kWrite;
    }
    return follow_ && !is_final(record->job.state()) ? Next::kWait : Next::kEnd;
  }

 private:
  const bool follow_;
  int64_t sent_;
};

class LogStream : public JobStream<v1::StreamLogsResponse> {
 public:
  LogStream(Engine& engine, const v1::StreamLogsRequest& request)
      : JobStream(engine, "StreamLogs", request.id()), request_(request) {}

 protected:
  absl::Status check() override {
    constexpr int32_t kTailLinesMax = 100'000;
    const int32_t ranks = engine().find(id())->world_size();
    if (request_.has_rank() && (request_.rank() < 0 || request_.rank() >= ranks)) {
      return bad_argument("rank", request_.rank(), absl::StrCat("0..", ranks - 1));
    }
    if (request_.has_tail_lines() &&
        (request_.tail_lines() < 0 || request_.tail_lines() > kTailLinesMax)) {
      return bad_argument("tail_lines", request_.tail_lines(), absl::StrCat("0..", kTailLinesMax));
    }
    for (int32_t rank = 0; rank < ranks; ++rank) {
      for (const v1::LogSource source : {v1::STDOUT, v1::STDERR}) {
        const bool wanted =
            (!request_.has_rank() || request_.rank() == rank) &&
            (request_.source() == v1::LOG_SOURCE_UNSPECIFIED || request_.source() == source);
        if (wanted) {
          const int64_t start =
              request_.has_tail_lines()
                  ? engine().logs().tail_start(id(), rank, source, request_.tail_lines())
                  : 0;
          files_.push_back({rank, source, start});
        }
      }
    }
    return absl::OkStatus();
  }

  Next next(v1::StreamLogsResponse& out) override {
    // Asked before reading: what comes in between is read, not lost.
    const bool complete = !request_.follow() || engine().output_is_complete(id());
    for (size_t tried = 0; tried < files_.size(); ++tried) {
      File& file = files_[turn_];
      turn_ = (turn_ + 1) % files_.size();  // By turns, so one busy rank hides no other.
      absl::StatusOr<std::string> data =
          engine().logs().read(id(), file.rank, file.source, file.position);
      if (!data.ok() || data->empty()) {
        continue;
      }
      const size_t line_end = data->rfind('\n');
      if (line_end != std::string::npos) {
        data->resize(line_end + 1);
      } else if (!complete && data->size() < LogStore::kChunkBytesMax) {
        continue;  // Half a line: the rest is on its way.
      }
      file.position += static_cast<int64_t>(data->size());
      out.set_rank(file.rank);
      out.set_source(file.source);
      out.set_data(*std::move(data));
      return Next::kWrite;
    }
    return complete ? Next::kEnd : Next::kWait;
  }

 private:
  struct File {
    int32_t rank = 0;
    v1::LogSource source = v1::STDOUT;
    int64_t position = 0;
  };

  static absl::Status bad_argument(const std::string& field, int64_t value,
                                   const std::string& allowed) {
    return wire::with_error_info(
        absl::InvalidArgumentError(
            absl::StrCat("StreamLogs: ", field, " is ", value, "; allowed: ", allowed)),
        {kBadArgument, {{"field", field}, {"value", absl::StrCat(value)}}});
  }

  const v1::StreamLogsRequest request_;
  std::vector<File> files_;
  size_t turn_ = 0;
};

}  // namespace

grpc::ServerUnaryReactor* JobServiceImpl::CreateJob(grpc::CallbackServerContext* context,
                                                    const v1::CreateJobRequest* request,
                                                    v1::CreateJobResponse* response) {
  return answer(engine_, context, "CreateJob", [this, request, response]() -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(*response->mutable_job(), engine_.create_job(*request));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobServiceImpl::GetJob(grpc::CallbackServerContext* context,
                                                 const v1::GetJobRequest* request,
                                                 v1::GetJobResponse* response) {
  return answer(engine_, context, "GetJob", [this, request, response]() -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(*response->mutable_job(), engine_.get_job(request->id()));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobServiceImpl::ListJobs(grpc::CallbackServerContext* context,
                                                   const v1::ListJobsRequest* request,
                                                   v1::ListJobsResponse* response) {
  return answer(engine_, context, "ListJobs",
                [this, request, response] { return engine_.list_jobs(*request, *response); });
}

grpc::ServerUnaryReactor* JobServiceImpl::CancelJob(grpc::CallbackServerContext* context,
                                                    const v1::CancelJobRequest* request,
                                                    v1::CancelJobResponse* response) {
  return answer(engine_, context, "CancelJob", [this, request, response]() -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(*response->mutable_job(), engine_.cancel_job(request->id()));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobServiceImpl::DeleteJob(grpc::CallbackServerContext* context,
                                                    const v1::DeleteJobRequest* request,
                                                    v1::DeleteJobResponse* /*response*/) {
  return answer(engine_, context, "DeleteJob",
                [this, request] { return engine_.delete_job(request->id()); });
}

grpc::ServerUnaryReactor* JobServiceImpl::ExplainJob(grpc::CallbackServerContext* context,
                                                     const v1::ExplainJobRequest* request,
                                                     v1::ExplainJobResponse* response) {
  return answer(engine_, context, "ExplainJob", [this, request, response]() -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(*response, engine_.explain_job(request->id()));
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobServiceImpl::WatchJob(
    grpc::CallbackServerContext* /*context*/, const v1::WatchJobRequest* request) {
  return std::make_shared<WatchStream>(engine_, "WatchJob", request->id())->begin();
}

grpc::ServerWriteReactor<v1::StreamEventsResponse>* JobServiceImpl::StreamEvents(
    grpc::CallbackServerContext* /*context*/, const v1::StreamEventsRequest* request) {
  return std::make_shared<EventStream>(engine_, *request)->begin();
}

grpc::ServerWriteReactor<v1::StreamLogsResponse>* JobServiceImpl::StreamLogs(
    grpc::CallbackServerContext* /*context*/, const v1::StreamLogsRequest* request) {
  return std::make_shared<LogStream>(engine_, *request)->begin();
}

}  // namespace laconic::server
