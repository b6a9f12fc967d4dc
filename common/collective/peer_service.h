// Admits the streams of other ranks: who may send us frames.
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/collective/peer_streams.h"

namespace laconic::collective {

// Thread-safe. Accepts one stream per rank and lane that shows the token, the job and the
// generation.
// Streams that come before our own generation is known are parked until open().
class PeerService final : public grpc::CallbackGenericService {
 public:
  PeerService(std::shared_ptr<PeerQueues> queues, std::string job_id, std::string peer_token);

  // Our generation is known: accepts the parked streams of it, refuses those of others.
  void open(uint64_t generation);
  // The accepted streams from a rank go on reading if they wait for room.
  void resume(int from_rank);
  // Refuses streams that are parked and all that come later.
  void close();
  // Streams turned away for a wrong token, job, generation, rank or lane.
  int64_t refused_streams() const;

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

 private:
  struct Caller {
    PeerLane from;
    uint64_t generation = 0;
  };
  // Who calls. Errors: Unauthenticated, FailedPrecondition, Unimplemented.
  absl::StatusOr<Caller> check(const grpc::GenericCallbackServerContext& context) const;
  absl::StatusOr<PeerLane> check_place(const grpc::GenericCallbackServerContext& context) const;
  absl::Status check_generation(uint64_t generation) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  grpc::ServerGenericBidiReactor* refuse(const absl::Status& why);

  const std::shared_ptr<PeerQueues> queues_;
  const std::string job_id_;
  const std::string peer_token_;
  mutable absl::Mutex mutex_;
  std::optional<uint64_t> generation_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<PeerLane, std::shared_ptr<IncomingStream>> streams_ ABSL_GUARDED_BY(mutex_);
  int64_t refused_streams_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace laconic::collective
