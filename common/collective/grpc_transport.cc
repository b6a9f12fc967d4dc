#include "common/collective/grpc_transport.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/collective/peer_queues.h"
#include "common/collective/peer_service.h"
#include "common/collective/peer_streams.h"
#include "common/core/status_macros.h"
#include "common/wire/channel.h"

namespace laconic::collective {
namespace {

constexpr int kWorldSizeMax = 65536;  // Ranks are 16 bits in a frame.
// How long answers to streams that ended in good order may take to leave.
constexpr absl::Duration kServerStop = absl::Milliseconds(200);
// Cancelled streams end at once; this only bounds the wait if gRPC should fail to say so.
constexpr absl::Duration kStreamsStop = absl::Seconds(5);

absl::Status check(const GrpcTransportOptions& options) {
  if (options.world_size < 1 || options.world_size > kWorldSizeMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("world size is ", options.world_size, "; allowed: 1..", kWorldSizeMax));
  }
  if (options.rank < 0 || options.rank >= options.world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank is ", options.rank, "; allowed: 0..", options.world_size - 1));
  }
  if (options.lanes < 1 || options.lanes > kLanesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("lanes between two ranks are ", options.lanes, "; allowed: 1..", kLanesMax));
  }
  if (options.peer_token.empty()) {
    return absl::InvalidArgumentError("the peer token is empty: anyone could send frames");
  }
  return absl::OkStatus();
}

// "host:port", with brackets around an IPv6 address.
std::string join_address(const std::string& host, int port) {
  const bool bare_v6 = absl::StrContains(host, ':') && !absl::StartsWith(host, "[");
  return bare_v6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

}  // namespace

GrpcTransport::GrpcTransport(GrpcTransportOptions options)
    : options_(std::move(options)),
      queues_(std::make_shared<PeerQueues>(options_.rank, options_.world_size, options_.lanes)),
      service_(std::make_unique<PeerService>(queues_, options_.job_id, options_.peer_token)) {}

absl::StatusOr<std::unique_ptr<GrpcTransport>> GrpcTransport::create(
    const GrpcTransportOptions& options) {
  LACONIC_RETURN_IF_ERROR(check(options));
  wire::keep_freed_memory();
  std::unique_ptr<GrpcTransport> transport(new GrpcTransport(options));
  LACONIC_RETURN_IF_ERROR(transport->listen());
  return transport;
}

absl::Status GrpcTransport::listen() {
  grpc::ServerBuilder builder;
  wire::apply_data_settings(builder, options_.lanes);
  int port = 0;
  builder.AddListeningPort(join_address(options_.host, 0), grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterCallbackGenericService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("rank ", options_.rank, " cannot listen on '", options_.host,
                     "': is it an address of this machine? Set it with the worker's --peer-host"));
  }
  address_ = join_address(options_.host, port);
  return absl::OkStatus();
}

GrpcTransport::~GrpcTransport() {
  service_->close();
  for (const std::shared_ptr<OutgoingStream>& stream : all_outgoing()) {
    stream->cancel();
  }
  if (server_ != nullptr) {
    // Streams that peers keep open are cancelled then, and end themselves in OnCancel.
    server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kServerStop));
  }
  queues_->wait_no_streams(absl::Now() + kStreamsStop);
}

absl::Status GrpcTransport::connect(uint64_t generation, const std::vector<std::string>& peers,
                                    absl::Time deadline) {
  if (peers.size() != static_cast<size_t>(options_.world_size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(peers.size(), " peer addresses for ", options_.world_size, " ranks"));
  }
  queues_->set_addresses(peers);
  service_->open(generation);
  std::vector<std::shared_ptr<OutgoingStream>> streams;
  for (int to = 0; to < options_.world_size; ++to) {
    for (int lane = 0; lane < options_.lanes; ++lane) {
      streams.push_back(to == options_.rank
                            ? nullptr
                            : open_stream({to, lane}, generation, peers[static_cast<size_t>(to)]));
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    outgoing_ = std::move(streams);
  }
  return queues_->wait_connected(deadline);
}

std::shared_ptr<OutgoingStream> GrpcTransport::open_stream(PeerLane to, uint64_t generation,
                                                           const std::string& address) const {
  // Its settings give each channel a connection of its own.
  auto stream = std::make_shared<OutgoingStream>(
      queues_, to,
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                wire::data_channel_arguments(options_.lanes)));
  grpc::ClientContext& context = stream->context();
  context.set_wait_for_ready(true);  // Peers may come up a little later.
  context.AddMetadata(kTokenKey, options_.peer_token);
  context.AddMetadata(kJobKey, options_.job_id);
  context.AddMetadata(kGenerationKey, absl::StrCat(generation));
  context.AddMetadata(kFromRankKey, absl::StrCat(options_.rank));
  context.AddMetadata(kLaneKey, absl::StrCat(to.lane));
  context.AddMetadata(kLanesKey, absl::StrCat(options_.lanes));
  OutgoingStream::start(stream);
  return stream;
}

int64_t GrpcTransport::refused_streams() const {
  return service_->refused_streams();
}

absl::Status GrpcTransport::send(int to_rank, Frame frame, absl::Time deadline) {
  if (outgoing(to_rank, 0) == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("no stream to rank ", to_rank, ": connect() comes first"));
  }
  LACONIC_ASSIGN_OR_RETURN(const int lane, queues_->send(to_rank, std::move(frame), deadline));
  outgoing(to_rank, lane)->pump();
  return absl::OkStatus();
}

absl::StatusOr<Frame> GrpcTransport::receive(int from_rank, absl::Time deadline) {
  absl::StatusOr<Frame> frame = queues_->receive(from_rank, deadline);
  service_->resume(from_rank);
  return frame;
}

absl::Status GrpcTransport::finish(absl::Time deadline) {
  queues_->end_all();
  for (const std::shared_ptr<OutgoingStream>& stream : all_outgoing()) {
    stream->pump();
  }
  return queues_->wait_ended(deadline);
}

int GrpcTransport::lost_rank() const {
  return queues_->lost_rank();
}

ByteCounts GrpcTransport::bytes() const {
  return queues_->bytes();
}

ByteCounts GrpcTransport::peer_bytes(int peer_rank) const {
  return queues_->peer_bytes(peer_rank);
}

void GrpcTransport::abort(const absl::Status& reason) {
  queues_->abort(reason);
}

std::shared_ptr<OutgoingStream> GrpcTransport::outgoing(int to_rank, int lane) const {
  absl::MutexLock lock(&mutex_);
  const size_t index = static_cast<size_t>(int64_t{to_rank} * options_.lanes + lane);
  return index < outgoing_.size() ? outgoing_[index] : nullptr;
}

std::vector<std::shared_ptr<OutgoingStream>> GrpcTransport::all_outgoing() const {
  std::vector<std::shared_ptr<OutgoingStream>> streams;
  absl::MutexLock lock(&mutex_);
  std::copy_if(outgoing_.begin(), outgoing_.end(), std::back_inserter(streams),
               [](const auto& stream) { return stream != nullptr; });
  return streams;
}

}  // namespace laconic::collective
