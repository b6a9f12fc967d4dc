// The two ends of a stream of frames, as gRPC reactors. Each keeps itself alive until gRPC is done
// with it; what is sent and received lies in PeerQueues.
//
// No lock is held while an operation of gRPC is started.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/collective/peer_queues.h"
#include "common/wire/reactor_order.h"

namespace laconic::collective {

inline constexpr const char* kFramesMethod = "/laconic.v1.Peer/Frames";

// Metadata of a stream.
inline constexpr const char* kTokenKey = "laconic-peer-token";
inline constexpr const char* kJobKey = "laconic-job-id";
inline constexpr const char* kGenerationKey = "laconic-generation";
inline constexpr const char* kFromRankKey = "laconic-from-rank";
inline constexpr const char* kLaneKey = "laconic-lane";
inline constexpr const char* kLanesKey = "laconic-lanes";
// In the answer: the stream is accepted.
inline constexpr const char* kAcceptedKey = "laconic-accepted";

// Carries our frames of one lane to one peer.
class OutgoingStream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  OutgoingStream(std::shared_ptr<PeerQueues> queues, PeerLane to,
                 std::shared_ptr<grpc::Channel> channel);

  grpc::ClientContext& context() { return context_; }
  // Opens `stream`; the context is complete by now.
  static void start(const std::shared_ptr<OutgoingStream>& stream);
  // Starts the next write if none is under way.
  void pump();
  void cancel() { context_.TryCancel(); }

  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  const std::shared_ptr<PeerQueues> queues_;
  const PeerLane to_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  grpc::ByteBuffer write_buffer_;         // Owned by the write under way.
  grpc::ByteBuffer read_buffer_;          // Owned by the read under way.
  std::shared_ptr<OutgoingStream> self_;  // Until OnDone.
  wire::ReactorOrder order_;
};

// Takes one peer's frames of one lane.
class IncomingStream final : public grpc::ServerGenericBidiReactor {
 public:
  IncomingStream(std::shared_ptr<PeerQueues> queues, PeerLane from, uint64_t generation,
                 grpc::GenericCallbackServerContext* context);

  // Makes a stream that keeps itself alive until gRPC is done with it.
  static std::shared_ptr<IncomingStream> make(std::shared_ptr<PeerQueues> queues, PeerLane from,
                                              uint64_t generation,
                                              grpc::GenericCallbackServerContext* context);

  uint64_t generation() const { return generation_; }
  // Exactly one of the two is called, once.
  void accept();
  void refuse(const grpc::Status& status);
  // Reads on if the stream waits for room and there is some now.
  void resume();

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  enum class State : uint8_t { kParked, kReading, kPaused, kFinished };

  void finish_unless_reading(const grpc::Status& status);
  void read_on();

  const std::shared_ptr<PeerQueues> queues_;
  const PeerLane from_;
  const uint64_t generation_;
  grpc::GenericCallbackServerContext* const context_;
  absl::Mutex mutex_;  // Taken before that of PeerQueues.
  State state_ ABSL_GUARDED_BY(mutex_) = State::kParked;
  bool accepted_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer read_buffer_;          // Owned by the read under way.
  std::shared_ptr<IncomingStream> self_;  // Until OnDone.
  wire::ReactorOrder order_;
};

}  // namespace laconic::collective
