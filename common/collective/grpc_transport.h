// Frames between processes and machines: gRPC streams, one per lane of every ordered
// pair of ranks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/collective/transport.h"

namespace grpc {
class Server;
}

namespace laconic::collective {

class OutgoingStream;
class PeerQueues;
class PeerService;
struct PeerLane;

struct GrpcTransportOptions {
  int rank = 0;
  int world_size = 1;              // 1..65536
  std::string host = "127.0.0.1";  // where other ranks reach this one; no port
  std::string job_id;
  std::string peer_token;  // what all ranks of the job show to each other; not empty
  // Connections per ordered pair of ranks, 1..kLanesMax, equal on all ranks. 1 fills a link of
  // 1 Gbit/s; take 2 for 10 Gbit/s, and 4 or more for 25 Gbit/s or a long way that loses packets.
  int lanes = 1;
};

// Thread-safe, except connect(), which is called once, before frames are sent.
class GrpcTransport final : public Transport {
 public:
  // Listens on a free port of `host`. Peers may open their streams from now on. Sets for the whole
  // process how memory is kept: wire::keep_freed_memory().
  // Errors: InvalidArgument for options outside their ranges, Unavailable if it cannot listen.
  static absl::StatusOr<std::unique_ptr<GrpcTransport>> create(const GrpcTransportOptions& options);

  // Cancels what is under way; to the others this is a crash unless finish() came first.
  ~GrpcTransport() override;

  // "host:port", to be given to the others.
  const std::string& address() const { return address_; }

  // Opens all streams to every other rank and waits until all have accepted ours and opened theirs.
  //
  //   peers  [P] addresses in rank order; the own one is not used
  //
  // Errors: InvalidArgument for a wrong number of peers; DeadlineExceeded naming the rank and the
  // address that could not be reached; Unauthenticated or FailedPrecondition if a peer refuses us.
  absl::Status connect(uint64_t generation, const std::vector<std::string>& peers,
                       absl::Time deadline);

  // Streams turned away for a wrong token, job, generation, rank or lane.
  int64_t refused_streams() const;

  int rank() const override { return options_.rank; }
  int world_size() const override { return options_.world_size; }
  absl::Status send(int to_rank, Frame frame, absl::Time deadline) override;
  absl::StatusOr<Frame> receive(int from_rank, absl::Time deadline) override;
  absl::Status finish(absl::Time deadline) override;
  int lost_rank() const override;
  ByteCounts bytes() const override;
  ByteCounts peer_bytes(int peer_rank) const override;
  void abort(const absl::Status& reason) override;

 private:
  explicit GrpcTransport(GrpcTransportOptions options);

  absl::Status listen();
  std::shared_ptr<OutgoingStream> open_stream(PeerLane to, uint64_t generation,
                                              const std::string& address) const;
  // Null before connect() and for our own rank.
  std::shared_ptr<OutgoingStream> outgoing(int to_rank, int lane) const;
  // All outgoing streams.
  std::vector<std::shared_ptr<OutgoingStream>> all_outgoing() const;

  const GrpcTransportOptions options_;
  std::string address_;
  const std::shared_ptr<PeerQueues> queues_;
  std::unique_ptr<PeerService> service_;  // Outlives server_.
  std::unique_ptr<grpc::Server> server_;
  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<OutgoingStream>> outgoing_
      ABSL_GUARDED_BY(mutex_);  // [P, L] or empty
};

}  // namespace laconic::collective
