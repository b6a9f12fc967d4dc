// EF21: the sender remembers what receivers hold of it, and sends what changed since.
//
//   v_i  what rank i is to send    h_i  what receivers hold of rank i, 0 at first    P  ranks
//
//   send Q(v_i - h_i);  h_i <- h_i + D(Q(v_i - h_i));  every rank: H <- H + (1/P) sum_i D(...)
//
// H, the mean of the h_i, takes the place of the mean of the v_i. Where the v_i settle, the
// differences vanish, and with them the error of any contractive Q, also when ranks want different
// things: with error_feedback.h and a constant step the error stays proportional to |v_i|.
// Nothing changes before commit(), so a rollback has nothing to restore.
// H is kept by whoever adds up (sync/mean_exchange.h); in float32 it stays within one rounding per
// round of the mean of the h_i.
// Source: Richtarik, Sokolov, Fatkhullin, "EF21: A New, Simpler, Theoretically Better, and
// Practically Faster Error Feedback", NeurIPS 2021, algorithm 2.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/compress/buffer_pool.h"
#include "common/compress/feedback.h"

namespace laconic::compress {

// Memory: 8 d bytes.
class Ef21 final : public Feedback {
 public:
  // `codec` must outlive this object.
  explicit Ef21(const Codec& codec);

  absl::StatusOr<std::shared_ptr<const core::ByteBuffer>> encode(std::span<const float> v,
                                                                 uint64_t seed) override;
  // Norms: residual is |v - h| after, owed |v - h| before the exchange.
  absl::StatusOr<FeedbackNorms> commit() override;
  void rollback() override;
  // Of v - h after the last committed exchange.
  void take_owed(float factor, std::span<float> sum) override;
  double owed_sum() const override;
  void save(core::StateWriter& writer) const override;
  absl::Status restore(core::StateReader& reader) override;

  // h, [d].
  std::span<const float> held() const { return held_; }

 private:
  const Codec& codec_;
  std::vector<float> held_;        // [d]: h
  std::vector<float> difference_;  // [d]: v - h
  BufferPool buffers_;
  std::shared_ptr<const core::ByteBuffer> payload_;  // of the open exchange
  EncodeState state_;                                // after the last committed exchange
  EncodeState next_state_;                           // after the open one
  FeedbackNorms norms_;                              // of the open one
  bool open_ = false;
};

}  // namespace laconic::compress
