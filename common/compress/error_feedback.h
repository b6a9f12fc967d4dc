// Error feedback: what compression dropped is kept and added to the next message.
//
//   a = beta e + v;  send Q(a);  e' = a - D(Q(a))
//
// Conserved: sent + e' = beta e + v, in float32 arithmetic of exactly these operations.
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

  // v: [d] f32. Errors: those of Codec::encode; FailedPrecondition if an exchange is open.
  absl::StatusOr<EncodedUpdate> encode(std::span<const float> v);
  void commit();
  void rollback();

  std::span<const float> residual() const { return residual_; }
  // Restores a checkpointed residual. Errors: InvalidArgument on a wrong length.
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
