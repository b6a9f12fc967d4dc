#include "worker/trainer/run_meter.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "worker/trainer/similarity_probe.h"

namespace laconic::trainer {
namespace {

constexpr int64_t kPointsPerRun = 100;
constexpr int64_t kNewsPerRun = 10;
constexpr int64_t kSimilarityNewsPerRun = 20;
constexpr size_t kSimilarityMax = 1000;
constexpr absl::Duration kProgressInterval = absl::Milliseconds(500);

v1::ByteCounts to_proto(const RankBytes& bytes) {
  v1::ByteCounts result;
  result.set_sent(bytes.all.sent);
  result.set_received(bytes.all.received);
  result.set_payload_sent(bytes.all.payload_sent);
  result.set_payload_received(bytes.all.payload_received);
  result.set_sent_between_sites(bytes.between_sites.sent);
  result.set_received_between_sites(bytes.between_sites.received);
  return result;
}

collective::ByteCounts sum(collective::ByteCounts a, const collective::ByteCounts& b) {
  return a += b;
}

void log_point(const v1::HistoryPoint& point) {
  std::string evaluated;
  if (point.has_eval_loss()) {
    evaluated = absl::StrFormat(" eval_loss=%.4f", point.eval_loss());
  }
  if (point.has_eval_accuracy()) {
    absl::StrAppendFormat(&evaluated, " eval_accuracy=%.4f", point.eval_accuracy());
  }
  spdlog::info("step={} round={} train_loss={:.4f}{} sent_bytes={}", point.step(), point.round(),
               point.train_loss(), evaluated, point.sent_bytes());
}

}  // namespace

RankBytes rank_bytes(const collective::Transport& transport, int ranks_per_site) {
  RankBytes bytes = {.all = transport.bytes(), .between_sites = {}};
  if (ranks_per_site > 0) {
    bytes.between_sites = collective::bytes_between_sites(transport, ranks_per_site);
  }
  return bytes;
}

RunMeter::RunMeter(WorkerLink& link, int64_t steps, int64_t parameters,
                   const v1::ExchangeChoice& choice)
    : link_(link),
      steps_(steps),
      point_every_(std::max<int64_t>(1, steps / kPointsPerRun)),
      choice_(choice),
      start_(absl::Now()),
      next_progress_(start_),
      decisions_(parameters) {}

double RunMeter::seconds() const {
  return before_.seconds + absl::ToDoubleSeconds(absl::Now() - start_);
}

v1::PhaseSeconds RunMeter::phases(const sync::SyncStats& stats) const {
  const v1::PhaseSeconds& before = before_.phases;
  v1::PhaseSeconds result;
  result.set_compute(before.compute() + absl::ToDoubleSeconds(compute_));
  result.set_compress(before.compress() + stats.compress_seconds);
  result.set_exchange(before.exchange() + stats.exchange_seconds);
  result.set_decompress(before.decompress() + stats.decompress_seconds);
  result.set_evaluate(before.evaluate() + absl::ToDoubleSeconds(evaluate_));
  return result;
}

v1::ByteCounts RunMeter::byte_counts(const RankBytes& bytes) const {
  return to_proto({.all = sum(before_.bytes.all, bytes.all),
                   .between_sites = sum(before_.bytes.between_sites, bytes.between_sites)});
}

void RunMeter::send_progress(int64_t step, const sync::SyncStats& stats, const RankBytes& bytes) {
  v1::TrainerReport report;
  v1::Progress& progress = *report.mutable_progress();
  progress.set_step(step);
  progress.set_round(stats.rounds);
  progress.set_seconds(seconds());
  progress.set_train_loss(since_progress_.mean());
  *progress.mutable_bytes() = byte_counts(bytes);
  *progress.mutable_phases() = phases(stats);
  progress.set_residual_norm(stats.residual_norm);
  progress.set_pseudo_gradient_norm(stats.update_norm);
  progress.set_compression_error_ratio(stats.compression_error_ratio);
  if (!choice_.schedule().empty()) {
    *progress.mutable_exchange() = choice_;
  }
  for (const v1::RoundCount& count : decisions_.counts()) {
    *progress.add_decisions() = count;
  }
  if (!similarity_.empty()) {
    *progress.mutable_similarity() = similarity_.back();
  }
  if (convex_.has_value()) {
    *progress.mutable_convex() = *convex_;
  }
  link_.report(std::move(report));
  since_progress_ = {};
}

void RunMeter::started(int64_t steps_done, const RunTotals& before, const sync::SyncStats& stats,
                       const RankBytes& bytes) {
  before_ = before;
  decisions_.start(steps_done, stats.rounds, bytes.all.payload_sent);
}

RunTotals RunMeter::totals(const sync::SyncStats& stats, const RankBytes& bytes) const {
  return {.seconds = seconds(),
          .phases = phases(stats),
          .bytes = {.all = sum(before_.bytes.all, bytes.all),
                    .between_sites = sum(before_.bytes.between_sites, bytes.between_sites)}};
}

void RunMeter::tell_decisions() {
  const std::optional<std::string> news = decisions_.news();
  if (!news.has_value() || choice_.schedule().empty()) {
    return;
  }
  spdlog::info("{}", *news);
  link_.report_event("ROUNDS_DECIDED", *news);
}

void RunMeter::similarity_measured(const v1::SimilarityState& state) {
  const bool tells = !choice_.schedule().empty();
  if (!similarity_.empty() && (!tells || similarity_.size() >= kSimilarityMax)) {
    similarity_.pop_back();
  }
  similarity_.push_back(state);
  if (tells && state.step() >= next_similarity_told_) {
    next_similarity_told_ = state.step() + steps_ / kSimilarityNewsPerRun;
    const std::string sentence = similarity_sentence(state);
    spdlog::info("{}", sentence);
    link_.report_event("SIMILARITY_MEASURED", sentence);
  }
}

void RunMeter::step_done(const Step& step, const sync::SyncStats& stats, const RankBytes& bytes) {
  // A convex method's anchor worker tells its decisions itself.
  if (!convex_.has_value()) {
    decisions_.step_done(step.step, stats.rounds, bytes.all.payload_sent, stats.decision);
    if (step.step == steps_ || step.step % std::max<int64_t>(1, steps_ / kNewsPerRun) == 0) {
      tell_decisions();
    }
  }
  since_progress_.add(step.loss);
  since_point_.add(step.loss);
  const absl::Time now = absl::Now();
  if (now >= next_progress_) {
    next_progress_ = now + kProgressInterval;
    send_progress(step.step, stats, bytes);
  }
  if (!is_point(step)) {
    return;
  }
  v1::TrainerReport report;
  v1::HistoryPoint& point = *report.mutable_history();
  point.set_step(step.step);
  point.set_round(stats.rounds);
  point.set_seconds(seconds());
  point.set_sent_bytes(before_.bytes.all.sent + bytes.all.sent);
  point.set_train_loss(since_point_.mean());
  if (step.evaluation.has_value()) {
    point.set_eval_loss(step.evaluation->loss);
    if (step.evaluation->accuracy.has_value()) {
      point.set_eval_accuracy(*step.evaluation->accuracy);
    }
  }
  log_point(point);
  link_.report(std::move(report));
  last_interval_loss_ = since_point_.mean();
  since_point_ = {};
}

v1::Finished RunMeter::finished(int64_t steps, const std::optional<Evaluation>& evaluation,
                                const sync::SyncStats& stats, const RankBytes& bytes) const {
  v1::Finished result;
  result.set_steps(steps);
  result.set_rounds(stats.rounds);
  result.set_seconds(seconds());
  result.set_train_loss(last_interval_loss_);
  if (evaluation.has_value()) {
    result.set_eval_loss(evaluation->loss);
    if (evaluation->accuracy.has_value()) {
      result.set_eval_accuracy(*evaluation->accuracy);
    }
  }
  *result.mutable_bytes() = byte_counts(bytes);
  *result.mutable_phases() = phases(stats);
  for (const v1::RoundCount& count : decisions_.counts()) {
    *result.add_decisions() = count;
  }
  if (!choice_.schedule().empty()) {
    result.mutable_rounds_decided()->Add(decisions_.rounds().begin(), decisions_.rounds().end());
    result.mutable_similarity()->Add(similarity_.begin(), similarity_.end());
  }
  if (convex_.has_value()) {
    *result.mutable_convex() = *convex_;
  }
  return result;
}

void report_exchange(const v1::ExchangeChoice& choice, const collective::Transport& transport,
                     v1::Finished& finished) {
  if (!finished.has_bytes()) {
    *finished.mutable_bytes() = to_proto({.all = transport.bytes(), .between_sites = {}});
  }
  if (!choice.schedule().empty()) {
    *finished.mutable_exchange() = choice;
  }
  if (transport.world_size() > kPeerBytesRanksMax) {
    return;
  }
  for (int rank = 0; rank < transport.world_size(); ++rank) {
    *finished.add_peer_bytes() = to_proto({.all = transport.peer_bytes(rank), .between_sites = {}});
  }
}

}  // namespace laconic::trainer
