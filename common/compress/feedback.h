// What a sender does about what compression drops: the forms of error feedback behind one
// interface.
//
//   v  what is to be sent in a round, [d]    Q  encode    D  decode
//
//   ErrorFeedback  keeps e = a - D(Q(a)) and adds it to the next v (error_feedback.h)
//   HalfFeedback   the same with e in bfloat16 (half_feedback.h)
//   Ef21           keeps what receivers hold and sends the difference (ef21.h)
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "common/compress/codec.h"
#include "common/core/byte_buffer.h"
#include "common/core/state_bytes.h"

namespace laconic::compress {

// How much a committed exchange left out.
struct FeedbackNorms {
  double input = 0;                    // L2 of v
  double residual = 0;                 // L2 of what receivers still miss, 0 with feedback off
  double compression_error_ratio = 0;  // |D(Q(a)) - a|^2 / |a|^2, 0 when a = 0
  double owed = 0;                     // L2 of a: what was encoded
  double rounded = 0;                  // L2 of what a bfloat16 residual rounds away
};

// Owned by one thread. One exchange is a transaction: encode(), then commit() when the round is
// complete or rollback() when it was aborted.
class Feedback {
 public:
  virtual ~Feedback() = default;

  // Encodes v with what is owed. The payload stays as it is for as long as the caller holds it;
  // held no longer, its memory is used again.
  //
  //   v     [d] f32. After rollback() the same v again: the payload has the same bytes.
  //   seed  of the round, equal on all ranks
  //
  // Errors: those of Codec::encode_sum; FailedPrecondition if an exchange is open. No exchange is
  // open after an error.
  virtual absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> encode(std::span<const float> v,
                                                                         uint64_t seed) = 0;

  // Close the exchange. Without an open one they do nothing (commit returns zeros).
  // Errors of commit: Internal if our own payload does not decode.
  virtual absl::StatusOr<FeedbackNorms> commit() = 0;
  virtual void rollback() = 0;

  // Adds `factor` times what is owed to `sum` ([d]) and forgets it, for a caller that keeps it
  // elsewhere. EF21 has nothing to forget: h says what is missing. No exchange may be open.
  virtual void take_owed(float factor, std::span<float> sum) = 0;
  // Sum over the elements of what is owed when no exchange is open.
  virtual double owed_sum() const = 0;

  // What is kept from one exchange to the next; none may be open. Restored into an object made for
  // the same codec and options it goes on bit for bit.
  // Errors of restore: those of StateReader; then only another restore makes it usable again.
  virtual void save(core::StateWriter& writer) const = 0;
  virtual absl::Status restore(core::StateReader& reader) = 0;
};

// The part of an EncodeState that lives from one exchange to the next. Errors: as restore().
void save_state(const EncodeState& state, core::StateWriter& writer);
absl::Status restore_state(core::StateReader& reader, int64_t elements, EncodeState& state);

// Error feedback as a job asks for it.
//
//   codec    must outlive the object
//   enabled  false: nothing is kept
//   decay    beta, 0..1
//   half     the residual is bfloat16; no effect when not enabled
std::unique_ptr<Feedback> make_error_feedback(const Codec& codec, bool enabled, double decay,
                                              bool half);

}  // namespace laconic::compress
