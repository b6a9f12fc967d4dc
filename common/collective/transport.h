// Moves frames between the ranks of one generation: ordered and reliable per pair of ranks.
// Two implementations: in-process (tests) and gRPC.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/frame.h"
#include "common/core/byte_buffer.h"

namespace laconic::collective {

// Frame bytes (header and payload) and payload bytes alone, of one rank since construction.
struct ByteCounts {
  int64_t sent = 0;
  int64_t received = 0;
  int64_t payload_sent = 0;
  int64_t payload_received = 0;

  ByteCounts& operator+=(const ByteCounts& other);
  bool operator==(const ByteCounts&) const = default;
};

// Bytes to send or received, at any alignment: a slice of memory that stays for as long as somebody
// holds it.
struct Payload {
  std::shared_ptr<const void> owner;
  const uint8_t* data = nullptr;
  size_t size = 0;
  // Checksum of the bytes where somebody has computed it: they are sent to several peers.
  std::optional<uint32_t> crc32c;

  Payload() = default;
  // Takes the bytes over.
  explicit Payload(std::vector<uint8_t> bytes);
  explicit Payload(std::shared_ptr<const core::ByteBuffer> buffer);

  std::span<const uint8_t> bytes() const { return {data, size}; }
  // offset + count <= size.
  Payload slice(size_t offset, size_t count) const;
};

struct Frame {
  FrameHeader header;
  Payload payload;

  int64_t bytes() const { return kFrameHeaderBytes + static_cast<int64_t>(payload.size); }
};

// Frames that may wait for one peer, in each direction and over all lanes together, before the
// sender has to wait.
inline constexpr int64_t kQueueBytesMax = 32 * (kFrameHeaderBytes + kFramePayloadBytesMax);

// Thread-safe. Destroying a transport without finish() looks to the others like a crash.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Queues a frame to another rank; waits while kQueueBytesMax wait for that rank already.
  // Errors: Unavailable if a peer is gone, DeadlineExceeded, or the status given to abort().
  virtual absl::Status send(int to_rank, Frame frame, absl::Time deadline) = 0;

  // Next frame from another rank. The payload is not checked against its checksum yet.
  // Errors: Unavailable if a peer is gone, whichever (the text names it, and so does lost_rank()),
  // once all frames that `from_rank` sent are taken; DeadlineExceeded; DataLoss if what came is no
  // frame; or the status given to abort().
  virtual absl::StatusOr<Frame> receive(int from_rank, absl::Time deadline) = 0;

  // Ends a run in good order: waits until all queued frames are on the wire, says to every peer
  // that nothing follows, and waits until every peer has said so too. No send() after it.
  // Errors: Unavailable if a peer is gone, DeadlineExceeded naming who has not ended.
  virtual absl::Status finish(absl::Time deadline) = 0;

  // The first peer that went away without ending in good order; -1 when none has.
  virtual int lost_rank() const = 0;

  virtual ByteCounts bytes() const = 0;
  // The part of bytes() that went to and came from one rank; zeros for our own.
  virtual ByteCounts peer_bytes(int peer_rank) const = 0;

  // Wakes every call that waits with `reason`; later calls fail with it too.
  virtual void abort(const absl::Status& reason) = 0;
};

// The part of transport.bytes() that went to and came from other sites: site s has ranks s G to
// s G + G - 1. ranks_per_site: G >= 1.
ByteCounts bytes_between_sites(const Transport& transport, int ranks_per_site);

}  // namespace laconic::collective
