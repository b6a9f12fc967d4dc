// Method `local` with fragments: the model's parts are exchanged one after another, each every H
// steps, and while the bytes of one are on their way the ranks go on computing.
//
//   p  fragment, 1..F         t_p  floor(p H / F): it is sent after the steps t_p + n H
//   theta_p  what all ranks shared of it after its last round    theta_{i,p}  that of rank i now
//   tau  steps until what was sent at step t is applied, 0: at once
//
//   D_p = mean_i (theta_p - theta_{i,p}) as of step t
//   m_p <- mu m_p + D_p;  theta_p <- theta_p - eta (D_p + mu m_p)
//   at step t + tau: theta_{i,p} <- alpha theta_{i,p} + (1 - alpha) theta_p
//
// After the last step every fragment is sent once more and all ranks hold theta.
// Source: Douillard et al., "Streaming DiLoCo", arXiv 2501.18512, algorithm 2.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <vector>

#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "common/sync/mean_exchange.h"
#include "common/sync/outer_step.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// Owned by one thread; while an exchange is under way a thread of its own has the communicator.
class Streaming final : public SyncMethod {
 public:
  // Errors: InvalidArgument unless 1 <= fragments <= tensors, tau <= H / F, so that one exchange
  // ends before the next begins, and alpha is in 0..1; those of MeanExchange::make().
  static absl::StatusOr<std::unique_ptr<Streaming>> make(const core::ExchangeSpec& spec,
                                                         const core::Layout& layout,
                                                         collective::Communicator& communicator);
  ~Streaming() override;

  absl::Status begin(ModelView view) override;
  absl::Status reduce_gradients(ModelView view) override;
  absl::Status end_step(ModelView view, bool last) override;
  absl::Status settle() override;
  bool parameters_are_shared() const override { return ended_; }
  // Empty from a step that sends until the one that applies, so always if tau is H / F.
  std::span<float> shared_parameters() override;
  collective::OpTag next_tag() const override;
  uint64_t digest() const override { return digest_; }
  // A round is one of every fragment.
  SyncStats stats() const override { return stats_; }

 protected:
  // What is under way is part of the state once settle() has waited for it: FailedPrecondition
  // before.
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  struct Part {
    int64_t begin = 0;
    int64_t elements = 0;
    int64_t first_step = 0;  // t_p
    int64_t sent_step = 0;   // when it was sent last
    std::unique_ptr<MeanExchange> exchange;
  };
  // What is under way.
  struct Flight {
    size_t part;
    int64_t apply_step;
    std::future<absl::Status> done;  // taken by settle()
    absl::Status status;             // then what it was
  };

  Streaming(const core::ExchangeSpec& spec, int64_t elements);

  std::span<float> of(const Part& part, std::span<float> whole) const;
  bool is_due(const Part& part, int64_t step) const;
  absl::Status take_step(ModelView view);
  absl::Status take_turn(size_t part, ModelView view);
  absl::Status send(size_t part, ModelView view);
  absl::Status apply(ModelView view, double keep);
  absl::Status end_run(ModelView view);
  void take_stats();

  const int64_t steps_;        // S, 0: not known
  const int64_t inner_steps_;  // H
  const int64_t delay_steps_;  // tau
  const double keep_;          // alpha
  OuterStep outer_;
  std::vector<Part> parts_;
  std::vector<float> theta_;  // [d]
  std::vector<float> drift_;  // [d]; of the part under way, then its mean
  std::optional<Flight> flight_;
  int64_t step_ = 0;   // steps ended
  bool ended_ = true;  // all ranks hold theta
  uint64_t digest_ = 0;
  SyncStats stats_;
};

}  // namespace laconic::sync
