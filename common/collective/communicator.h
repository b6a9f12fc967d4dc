// What the ranks of one generation do together: all ranks call the same operations in the same
// order with the same sizes.
//
//   P  world_size    S  bytes of a payload    alpha  seconds per message
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

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

// Owned by one thread, except abort().
class Communicator {
 public:
  // `transport` must outlive this object. deadline: longest wait for any peer in one operation.
  Communicator(Transport& transport, uint64_t generation, absl::Duration deadline);

  int rank() const;
  int world_size() const;

  // Gathers one payload from every rank. payload_bytes_max bounds what a peer may send; checked
  // before allocation.
  //
  //   returns  [P] payloads in rank order, own one included
  //
  // Cost: alpha + (P-1) S sent and received.
  // Errors: Unavailable if a peer is gone (the text names its rank), DeadlineExceeded, DataLoss if
  // a frame does not check out, FailedPrecondition if a peer's previous digest differs from ours.
  absl::StatusOr<std::vector<std::vector<uint8_t>>> all_gather(std::span<const uint8_t> payload,
                                                               int64_t payload_bytes_max,
                                                               const OpTag& tag);

  // Replaces `in_out` ([d] f32) by its mean over the ranks, bit-identical on all: rank r sums the
  // r-th part in rank order in double and sends the float result to all.
  //
  // Cost: 2 alpha + 2 (P-1)/P 4 d bytes sent and received. Errors: as all_gather.
  absl::Status all_reduce_mean(std::span<float> in_out, const OpTag& tag);

  // The rank that the last failed operation blames; -1 when none.
  int failed_rank() const { return failed_rank_; }
  ByteCounts bytes() const;

  // Ends the operation under way with `reason`, and all later ones. Any thread.
  void abort(const absl::Status& reason);

 private:
  Transport& transport_;
  const uint64_t generation_;
  const absl::Duration deadline_;
  uint64_t op_sequence_ = 0;
  int failed_rank_ = -1;
};

}  // namespace laconic::collective
