// Error feedback: what compression dropped is kept and added to the next message.
//
//   a = beta e + v;  send Q(a);  e' = a - D(Q(a))
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
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/codec.h"

namespace laconic::compress {

struct EncodedUpdate {
  std::vector<uint8_t> payload;
  double input_norm = 0;               // L2 of v
  double residual_norm = 0;            // L2 of e'
  double compression_error_ratio = 0;  // |D(Q(a)) - a|^2 / |a|^2, 0 when a = 0
};

// Owned by one thread. One exchange is a transaction: encode(), then commit() when the round is
// complete or rollback() when it was aborted; rollback restores the residual bit for bit.
class ErrorFeedback {
 public:
  // `codec` must outlive this object. decay: beta in 0..1. enabled = false: e stays zero.
  ErrorFeedback(const Codec& codec, bool enabled, double decay);

  // v: [d] f32. With feedback off, a = v and residual_norm is 0.
  // Errors: those of Codec::encode; FailedPrecondition if an exchange is open. No exchange is open
  // after an error.
  absl::StatusOr<EncodedUpdate> encode(std::span<const float> v);
  // Close the exchange. Without an open one they do nothing.
  void commit();
  void rollback();

  std::span<const float> residual() const { return residual_; }
  // Restores a checkpointed residual. Errors: InvalidArgument on a wrong length, a NaN or an
  // infinity; FailedPrecondition if an exchange is open.
  absl::Status set_residual(std::span<const float> residual);

 private:
  const Codec& codec_;
  const bool enabled_;
  const float decay_;
  std::vector<float> residual_;  // e, [d]
  std::vector<float> pending_;   // e' of the open exchange, [d]
  bool open_ = false;
};

}  // namespace laconic::compress
