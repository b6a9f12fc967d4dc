// Method `lazy`: as `dense` or `local`, but a rank sends only changes that matter.
//
//   g_i  gradient of rank i at every step, or drift theta - theta_i after H steps
//   v_i  what rank i is to send: v_i <- b v_i + (1 - b) g_i, v_i = g_i in the first round
//   h_i  what receivers hold of rank i, 0 at first    G = (1/P) sum_i h_i, kept by every rank
//
//   the rule (lazy_rule.h) says send:    h_i <- h_i + Q(v_i - h_i), whose bytes go to all
//                          says silence: h_i stays, one byte goes to all
//   every rank: G <- G + (1/P) sum over the senders, in rank order, of Q(v_i - h_i)
//   then the optimizer steps along G, or theta takes the outer step of local.h along G
//
// So a silent rank's last message counts again, and what it would have said is gone. With
// Silence::kCarry there is no h: e_i is what rank i owes, 0 at first, and
//
//   send:    Q(e_i + v_i) goes to all, e_i <- e_i + v_i - Q(e_i + v_i)
//   silence: e_i <- e_i + v_i
//   G = (1/P) sum over the senders of Q(e_i + v_i)
//
// so what was applied and what is owed make up all that was given, as with error feedback.
// G is equal on all ranks bit for bit; it is within
// one float32 rounding per round of the mean of the h_i. Nothing changes before all messages are
// there, so an aborted round leaves no trace, and a retry decides and sends the same.
// Sources: see lazy_rule.h; EF21 (compress/ef21.h) is the rule that always sends.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "common/compress/buffer_pool.h"
#include "common/compress/codec.h"
#include "common/compress/feedback.h"
#include "common/core/exchange_spec.h"
#include "common/sync/lazy_rule.h"
#include "common/sync/mean_exchange.h"
#include "common/sync/outer_step.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// Owned by one thread. Memory: 5 d floats, and 2 d more with drift.
//
// A message is 1 byte, 0 for silence, or 1 and the codec's payload.
class Lazy final : public SyncMethod {
 public:
  // exchange: without a codec.
  // Errors: InvalidArgument for a spec outside its ranges, or a codec that make_codec() refuses.
  static absl::StatusOr<std::unique_ptr<Lazy>> make(std::unique_ptr<MeanExchange> exchange,
                                                    const core::ExchangeSpec& spec,
                                                    const core::Layout& layout);

  absl::Status begin(ModelView view) override;
  absl::Status reduce_gradients(ModelView view) override;
  // An error leaves parameters, theta, momentum and counters as they were.
  absl::Status end_step(ModelView view, bool last) override;
  bool parameters_are_shared() const override { return since_round_ == 0; }
  uint64_t digest() const override { return exchange_->digest(); }
  SyncStats stats() const override { return exchange_->stats(); }

 protected:
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  // What this rank makes of a round before anything is sent.
  struct Message {
    std::shared_ptr<const core::ByteBuffer> bytes;
    RoundReason reason = RoundReason::kEveryRound;
    compress::EncodeState state;  // after it, if it is sent
    LazyEvidence evidence;
    double input = 0;  // |v|^2
  };

  Lazy(std::unique_ptr<MeanExchange> exchange, std::unique_ptr<compress::Codec> codec,
       const core::ExchangeSpec& spec);

  bool carries() const { return spec_.lazy.silence == core::Silence::kCarry; }
  bool drift() const { return spec_.lazy.inner_steps > 0; }
  // One round: G from the ranks' g.
  absl::Status round(std::span<const float> g);
  absl::StatusOr<Message> make_message(std::span<const float> g);
  // Adds up what the senders sent, in change_; how many they are.
  absl::StatusOr<int> add_up(const std::vector<collective::Payload>& messages);
  absl::Status commit(const Message& message, int senders);

  const std::unique_ptr<MeanExchange> exchange_;
  const std::unique_ptr<compress::Codec> codec_;
  const core::ExchangeSpec spec_;
  compress::BufferPool buffers_;
  compress::EncodeState state_;     // after the last message that was sent
  std::vector<float> value_;        // [d]: v after the last round
  std::vector<float> next_value_;   // [d]: v of the round under way
  std::vector<float> held_;         // [d]: h; carried: e
  std::vector<float> mean_;         // [d]: G
  std::vector<float> change_;       // [d]: v - h or e + v, then the sum of what was sent
  std::vector<float> owed_;         // [d] carried: e + v, else empty
  std::vector<float> theta_;        // [d] with drift, else empty
  OuterStep outer_;                 // likewise
  std::deque<float> mean_squares_;  // |G|^2, carried |v|^2, of the last kLaqRounds rounds
  float error_of_last_ = 0;
  int64_t age_ = 0;
  int64_t step_ = 0;         // Steps ended.
  int64_t since_round_ = 0;  // Of these, since the last round.
};

}  // namespace laconic::sync
