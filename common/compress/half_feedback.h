// Error feedback (error_feedback.h) whose residual is bfloat16: 2 bytes per element between rounds
// instead of 4, and 4 while a round is open.
//
//   a = beta e + v;  send Q(a);  e' = bf16(a - D(Q(a))), to nearest, ties to even
//
// Conserved: D(Q(a)) + e' differs from a by one rounding to bfloat16 of a - D, at most 2^-8 of it
// (denormals apart), beside what error_feedback.h says. That part is lost, and
// FeedbackNorms::rounded says how much it is.
// e stays as it is while a round is open, so a rollback restores it exactly.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/compress/buffer_pool.h"
#include "common/compress/feedback.h"

namespace laconic::compress {

// The bfloat16 nearest to a finite x, ties to even, never an infinity; the sign is kept.
uint16_t to_signed_bf16(float x);

class HalfFeedback final : public Feedback {
 public:
  // `codec` must outlive this object. decay: beta in 0..1.
  HalfFeedback(const Codec& codec, double decay);

  // Memory of the call: 4 d bytes. The payload is decoded here, not in commit().
  absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> encode(std::span<const float> v,
                                                                 uint64_t seed) override;
  absl::StatusOr<FeedbackNorms> commit() override;
  void rollback() override;
  void take_owed(float factor, std::span<float> sum) override;
  double owed_sum() const override;
  void save(core::StateWriter& writer) const override;
  absl::Status restore(core::StateReader& reader) override;

  // e, the bits of bfloat16 numbers.
  std::span<const uint16_t> residual() const { return residual_; }

 private:
  void keep(std::span<const float> missed);

  const Codec& codec_;
  const float decay_;
  std::vector<uint16_t> residual_;  // [d]: e
  std::vector<uint16_t> next_;      // [d]: e' of the open exchange, else empty
  BufferPool buffers_;
  EncodeState state_;       // after the last committed exchange
  EncodeState next_state_;  // after the open one
  FeedbackNorms norms_;     // of the open one
  bool open_ = false;
};

}  // namespace laconic::compress
