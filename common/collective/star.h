// The anchor rank and the others: what methods with an anchor worker are built of. Payloads of any
// size travel in tiles of one frame.
//
//   P  world_size    S  bytes of a payload    alpha  seconds per message
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"

namespace laconic::collective {

// Owned by one thread. All ranks call the same operations in the same order.
class Star {
 public:
  // `communicator` must outlive this object. 0 <= anchor < world_size.
  Star(Communicator& communicator, int anchor) : communicator_(communicator), anchor_(anchor) {}

  int anchor() const { return anchor_; }
  bool is_anchor() const { return communicator_.rank() == anchor_; }
  int rank() const { return communicator_.rank(); }
  int world_size() const { return communicator_.world_size(); }

  // Brings every other rank's payload to the anchor. An empty one is a message too: one header.
  //
  //   payload_bytes_max  of what a peer may send; checked before allocation
  //   returns            at the anchor [P] payloads in rank order, its own as given; else nothing
  //
  // Cost: alpha; S sent by each, (P-1) S received by the anchor; 64 bytes per frame.
  // Errors: as Communicator::all_gather.
  absl::StatusOr<std::vector<Payload>> gather(const Payload& payload, int64_t payload_bytes_max,
                                              const OpTag& tag);

  // Brings the anchor's payload to all; returns it on every rank. payload: ignored elsewhere.
  // Cost: alpha; (P-1) S sent by the anchor, S received by each; 64 bytes per frame.
  // Errors: as Communicator::all_gather.
  absl::StatusOr<Payload> broadcast(const Payload& payload, int64_t payload_bytes_max,
                                    const OpTag& tag);

 private:
  absl::Status send(int to, const FrameHeader& header, const Payload& payload);
  absl::StatusOr<Payload> receive(int from, const FrameHeader& header, int64_t payload_bytes_max);

  Communicator& communicator_;
  const int anchor_;
};

}  // namespace laconic::collective
