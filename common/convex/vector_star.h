// Vectors of doubles between the anchor worker and the others, as float32 or by a codec, with the
// payload bytes that each way took.
//
//   M  workers, world_size    d  dimension    Q  a codec: encode, then decode
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/collective/star.h"
#include "common/compress/codec.h"
#include "common/core/byte_buffer.h"

namespace laconic::convex {

// Payload bytes between this worker and the anchor. The anchor counts what it sends to each worker,
// no bytes up, and the messages of all workers. Headers are counted by the transport.
struct Traffic {
  int64_t up_bytes = 0;
  int64_t down_bytes = 0;
  int64_t gathers = 0;           // times that the workers were asked, the same on all ranks
  int64_t up_messages = 0;       // with a payload
  int64_t skipped_messages = 0;  // empty ones: the worker had nothing worth sending

  bool operator==(const Traffic&) const = default;
};

// Owned by one thread. All ranks call the same operations in the same order. Every frame carries
// the digest of the last broadcast vector: workers that no longer agree are found at once.
class VectorStar {
 public:
  // `communicator` must outlive this object. 0 <= anchor < world_size; dimension >= 1.
  VectorStar(collective::Communicator& communicator, int anchor, int64_t dimension);

  bool is_anchor() const { return star_.is_anchor(); }
  int rank() const { return star_.rank(); }
  int world_size() const { return star_.world_size(); }
  int64_t dimension() const { return static_cast<int64_t>(floats_.size()); }
  const Traffic& traffic() const { return traffic_; }
  // What came before, where a run goes on.
  void set_traffic(const Traffic& traffic) { traffic_ = traffic; }
  // What the frames of the next operation say.
  collective::OpTag tag() const { return {.round = operations_, .previous_digest = digest_}; }
  // XXH3-64 of the last vector that was broadcast.
  uint64_t digest() const { return digest_; }

  // Replaces `v` ([d]) on all ranks by Q(v of the anchor), bit-identical. codec: of dimension() d.
  // Errors: as Star::broadcast and of the codec.
  absl::Status broadcast(const compress::Codec& codec, uint64_t seed, std::span<double> v);

  // out ([d]) <- Q(v), here alone: what a message would say.
  absl::Status round_trip(const compress::Codec& codec, uint64_t seed, std::span<const double> v,
                          std::span<double> out);

  // At the anchor, where the others wait for its next broadcast: tells them that it will come, if
  // `interval` has passed since the last word (FrameChannel passes so many over). Elsewhere
  // nothing. Errors: as Communicator::keep_alive.
  absl::Status keep_alive(absl::Duration interval);

  // One number of the anchor to all, 8 bytes.
  absl::StatusOr<double> broadcast(double value);

  struct Message {
    std::span<const double> v;  // [d]
    uint64_t seed = 0;          // Of this worker and round.
    // Error feedback, [d] or empty: e. Then w = v + e is what is sent, and e <- w - Q(w).
    std::span<double> residual = {};
    // Sends no bytes where |w|^2 (|v|^2) is no larger: it then counts as 0. Negative: always sends.
    double silent_below = -1;
    bool skip = false;            // Sends no bytes whatever v is.
    std::span<double> sent = {};  // [d], or empty: gets what the message decodes to.
  };
  // sum ([d], at the anchor) <- sum over the other ranks, in rank order, of their messages. The
  // anchor's own is not in it, its v is not looked at. Errors: as Star::gather and of the codec,
  // naming the rank.
  absl::Status gather_sum(const compress::Codec& codec, const Message& message,
                          std::span<double> sum);

 private:
  absl::StatusOr<collective::Payload> encode(const compress::Codec& codec, uint64_t seed,
                                             std::span<const double> v);
  // This rank's payload, empty where it is silent; residual and sent follow.
  absl::StatusOr<collective::Payload> say(const compress::Codec& codec, const Message& message);
  // floats_ <- D(payload).
  absl::Status decode(const compress::Codec& codec, std::span<const uint8_t> payload);

  collective::Communicator& communicator_;
  collective::Star star_;
  std::vector<float> floats_;  // [d]
  uint64_t operations_ = 0;
  uint64_t digest_ = 0;
  Traffic traffic_;
  absl::Time last_word_ = absl::Now();
};

}  // namespace laconic::convex
