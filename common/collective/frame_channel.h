// The frames of one rank in one generation: numbers operations, fills in and checks headers, drops
// what is left over from earlier generations, names who is to blame, counts bytes.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/transport.h"

namespace laconic::collective {

// Names one operation. A frame of another generation, round or digest is refused.
struct OpTag {
  uint64_t round = 0;            // Exchanges committed so far.
  uint64_t previous_digest = 0;  // Digest of the result of the round before; 0 in the first.
};

// Frames of one peer that are passed over (signs of life, earlier generations) while one frame is
// waited for; more are taken for a fault.
inline constexpr int kPassedOverMax = 100'000;

// What a receiver knows of a payload before it comes.
struct Expected {
  int64_t bytes_max = 0;
  bool exact = false;  // It has bytes_max bytes.
};

// Owned by one thread.
class FrameChannel {
 public:
  // `transport` must outlive this object. deadline: see Communicator.
  FrameChannel(Transport& transport, uint64_t generation, absl::Duration deadline);

  int rank() const { return transport_.rank(); }
  int world_size() const { return transport_.world_size(); }

  // What all frames of the next operation share.
  FrameHeader next_header(FrameKind kind, const OpTag& tag) const;
  // Begins an operation of `count` >= 1 sequence numbers; the header returned has the first. Byte
  // counts start at 0.
  FrameHeader start(FrameKind kind, const OpTag& tag, uint64_t count = 1);

  // Sends one frame: `header` with ranks, length and checksum filled in.
  // Errors: of the transport; failed_rank() is to blame.
  absl::Status send(int to, FrameHeader header, Payload payload);

  // The next frame from a peer that belongs here. Its payload is not checked yet.
  //
  //   header          place in the sequence that the frame must have
  //   first_sequence  of the operation: signs of life before it have this one
  //
  // Errors: as Communicator::all_gather; failed_rank() is to blame.
  absl::StatusOr<Frame> receive(int from, const FrameHeader& header, uint64_t first_sequence);

  // The same for a payload of one frame, checked.
  absl::StatusOr<Payload> receive_message(int from, const FrameHeader& header,
                                          uint64_t first_sequence, const Expected& expected);

  // The same for one tile of a payload whose size is known: header has tile and total that are due.
  absl::StatusOr<Payload> receive_tile(int from, const FrameHeader& header,
                                       uint64_t first_sequence);

  // Keeps who is to blame for `status`, and returns it.
  absl::Status blame(int rank, absl::Status status);
  int failed_rank() const { return failed_rank_; }
  int64_t stale_frames() const { return stale_frames_; }
  // Of the operation under way, or the last one.
  const ByteCounts& operation_bytes() const { return operation_bytes_; }

 private:
  absl::StatusOr<Frame> receive_current(int from, const FrameHeader& header,
                                        uint64_t first_sequence);
  // The frame's payload, if length and checksum are right.
  absl::StatusOr<Payload> checked(Frame frame);

  Transport& transport_;
  const uint64_t generation_;
  const absl::Duration deadline_;
  uint64_t op_sequence_ = 0;
  int failed_rank_ = -1;
  int64_t stale_frames_ = 0;
  ByteCounts operation_bytes_;
};

// Errors: DataLoss if a payload of `total` bytes is not as expected.
absl::Status check_total(int from, int64_t total, const Expected& expected);

}  // namespace laconic::collective
