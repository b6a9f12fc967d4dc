#include "server/job_service.h"

#include <algorithm>
#include <map>
#include <utility>

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
    if (follow_ && !opened_) {
      opened_ = true;
      return Next::kWrite;
    }
    const bool goes_on = follow_ && !is_final(record->job.state());
    const auto later =
        std::upper_bound(record->events.begin(), record->events.end(), sent_,
                         [](int64_t after, const auto& event) { return after < event.sequence(); });
    // A number that a crash could give to another event is not shown to who may ask for what
    // follows it.
    if (later != record->events.end() &&
        (!goes_on || later->sequence() < engine().first_unstored_event(id()))) {
      *out.mutable_event() = *later;
      sent_ = later->sequence();
      return Next::kWrite;
    }
    return goes_on ? Next::kWait : Next::kEnd;
  }

 private:
  const bool follow_;
  bool opened_ = false;
  int64_t sent_;
};

class LogStream : public JobStream<v1::StreamLogsResponse> {
 public:
  LogStream(Engine& engine, const v1::StreamLogsRequest& request)
      : JobStream(engine, "StreamLogs", request.id()), request_(request) {}

 protected:
  absl::Status check() override {
    const JobRecord& record = *engine().find(id());
    const int32_t ranks = record.world_size();
    generation_ = record.job.generation();
    if (request_.has_rank() && (request_.rank() < 0 || request_.rank() >= ranks)) {
      return bad_argument("rank", request_.rank(), absl::StrCat("0..", ranks - 1));
    }
    if (request_.has_tail_lines() &&
        (request_.tail_lines() < 0 || request_.tail_lines() > kTailLinesMax)) {
      return bad_argument("tail_lines", request_.tail_lines(), absl::StrCat("0..", kTailLinesMax));
    }
    LACONIC_RETURN_IF_ERROR(take_positions(ranks));
    for (int32_t rank = 0; rank < ranks; ++rank) {
      for (const v1::LogSource source : {v1::STDOUT, v1::STDERR}) {
        const bool wanted =
            (!request_.has_rank() || request_.rank() == rank) &&
            (request_.source() == v1::LOG_SOURCE_UNSPECIFIED || request_.source() == source);
        if (wanted) {
          files_.push_back({rank, source, start_of(rank, source)});
        }
      }
    }
    return absl::OkStatus();
  }

  Next next(v1::StreamLogsResponse& out) override {
    // Asked before reading: what comes in between is read, not lost.
    const bool complete = !request_.follow() || engine().output_is_complete(id());
    begin_new_files();
    if (request_.follow() && announced_ < files_.size()) {
      fill(files_[announced_++], "", out);
      return Next::kWrite;
    }
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
      fill(file, *std::move(data), out);
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

  static constexpr int32_t kTailLinesMax = 100'000;

  static absl::Status bad_argument(const std::string& field, int64_t value,
                                   const std::string& allowed) {
    return wire::with_error_info(
        absl::InvalidArgumentError(
            absl::StrCat("StreamLogs: ", field, " is ", value, "; allowed: ", allowed)),
        {kBadArgument, {{"field", field}, {"value", absl::StrCat(value)}}});
  }

  absl::Status take_positions(int32_t ranks) {
    if (request_.after_size() > 2 * ranks) {
      return bad_argument("the number of positions in after", request_.after_size(),
                          absl::StrCat("at most two per rank, ", 2 * ranks));
    }
    for (const v1::LogPosition& position : request_.after()) {
      if (position.rank() < 0 || position.rank() >= ranks) {
        return bad_argument("after.rank", position.rank(), absl::StrCat("0..", ranks - 1));
      }
      if (position.source() != v1::STDOUT && position.source() != v1::STDERR) {
        return bad_argument("after.source", position.source(), "STDOUT, STDERR");
      }
      if (position.offset() < 0) {
        return bad_argument("after.offset", position.offset(), "0 or more");
      }
      read_before_[{position.rank(), position.source()}] =
          position.generation() == generation_ ? position.offset() : 0;
    }
    return absl::OkStatus();
  }

  int64_t start_of(int32_t rank, v1::LogSource source) {
    if (const auto found = read_before_.find({rank, source}); found != read_before_.end()) {
      return found->second;
    }
    return request_.has_tail_lines()
               ? engine().logs().tail_start(id(), rank, source, request_.tail_lines())
               : 0;
  }

  void begin_new_files() {
    const JobRecord* record = engine().find(id());
    if (record != nullptr && record->job.generation() != generation_) {
      generation_ = record->job.generation();
      for (File& file : files_) {
        file.position = 0;
      }
    }
  }

  void fill(File& file, std::string data, v1::StreamLogsResponse& out) const {
    file.position += static_cast<int64_t>(data.size());
    out.set_rank(file.rank);
    out.set_source(file.source);
    out.set_data(std::move(data));
    out.set_end_offset(file.position);
    out.set_generation(generation_);
  }

  const v1::StreamLogsRequest request_;
  uint64_t generation_ = 0;
  std::map<std::pair<int32_t, v1::LogSource>, int64_t> read_before_;
  std::vector<File> files_;
  size_t announced_ = 0;
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
