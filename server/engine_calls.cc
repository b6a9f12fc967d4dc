// What the services ask of the engine, on its thread.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"
#include "common/core/version.h"
#include "common/wire/job_spec.h"
#include "common/wire/status.h"
#include "server/engine.h"
#include "server/reasons.h"
#include "server/tokens.h"

namespace laconic::server {
namespace {

// Equal jobs give equal text, whatever the order of their labels.
std::string job_digest(const v1::TrainJob& job) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    job.SerializeToCodedStream(&coded);
  }
  return core::format_digest(core::digest(
      std::span<const uint8_t>(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())));
}

bool is_uuid(const std::string& text) {
  constexpr size_t kUuidLength = 36;
  if (text.size() != kUuidLength) {
    return false;
  }
  for (size_t i = 0; i < kUuidLength; ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : std::isxdigit(static_cast<unsigned char>(text[i])) == 0) {
      return false;
    }
  }
  return true;
}

// The first violations, as far as they fit: an error travels three times over in HTTP/2 headers, of
// which gRPC takes 8 KiB at most, and a job may be wrong in thousands of places.
std::vector<wire::Violation> presentable(const std::vector<wire::Violation>& violations) {
  constexpr size_t kPathBytesMax = 100;
  constexpr size_t kDescriptionBytesMax = 300;
  constexpr size_t kBytesMax = 1500;
  std::vector<wire::Violation> shown;
  size_t bytes = 0;
  for (const wire::Violation& violation : violations) {
    const std::string& text = violation.description;
    shown.push_back({shortened(violation.path, kPathBytesMax),
                     text.size() <= kDescriptionBytesMax
                         ? text
                         : absl::StrCat(shortened(text, kDescriptionBytesMax), "...")});
    bytes += shown.back().path.size() + shown.back().description.size();
    if (bytes > kBytesMax && shown.size() < violations.size()) {
      shown.push_back({"job", absl::StrCat("has ", violations.size() - shown.size(),
                                           " more violations; 'laconic validate' shows all")});
      break;
    }
  }
  return shown;
}

absl::Status bad_page(const std::string& field, const std::string& value,
                      const std::string& allowed) {
  return wire::with_error_info(absl::InvalidArgumentError(absl::StrCat(
                                   "ListJobs: ", field, " is '", value, "'; allowed: ", allowed)),
                               {kBadPage, {{"field", field}, {"value", value}}});
}

}  // namespace

std::optional<absl::StatusOr<v1::Job>> Engine::known_request(const std::string& request_id,
                                                             const std::string& digest) const {
  const auto found = requests_.find(request_id);
  if (found == requests_.end()) {
    return std::nullopt;
  }
  const Request& known = found->second;
  if (known.digest != digest) {
    return wire::with_error_info(
        absl::AlreadyExistsError(absl::StrCat("request_id ", request_id, " was used for job ",
                                              known.job_id,
                                              ", which was a different one; use a new id")),
        {kRequestIdReused, {{"request_id", request_id}, {"job", known.job_id}}});
  }
  const JobRecord* record = coordinator_.find(known.job_id);
  if (record == nullptr) {
    return wire::with_error_info(
        absl::FailedPreconditionError(absl::StrCat("request_id ", request_id, " made job ",
                                                   known.job_id, ", which was deleted since")),
        {kJobDeleted, {{"request_id", request_id}, {"job", known.job_id}}});
  }
  return record->job;
}

absl::StatusOr<v1::Job> Engine::create_job(const v1::CreateJobRequest& request) {
  if (const auto violations = wire::check_job(request.job()); !violations.empty()) {
    return wire::invalid_job(presentable(violations));
  }
  const v1::TrainJob job = wire::with_defaults(request.job());
  if (request.validate_only()) {
    v1::Job checked;
    *checked.mutable_job() = job;
    return checked;
  }
  if (!is_uuid(request.request_id())) {
    return wire::with_error_info(
        absl::InvalidArgumentError(absl::StrCat("CreateJob: request_id is '",
                                                shortened(request.request_id(), 80),
                                                "'; allowed: a UUID, new for each job")),
        {kBadRequestId, {{"request_id", shortened(request.request_id(), 80)}}});
  }
  const std::string digest = job_digest(request.job());
  if (auto known = known_request(request.request_id(), digest)) {
    return *std::move(known);
  }
  LACONIC_RETURN_IF_ERROR(settle());  // While older changes cannot be written, neither can this.
  std::string id = random_job_id();
  while (coordinator_.find(id) != nullptr) {
    id = random_job_id();
  }
  const absl::Time at = now();
  LACONIC_RETURN_IF_ERROR(coordinator_.submit(job, id, at));
  new_request_ = {request.request_id(), id, digest, at};
  if (absl::Status status = settle(); !status.ok()) {
    new_request_.reset();
    coordinator_.forget(id);
    return status;
  }
  requests_[request.request_id()] = {id, digest, at};
  metrics_.submitted();
  spdlog::info("job={} name={} accepted", id, job.metadata().name());
  return coordinator_.find(id)->job;
}

absl::StatusOr<v1::Job> Engine::get_job(const std::string& key) const {
  LACONIC_ASSIGN_OR_RETURN(const std::string id, resolve(key));
  return find(id)->job;
}

absl::Status Engine::list_jobs(const v1::ListJobsRequest& request,
                               v1::ListJobsResponse& response) const {
  constexpr int kPageSizeDefault = 100;
  constexpr int kPageSizeMax = 1000;
  // Below what one message may hold: a page of big jobs ends early and says how to go on.
  constexpr size_t kPageBytesMax = 3 << 20;
  if (request.page_size() < 0 || request.page_size() > kPageSizeMax) {
    return bad_page("page_size", absl::StrCat(request.page_size()), "1..1000, 0 for 100");
  }
  const int page_size = request.page_size() == 0 ? kPageSizeDefault : request.page_size();
  using Place = std::pair<int64_t, std::string>;  // Newest first, then by id.
  Place after{INT64_MAX, ""};
  if (!request.page_token().empty()) {
    const std::vector<std::string> parts = absl::StrSplit(request.page_token(), ':');
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &after.first)) {
      return bad_page("page_token", shortened(request.page_token(), 80),
                      "next_page_token of the last response");
    }
    after.second = parts[1];
  }
  const auto before = [](const Place& a, const Place& b) {
    return a.first != b.first ? a.first > b.first : a.second > b.second;
  };
  std::vector<std::pair<Place, const v1::Job*>> found;
  for (const auto& [id, record] : coordinator_.jobs()) {
    const Place place{absl::ToUnixNanos(from_proto(record.job.create_time())), id};
    const auto& states = request.states();
    if ((states.empty() || std::count(states.begin(), states.end(), record.job.state()) > 0) &&
        (request.page_token().empty() || before(after, place))) {
      found.emplace_back(place, &record.job);
    }
  }
  std::sort(found.begin(), found.end(),
            [&](const auto& a, const auto& b) { return before(a.first, b.first); });
  size_t bytes = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    v1::Job job = *found[i].second;
    job.clear_history();
    bytes += job.ByteSizeLong();
    if (response.jobs_size() == page_size || (i > 0 && bytes > kPageBytesMax)) {
      response.set_next_page_token(
          absl::StrCat(found[i - 1].first.first, ":", found[i - 1].first.second));
      break;
    }
    *response.add_jobs() = std::move(job);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Job> Engine::cancel_job(const std::string& key) {
  LACONIC_ASSIGN_OR_RETURN(const std::string id, resolve(key));
  LACONIC_RETURN_IF_ERROR(flush());  // So that undoing drops nothing but this cancel.
  JobRecord before = *find(id);
  LACONIC_RETURN_IF_ERROR(coordinator_.cancel(id, now()));
  if (absl::Status status = settle(); !status.ok()) {
    coordinator_.restore(std::move(before));
    return status;
  }
  return find(id)->job;
}

absl::Status Engine::delete_job(const std::string& key) {
  LACONIC_ASSIGN_OR_RETURN(const std::string id, resolve(key));
  LACONIC_RETURN_IF_ERROR(coordinator_.check_deletable(id));
  LACONIC_RETURN_IF_ERROR(settle());
  StoreBatch batch;
  batch.delete_job = id;
  LACONIC_RETURN_IF_ERROR(store_->commit(batch));
  coordinator_.forget(id);
  drop_logs(id);
  return absl::OkStatus();
}

absl::StatusOr<v1::ExplainJobResponse> Engine::explain_job(const std::string& key) const {
  LACONIC_ASSIGN_OR_RETURN(const std::string id, resolve(key));
  return coordinator_.explain(id, now());
}

v1::ListNodesResponse Engine::list_nodes() const {
  v1::ListNodesResponse response;
  for (const auto& [name, record] : coordinator_.membership().nodes()) {
    v1::Node& node = *response.add_nodes();
    node.set_name(name);
    node.set_state(record.live() ? v1::LIVE : v1::UNREACHABLE);
    node.set_slots(record.slots);
    node.set_slots_used(static_cast<int32_t>(record.tasks.size()));
    *node.mutable_last_seen() = to_proto(record.last_seen);
    node.set_version(record.version);
  }
  return response;
}

bool Engine::output_is_complete(const std::string& id) const {
  const JobRecord* record = coordinator_.find(id);
  if (record == nullptr) {
    return true;
  }
  constexpr absl::Duration kOutputWait = absl::Seconds(10);  // for nodes that cannot be reached
  return is_final(record->job.state()) &&
         (!coordinator_.holds_slots(id) ||
          now() - from_proto(record->job.finish_time()) > kOutputWait);
}

// ---- Sessions ----------------------------------------------------------------------------------

absl::Status Engine::session_message(uint64_t session, const v1::SessionRequest& request) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) {
    return absl::AbortedError("the session has ended");
  }
  Session& state = found->second;
  if (request.has_register_() == !state.node.empty()) {
    return wire::with_error_info(
        absl::InvalidArgumentError(state.node.empty()
                                       ? "session: the first message must be register"
                                       : "session: register may only be the first message"),
        {kSessionProtocol, {{"node", state.node}}});
  }
  if (!state.node.empty() && !coordinator_.is_live(state.node, session)) {
    // What the old stream still brings may contradict what the new one has registered.
    return wire::with_error_info(
        absl::AbortedError(absl::StrCat("this session of node ", state.node,
                                        " is over; a newer one counts, or open a new one")),
        {kSessionReplaced, {{"node", state.node}}});
  }
  coordinator_.heard(state.node, session, now());
  switch (request.message_case()) {
    case v1::SessionRequest::kRegister:
      return enter(session, state, request.register_());
    case v1::SessionRequest::kTaskUpdate:
      coordinator_.update(state.node, request.task_update(), now());
      return absl::OkStatus();
    case v1::SessionRequest::kLogChunk:
      append_log(state, request.log_chunk());
      return absl::OkStatus();
    case v1::SessionRequest::kHeartbeat:
    case v1::SessionRequest::MESSAGE_NOT_SET:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Engine::enter(uint64_t session, Session& state, const v1::Register& request) {
  LACONIC_RETURN_IF_ERROR(coordinator_.enter(request, session, now()));
  state.node = request.node();
  spdlog::info("node={} session={} slots={} tasks={} registered", request.node(), session,
               request.slots(), request.tasks_size());
  if (const std::shared_ptr<SessionLink> link = state.link.lock()) {
    link->send(welcome(request));  // Before any command: those go out when the step is stored.
  }
  return absl::OkStatus();
}

v1::SessionResponse Engine::welcome(const v1::Register& request) {
  v1::SessionResponse message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_server_version(core::kVersion);
  for (const v1::TaskSnapshot& snapshot : request.tasks()) {
    const TaskId id = task_id(snapshot.key());
    const JobRecord* record = coordinator_.find(id.job_id);
    if (record == nullptr || !record->is_current(id.generation, id.rank)) {
      continue;
    }
    for (const v1::LogSource source : {v1::STDOUT, v1::STDERR}) {
      v1::LogOffset& offset = *welcome.add_log_offsets();
      *offset.mutable_key() = snapshot.key();
      offset.set_source(source);
      offset.set_offset(logs_.arrived(id.job_id, id.rank, source));
    }
  }
  return message;
}

void Engine::drop_logs(const std::string& job_id) {
  logs_.drop(job_id);
  std::erase_if(logs_behind_, [&](const auto& log) { return log.first.job_id == job_id; });
}

void Engine::append_log(const Session& session, const v1::LogChunk& chunk) {
  const TaskId id = task_id(chunk.key());
  const JobRecord* record = coordinator_.find(id.job_id);
  if (record == nullptr || !record->is_current(id.generation, id.rank) ||
      record->job.ranks(id.rank).node() != session.node) {
    return;  // Output of an earlier attempt, or of a deleted job.
  }
  const absl::Status status = logs_.append(chunk);
  if (status.ok()) {
    if (logs_behind_.erase({id, chunk.source()}) > 0) {
      spdlog::info("job={} rank={} node={}: its log goes on", id.job_id, id.rank, session.node);
    }
    poke(id.job_id);
    return;
  }
  const bool malformed = absl::IsInvalidArgument(status);
  if (malformed || logs_behind_.insert({id, chunk.source()}).second) {
    spdlog::warn("job={} rank={} node={}: {}", id.job_id, id.rank, session.node, status.ToString());
  }
  const std::shared_ptr<SessionLink> link = session.link.lock();
  if (!malformed && link != nullptr) {
    v1::SessionResponse message;
    v1::LogOffset& offset = *message.mutable_resend_log();
    *offset.mutable_key() = chunk.key();
    offset.set_source(chunk.source());
    offset.set_offset(logs_.arrived(id.job_id, id.rank, chunk.source()));
    link->send(message);
  }
}

}  // namespace laconic::server
