// Error feedback: what compression dropped is kept and added to the next message.
//
//   a = beta e + v;  send Q(a);  e' = a - D(Q(a))
//
// One vector is kept: e, then a while an exchange is open, then e' or, after an abort, a itself, so
// nothing that was to be sent is ever lost and no second copy is needed.
//
// Conserved, in float32 with one rounding per operation and no fused multiply-add:
//   always            e' == a - D(Q(a)) bit for bit, with D(Q(a)) decoded from the bytes sent
//   none, quantize in 8 or 4 bits, top-k with 32-bit or 8-bit values
//                     D(Q(a)) + e' == a, because a - D is exact (Sterbenz); elements
//                     that top-k leaves out: with every value code, because D = 0
//   1 and 2 bits, top-k with 4-bit or 2-bit values
//                     D(Q(a)) + e' differs from a by at most one rounding of a - D, 2^-24 of the
//                     larger of |a| and |D|
// Source: Seide et al., Interspeech 2014; Stich, Cordonnier, Jaggi, NeurIPS 2018 (sparse);
// the decay beta: SparseLoCo, arXiv 2508.15706.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/buffer_pool.h"
#include "common/compress/feedback.h"

namespace laconic::compress {

// Owned by one thread. One exchange is a transaction: encode(), then commit() when the round is
// complete or rollback() when it was aborted.
class ErrorFeedback final : public Feedback {
 public:
  // `codec` must outlive this object. decay: beta in 0..1. enabled = false: e stays zero.
  ErrorFeedback(const Codec& codec, bool enabled, double decay);

  // Adds v to what is owed and encodes it. The payload stays as it is for as long as the caller
  // holds it; held no longer, its memory is used again.
  //
  //   v     [d] f32. After rollback() the same v again: it is in `a` already and is not added
  //   twice,
  //         and the payload has the same bytes.
  //   seed  of the round, equal on all ranks
  //
  // Errors: those of Codec::encode_sum, and the residual is unspecified then; FailedPrecondition if
  // an exchange is open. No exchange is open after an error.
  absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> encode(std::span<const float> v,
                                                                 uint64_t seed) override;
  // With seed 0.
  absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> encode(std::span<const float> v) {
    return encode(v, /*seed=*/0);
  }

  // Close the exchange. commit: residual() is e'. rollback: residual() is a, which still is owed.
  // Without an open one they do nothing (commit returns zeros).
  // Errors of commit: Internal if our own payload does not decode.
  absl::StatusOr<FeedbackNorms> commit() override;
  void rollback() override;
  void take_owed(float factor, std::span<float> sum) override;
  double owed_sum() const override;
  void save(core::StateWriter& writer) const override;
  absl::Status restore(core::StateReader& reader) override;

  // e, or a after a rollback.
  std::span<const float> residual() const { return residual_; }
  // Restores a checkpointed residual. Errors: InvalidArgument on a wrong length, a NaN or an
  // infinity; FailedPrecondition if an exchange is open.
  absl::Status set_residual(std::span<const float> residual);

 private:
  const Codec& codec_;
  const bool enabled_;
  const float decay_;
  std::vector<float> residual_;  // [d]: e, or a
  BufferPool buffers_;
  std::shared_ptr<const core::ByteBuffer> payload_;  // of the open exchange
  EncodeState state_;                                // after the last committed exchange
  EncodeState next_;                                 // after the open one
  FeedbackNorms norms_;                              // of the open one
  double owed_norm_ = 0;                             // |a|^2 of the open one
  bool open_ = false;
  bool owed_ = false;  // residual_ is an a that was rolled back
};

}  // namespace laconic::compress
