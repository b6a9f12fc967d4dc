#include "common/collective/peer_service.h"

#include <array>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"

namespace laconic::collective {
namespace {

// Answers a stream with an error and is gone.
class RefusedStream final : public grpc::ServerGenericBidiReactor {
 public:
  explicit RefusedStream(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

// The metadata's value; empty when it is not there or there twice.
std::string metadata(const grpc::GenericCallbackServerContext& context, const char* key) {
  const auto& all = context.client_metadata();
  if (all.count(key) != 1) {
    return "";
  }
  const grpc::string_ref value = all.find(key)->second;
  return {value.data(), value.size()};
}

// Takes equally long wherever the first difference is, so that the time tells nothing.
bool equal_secrets(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) {
    return false;
  }
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned>(static_cast<uint8_t>(a[i]) ^ static_cast<uint8_t>(b[i]));
  }
  return difference == 0;
}

}  // namespace

PeerService::PeerService(std::shared_ptr<PeerQueues> queues, std::string job_id,
                         std::string peer_token)
    : queues_(std::move(queues)), job_id_(std::move(job_id)), peer_token_(std::move(peer_token)) {}

void PeerService::open(uint64_t generation) {
  std::vector<std::shared_ptr<IncomingStream>> accepted;
  std::vector<std::shared_ptr<IncomingStream>> refused;
  absl::Status why;
  {
    absl::MutexLock lock(&mutex_);
    generation_ = generation;
    for (auto it = streams_.begin(); it != streams_.end();) {
      const absl::Status status = check_generation(it->second->generation());
      (status.ok() ? accepted : refused).push_back(it->second);
      why.Update(status);
      it = status.ok() ? std::next(it) : streams_.erase(it);
    }
    refused_streams_ += static_cast<int64_t>(refused.size());
  }
  for (const auto& stream : accepted) {
    stream->accept();
  }
  for (const auto& stream : refused) {
    stream->refuse(wire::to_grpc(why));
  }
}

void PeerService::resume(int from_rank) {
  std::array<std::shared_ptr<IncomingStream>, kLanesMax> streams;
  size_t count = 0;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = streams_.lower_bound({from_rank, 0});
         it != streams_.end() && it->first.rank == from_rank; ++it) {
      streams[count++] = it->second;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    streams[i]->resume();
  }
}

void PeerService::close() {
  std::map<PeerLane, std::shared_ptr<IncomingStream>> streams;
  bool parked = false;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    parked = !generation_.has_value();
    streams = streams_;
  }
  if (parked) {
    for (const auto& [from, stream] : streams) {
      stream->refuse({grpc::UNAVAILABLE, "this rank is ending"});
    }
  }
}

int64_t PeerService::refused_streams() const {
  absl::MutexLock lock(&mutex_);
  return refused_streams_;
}

grpc::ServerGenericBidiReactor* PeerService::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  const absl::StatusOr<Caller> caller = check(*context);
  if (!caller.ok()) {
    return refuse(caller.status());
  }
  std::shared_ptr<IncomingStream> stream;
  std::shared_ptr<IncomingStream> outdated;
  bool accept_now = false;
  absl::Status why;
  {
    absl::MutexLock lock(&mutex_);
    why = check_generation(caller->generation);
    // A refused caller must leave no empty place behind: resume() would follow it.
    const auto found = streams_.find(caller->from);
    const bool replaces = !generation_.has_value() && found != streams_.end() &&
                          found->second->generation() < caller->generation;
    if (why.ok() && found != streams_.end() && !replaces) {
      why = absl::AlreadyExistsError(absl::StrCat(
          "rank ", caller->from.rank, " has a stream on lane ", caller->from.lane, " already"));
    }
    if (why.ok()) {
      stream = IncomingStream::make(queues_, caller->from, caller->generation, context);
      outdated = std::exchange(streams_[caller->from], stream);
      accept_now = generation_.has_value();
    }
  }
  if (!why.ok()) {
    return refuse(why);
  }
  if (outdated != nullptr) {
    outdated->refuse({grpc::FAILED_PRECONDITION, "a stream of a later generation took its place"});
  }
  if (accept_now) {
    stream->accept();
  }
  return stream.get();
}

absl::StatusOr<PeerService::Caller> PeerService::check(
    const grpc::GenericCallbackServerContext& context) const {
  if (context.method() != kFramesMethod) {
    return absl::UnimplementedError(
        absl::StrCat("no method ", context.method(), " here, only ", kFramesMethod));
  }
  if (!equal_secrets(metadata(context, kTokenKey), peer_token_)) {
    return absl::UnauthenticatedError("the peer token is not this job's");
  }
  if (const std::string job_id = metadata(context, kJobKey); job_id != job_id_) {
    return absl::FailedPreconditionError(
        absl::StrCat("stream of job '", job_id, "', this rank belongs to '", job_id_, "'"));
  }
  Caller caller;
  LACONIC_ASSIGN_OR_RETURN(caller.from, check_place(context));
  const std::string generation = metadata(context, kGenerationKey);
  if (!absl::SimpleAtoi(generation, &caller.generation)) {
    return absl::FailedPreconditionError(
        absl::StrCat("stream of generation '", generation, "', which is no number"));
  }
  return caller;
}

absl::StatusOr<PeerLane> PeerService::check_place(
    const grpc::GenericCallbackServerContext& context) const {
  PeerLane from;
  const std::string rank = metadata(context, kFromRankKey);
  if (!absl::SimpleAtoi(rank, &from.rank) || from.rank < 0 || from.rank >= queues_->world_size() ||
      from.rank == queues_->rank()) {
    return absl::FailedPreconditionError(
        absl::StrCat("stream from rank '", rank, "', allowed are 0 to ", queues_->world_size() - 1,
                     " without ", queues_->rank()));
  }
  int lanes = 0;
  const std::string their_lanes = metadata(context, kLanesKey);
  if (!absl::SimpleAtoi(their_lanes, &lanes) || lanes != queues_->lanes()) {
    return absl::FailedPreconditionError(
        absl::StrCat("stream of '", their_lanes, "' lanes, this rank has ", queues_->lanes()));
  }
  const std::string lane = metadata(context, kLaneKey);
  if (!absl::SimpleAtoi(lane, &from.lane) || from.lane < 0 || from.lane >= lanes) {
    return absl::FailedPreconditionError(
        absl::StrCat("stream on lane '", lane, "', allowed are 0 to ", lanes - 1));
  }
  return from;
}

absl::Status PeerService::check_generation(uint64_t generation) const {
  if (closed_) {
    return absl::UnavailableError("this rank is ending");
  }
  if (generation_.has_value() && generation != *generation_) {
    return absl::FailedPreconditionError(
        absl::StrCat("stream of generation ", generation, ", this rank is in ", *generation_));
  }
  return absl::OkStatus();
}

grpc::ServerGenericBidiReactor* PeerService::refuse(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    ++refused_streams_;
  }
  return new RefusedStream(wire::to_grpc(why));
}

}  // namespace laconic::collective
