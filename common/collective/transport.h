// Moves frames between the ranks of one generation: ordered and reliable per pair of ranks.
// Two implementations: in-process (tests) and gRPC.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/frame.h"

namespace laconic::collective {

// Frame bytes (header and payload) and payload bytes alone, of one rank since construction.
struct ByteCounts {
  int64_t sent = 0;
  int64_t received = 0;
  int64_t payload_sent = 0;
  int64_t payload_received = 0;
};

// The bytes of a frame's payload: a slice of a buffer that the frame keeps alive.
struct Payload {
  std::shared_ptr<const std::vector<uint8_t>> owner;
  size_t offset = 0;
  size_t size = 0;

  const uint8_t* data() const { return owner == nullptr ? nullptr : owner->data() + offset; }
};

struct Frame {
  FrameHeader header;
  Payload payload;
};

// Thread-safe.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Queues a frame to another rank; never blocks on the network. Errors: Unavailable if that peer
  // is gone, ResourceExhausted if more than the queue's limit waits.
  virtual absl::Status send(int to_rank, Frame frame) = 0;

  // Next frame from another rank. Errors: Unavailable if that peer is gone, DeadlineExceeded,
  // DataLoss if what came is no frame, or the status given to abort().
  virtual absl::StatusOr<Frame> receive(int from_rank, absl::Time deadline) = 0;

  // Waits until all queued frames are on the wire.
  virtual absl::Status flush(absl::Time deadline) = 0;

  virtual ByteCounts bytes() const = 0;

  // Wakes every receive() with `reason`; later calls fail with it too.
  virtual void abort(const absl::Status& reason) = 0;
};

}  // namespace laconic::collective
