// What a run reports while it goes: losses, phases, progress and the points of its curves.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/collective/transport.h"
#include "common/sync/sync_method.h"
#include "laconic/v1/trainer.pb.h"
#include "worker/trainer/decision_log.h"
#include "worker/trainer/worker_link.h"

namespace laconic::trainer {

struct Evaluation {
  double loss = 0;
  std::optional<double> accuracy;  // Unset: no classifier.
};

// Of one rank so far.
struct RankBytes {
  collective::ByteCounts all;
  collective::ByteCounts between_sites;  // Part of it; zeros where the job knows no sites.
};

// ranks_per_site: 0 where the job knows no sites.
RankBytes rank_bytes(const collective::Transport& transport, int ranks_per_site);

// What a run has cost up to a step, kept when it goes on from a checkpoint.
struct RunTotals {
  double seconds = 0;
  v1::PhaseSeconds phases;
  RankBytes bytes;
};

// Owned by one thread.
class RunMeter {
 public:
  // `link` must outlive this object. choice: stands in every progress report unless it is empty;
  // set by the rank alone that reports for all, which also tells what was decided: in events, at
  // most ten a run, and in the last report. The clock starts now.
  RunMeter(WorkerLink& link, int64_t steps, int64_t parameters, const v1::ExchangeChoice& choice);

  // Before the first step that this process takes. before: of the run up to there. What was
  // exchanged until now belongs to no round.
  void started(int64_t steps_done, const RunTotals& before, const sync::SyncStats& stats,
               const RankBytes& bytes);
  // Of the run so far, what came before started() included.
  RunTotals totals(const sync::SyncStats& stats, const RankBytes& bytes) const;

  // Runs `work` and counts its time as computing, or as evaluating.
  template <typename Work>
  auto compute(const Work& work) {
    const Stopwatch stopwatch(compute_);
    return work();
  }
  template <typename Work>
  auto evaluate(const Work& work) {
    const Stopwatch stopwatch(evaluate_);
    return work();
  }

  // Computing that was timed elsewhere, in all so far.
  void set_compute(absl::Duration total) { compute_ = total; }
  // How alike the ranks are: goes into all reports from now on, and the rank that reports for all
  // tells it, at most 20 times a run.
  void similarity_measured(const v1::SimilarityState& state);
  // How a convex method stands: goes into all reports from now on.
  void set_convex(const v1::ConvexState& state) { convex_ = state; }

  // Reports step 1, 2, .. : progress at most twice a second; a point of the curves at about 100
  // steps, the same on every rank, and where `evaluated` (whether or not this rank did it).
  struct Step {
    int64_t step = 0;
    double loss = 0;
    bool evaluated = false;
    std::optional<Evaluation> evaluation;
  };
  // True if step_done() makes a point of the curves of it.
  bool is_point(const Step& step) const { return step.evaluated || step.step % point_every_ == 0; }
  void step_done(const Step& step, const sync::SyncStats& stats, const RankBytes& bytes);

  // The last report, without digest, files and what report_exchange() adds. Evaluation is set by
  // the rank that reports for all.
  v1::Finished finished(int64_t steps, const std::optional<Evaluation>& evaluation,
                        const sync::SyncStats& stats, const RankBytes& bytes) const;

 private:
  class Stopwatch {
   public:
    explicit Stopwatch(absl::Duration& total) : total_(total), start_(absl::Now()) {}
    ~Stopwatch() { total_ += absl::Now() - start_; }

   private:
    absl::Duration& total_;
    const absl::Time start_;
  };

  // Mean of the losses added since it was last cleared.
  struct MeanLoss {
    double sum = 0;
    int64_t count = 0;
    double mean() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
    void add(double loss) { sum += loss, ++count; }
  };

  double seconds() const;
  v1::PhaseSeconds phases(const sync::SyncStats& stats) const;
  v1::ByteCounts byte_counts(const RankBytes& bytes) const;
  void send_progress(int64_t step, const sync::SyncStats& stats, const RankBytes& bytes);
  void tell_decisions();

  WorkerLink& link_;
  const int64_t steps_;
  const int64_t point_every_;
  const v1::ExchangeChoice choice_;
  RunTotals before_;
  const absl::Time start_;
  absl::Time next_progress_;
  absl::Duration compute_;
  absl::Duration evaluate_;
  MeanLoss since_progress_;
  MeanLoss since_point_;
  double last_interval_loss_ = 0;
  DecisionLog decisions_;
  std::vector<v1::SimilarityState>
      similarity_;  // The last one; those before it too where this rank reports for all.
  int64_t next_similarity_told_ = 0;  // A step.
  std::optional<v1::ConvexState> convex_;
};

// Worlds up to this size report the bytes of every pair of ranks.
inline constexpr int kPeerBytesRanksMax = 64;

// Adds to the last report what was sent and received per peer, in all where that is not set yet,
// and by which schedule and codec, unless `choice` is empty: on ranks that do not report for all.
void report_exchange(const v1::ExchangeChoice& choice, const collective::Transport& transport,
                     v1::Finished& finished);

}  // namespace laconic::trainer
