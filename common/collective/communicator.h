// What the ranks of one generation do together: all ranks call the same operations in the same
// order with the same sizes.
//
//   P  world_size    S  bytes of a payload    alpha  seconds per message
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/frame_channel.h"
#include "common/collective/transport.h"
#include "common/compress/buffer_pool.h"

namespace laconic::collective {

// Owned by one thread, except abort(). A failed operation leaves the ranks at different points of
// the sequence: after one, go on only in a new generation.
class Communicator {
 public:
  // `transport` must outlive this object. deadline: longest wait for the next frame of any peer, or
  // for room to send it one. A slow link that makes progress is no failure.
  Communicator(Transport& transport, uint64_t generation, absl::Duration deadline);

  int rank() const { return transport_.rank(); }
  int world_size() const { return transport_.world_size(); }

  // Gathers one payload from every rank; their sizes may differ. payload_bytes_max bounds what a
  // peer may send; checked before allocation. The payload is not copied on its way out.
  //
  //   returns  [P] payloads in rank order, own one included
  //
  // Cost: alpha + (P-1) S sent and received, and 64 bytes per frame.
  // Errors: Unavailable if a peer is gone (the text names its rank), DeadlineExceeded naming the
  // rank waited for, DataLoss if a frame does not check out, FailedPrecondition if a peer's
  // previous digest or place in the sequence differs from ours, Aborted if a peer is in a later
  // generation, InvalidArgument if `payload` is longer than the bound. Frames of earlier
  // generations are dropped and counted.
  absl::StatusOr<std::vector<Payload>> all_gather(const Payload& payload, int64_t payload_bytes_max,
                                                  const OpTag& tag);

  // Gives every rank the payload of rank `root`, in pieces: every rank passes its own on to all.
  //
  //   payload  of the root; not looked at on the others
  //
  // Cost: 2 alpha; the root sends 2 (P-1)/P S, the others (P-1)/P S, and 64 bytes per frame. All
  // ranks have the same bytes if no rank lies; one that passes on other bytes to some is found by
  // the digest of the result. Errors: as all_gather.
  absl::StatusOr<Payload> broadcast(int root, const Payload& payload, int64_t payload_bytes_max,
                                    const OpTag& tag);

  // Writes the mean of the ranks' vectors to `mean`, bit-identical on all: rank r sums the r-th
  // part in rank order in double and sends the float32 result to all (dense_mean.h). No traffic
  // when P = 1.
  //
  //   v, mean  [d] f32, any d; the same memory, or apart. After an error v is unchanged, and
  //   `mean`,
  //            where it is another vector, unspecified.
  //
  // Cost: 2 alpha + 2 (P-1)/P 4 d bytes sent and received, and 64 bytes per frame. In place 4 d
  // bytes of memory meanwhile. Errors: as all_gather; InvalidArgument for different lengths.
  absl::Status all_reduce_mean(std::span<const float> v, std::span<float> mean, const OpTag& tag);
  // In place.
  absl::Status all_reduce_mean(std::span<float> in_out, const OpTag& tag) {
    return all_reduce_mean(in_out, in_out, tag);
  }

  // Tells the others that this rank is busy before its next operation and will come: each such word
  // gives it one more deadline, kPassedOverMax of them at most. tag: that operation's.
  // Errors: as all_gather.
  absl::Status keep_alive(const OpTag& tag);

  // The rank that the last failed operation blames; -1 when none.
  int failed_rank() const { return channel_.failed_rank(); }
  // Frames of earlier generations that were dropped.
  int64_t stale_frames() const { return channel_.stale_frames(); }
  ByteCounts bytes() const { return transport_.bytes(); }
  // Of the last operation alone, failed or not.
  const ByteCounts& operation_bytes() const { return channel_.operation_bytes(); }

  // For operations that are built of single messages (scheduled_mean.h).
  FrameChannel& channel() { return channel_; }

  // Ends the operation under way with `reason`, and all later ones. Any thread.
  void abort(const absl::Status& reason) { transport_.abort(reason); }

 private:
  // Kept between operations: without that each tile's memory is faulted in anew, page by page.
  static constexpr size_t kSpareTiles = 64;

  // What one peer sends in one exchange, as far as it has come.
  struct Incoming {
    std::shared_ptr<core::ByteBuffer> bytes = std::make_shared<core::ByteBuffer>();
    int64_t total = -1;  // Unknown before the first tile.
    Expected expected;

    // Takes the frame that must be the tile-th of the payload.
    absl::Status accept(const Frame& frame, int64_t tile);
  };
  // One exchange: what goes to each rank and what comes from each, both [P].
  struct Exchange {
    std::vector<Payload> outgoing;
    std::vector<Incoming> incoming;
    FrameHeader header;  // What all frames of it share.
  };

  absl::Status run(Exchange& exchange);
  absl::Status send_tile(const Exchange& exchange, int64_t tile);
  absl::Status receive_tile(Exchange& exchange, int64_t tile);

  Transport& transport_;
  FrameChannel channel_;
  compress::BufferPool tiles_{kSpareTiles};  // of all_reduce_mean()
};

}  // namespace laconic::collective
