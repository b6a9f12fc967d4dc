#include "server/job_metrics.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/core/version.h"
#include "common/wire/reporter.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

constexpr const char* kQueue = "default";
constexpr const char* kPool = "default";
constexpr const char* kLink = "lan";  // Of a job that knows no sites.
constexpr const char* kInsideSite = "inside_site";
constexpr const char* kBetweenSites = "between_sites";
constexpr v1::JobState kStates[] = {v1::QUEUED,    v1::STARTING,  v1::RUNNING, v1::CANCELLING,
                                    v1::CANCELLED, v1::SUCCEEDED, v1::FAILED};
constexpr const char* kPendingReasons[] = {kNoWorkers,      kNotEnoughSlots,     kSlotsBusy,
                                           kBehindOtherJob, kReservationExpired, kSubmitted};

// Counts of a rank so far; its last report holds them all.
v1::ByteCounts bytes_of(const v1::Rank& rank) {
  return rank.has_finished() ? rank.finished().bytes() : rank.progress().bytes();
}
int64_t steps_of(const v1::Rank& rank) {
  return rank.has_finished() ? rank.finished().steps() : rank.progress().step();
}
int64_t rounds_of(const v1::Rank& rank) {
  return rank.has_finished() ? rank.finished().rounds() : rank.progress().round();
}

// As reported last; step 0: nothing was measured.
v1::SimilarityState last_similarity(const v1::Job& job) {
  if (job.ranks().empty()) {
    return {};
  }
  const v1::Rank& first = wire::reporter(job);
  return first.finished().similarity().empty() ? first.progress().similarity()
                                               : *first.finished().similarity().rbegin();
}

// What a trainer may put into a label: one word or a few, nothing that a broken one could make
// grow.
bool is_label(const std::string& text) {
  constexpr size_t kLabelMax = 40;
  return !text.empty() && text.size() <= kLabelMax &&
         std::all_of(text.begin(), text.end(),
                     [](char letter) { return letter >= ' ' && letter <= '~'; });
}

}  // namespace

void JobMetrics::set_service(bool insecure) {
  metrics_.set(metrics::kBuildInfo, {core::kVersion}, 1);
  metrics_.set(metrics::kInsecure, {}, insecure ? 1 : 0);
  metrics_.add(metrics::kJobsSubmittedTotal, {kQueue}, 0);
  metrics_.add(metrics::kReservationsExpiredTotal, {}, 0);
  metrics_.add(metrics::kLogDroppedBytesTotal, {}, 0);
}

void JobMetrics::handled(const std::string& method, const std::string& code) {
  metrics_.add(metrics::kRpcServerHandledTotal, {method, code}, 1);
}

void JobMetrics::submitted() {
  metrics_.add(metrics::kJobsSubmittedTotal, {kQueue}, 1);
}

void JobMetrics::store_transaction(const std::string& op, double seconds) {
  metrics_.observe(metrics::kStoreTxnSeconds, {op}, seconds);
}

void JobMetrics::set_store(int64_t size_bytes, int64_t log_dropped_bytes) {
  metrics_.set(metrics::kStoreSizeBytes, {}, static_cast<double>(size_bytes));
  metrics_.raise_to(metrics::kLogDroppedBytesTotal, {}, static_cast<double>(log_dropped_bytes));
}

void JobMetrics::count(const Coordinator& coordinator, const Effects& effects) {
  for (const std::string& id : effects.finished) {
    if (const JobRecord* record = coordinator.find(id)) {
      metrics_.add(metrics::kJobsFinishedTotal,
                   {kQueue, v1::JobState_Name(record->job.state()), record->job.reason()}, 1);
    }
  }
  for (const absl::Duration wait : effects.queue_waits) {
    metrics_.observe(metrics::kQueueWaitSeconds, {kQueue}, absl::ToDoubleSeconds(wait));
  }
  if (effects.reservations_expired > 0) {
    metrics_.add(metrics::kReservationsExpiredTotal, {},
                 static_cast<double>(effects.reservations_expired));
  }
}

void JobMetrics::refresh_totals(const Coordinator& coordinator, size_t sessions, size_t streams,
                                absl::Time now) {
  metrics_.set(metrics::kSessions, {"worker"}, static_cast<double>(sessions));
  metrics_.set(metrics::kSessions, {"watch"}, static_cast<double>(streams));
  set_jobs(coordinator);
  set_nodes(coordinator);
  for (const auto& [id, record] : coordinator.jobs()) {
    const bool final = is_final(record.job.state());
    const bool old =
        final && now - from_proto(record.job.finish_time()) > limits_.metrics_retention;
    if (old) {
      if (exported_.count(id) > 0) {
        remove(id);
      }
      continue;
    }
    if (!final || changed_.count(id) > 0 || exported_.count(id) == 0) {
      exported_.insert(id);
      set_job(record);
      set_learning(record);
      set_exchange(record);
      set_workers(record, coordinator, now);
    }
  }
  for (const std::string& id : std::set<std::string>(exported_)) {
    if (coordinator.find(id) == nullptr) {
      remove(id);  // Deleted.
    }
  }
  changed_.clear();
}

void JobMetrics::remove(const std::string& id) {
  metrics_.remove_job(id);
  exported_.erase(id);
  seen_.erase(id);
  named_.erase(id);
}

void JobMetrics::set_jobs(const Coordinator& coordinator) {
  std::map<v1::JobState, int> states;
  std::map<std::string, int> reasons;
  for (const char* reason : kPendingReasons) {
    reasons[reason] = 0;
  }
  for (const auto& [id, record] : coordinator.jobs()) {
    ++states[record.job.state()];
    if (record.job.state() == v1::QUEUED) {
      ++reasons[record.job.reason()];
    }
  }
  for (const v1::JobState state : kStates) {
    metrics_.set(metrics::kJobs, {v1::JobState_Name(state)}, states[state]);
  }
  for (const auto& [reason, count] : reasons) {
    metrics_.set(metrics::kPendingJobs, {kQueue, reason}, count);
  }
  const int inadmissible = reasons[kNotEnoughSlots] + reasons[kNoWorkers];
  metrics_.set(metrics::kQueueDepth, {kQueue, "inadmissible"}, inadmissible);
  metrics_.set(metrics::kQueueDepth, {kQueue, "active"}, states[v1::QUEUED] - inadmissible);
}

void JobMetrics::set_nodes(const Coordinator& coordinator) {
  int64_t live = 0;
  int64_t unreachable = 0;
  int64_t total = 0;
  int64_t used = 0;
  int64_t lost = 0;
  for (const auto& [name, node] : coordinator.membership().nodes()) {
    (node.live() ? live : unreachable) += 1;
    (node.live() ? total : lost) += node.slots;
    used += node.live() ? static_cast<int64_t>(node.tasks.size()) : 0;
  }
  metrics_.set(metrics::kNodes, {"LIVE"}, static_cast<double>(live));
  metrics_.set(metrics::kNodes, {"UNREACHABLE"}, static_cast<double>(unreachable));
  metrics_.set(metrics::kSlots, {kPool, "total"}, static_cast<double>(total));
  metrics_.set(metrics::kSlots, {kPool, "used"}, static_cast<double>(used));
  metrics_.set(metrics::kSlots, {kPool, "lost"}, static_cast<double>(lost));
}

void JobMetrics::set_job(const JobRecord& record) {
  const v1::Job& job = record.job;
  metrics_.set(metrics::kJobInfo, {job.id(), job.job().metadata().name(), kQueue}, 1);
  for (const v1::JobState state : kStates) {
    metrics_.set(metrics::kJobState, {job.id(), v1::JobState_Name(state)},
                 state == job.state() ? 1 : 0);
  }
  metrics_.set(metrics::kJobGeneration, {job.id()}, static_cast<double>(job.generation()));
  int64_t step = job.ranks().empty() ? 0 : INT64_MAX;
  double seconds = 0;
  for (const v1::Rank& rank : job.ranks()) {
    if (steps_of(rank) < step) {
      step = steps_of(rank);
      seconds = rank.progress().seconds();
    }
  }
  const int64_t steps = std::max<int64_t>(1, job.job().spec().train().steps());
  metrics_.set(metrics::kJobStep, {job.id()}, static_cast<double>(step));
  metrics_.set(metrics::kJobProgressRatio, {job.id()},
               static_cast<double>(step) / static_cast<double>(steps));
  if (step > 0 && !is_final(job.state())) {
    metrics_.set(metrics::kJobEtaSeconds, {job.id()},
                 seconds * static_cast<double>(steps - step) / static_cast<double>(step));
  } else if (is_final(job.state())) {
    metrics_.set(metrics::kJobEtaSeconds, {job.id()}, 0);
  }
}

void JobMetrics::set_learning(const JobRecord& record) {
  const v1::Job& job = record.job;
  double loss = 0;
  int ranks = 0;
  for (const v1::Rank& rank : job.ranks()) {
    if (rank.has_progress() || rank.has_finished()) {
      loss += rank.has_finished() ? rank.finished().train_loss() : rank.progress().train_loss();
      ++ranks;
    }
  }
  if (ranks > 0) {
    metrics_.set(metrics::kJobLoss, {job.id(), "train"}, loss / ranks);
  }
  for (const v1::HistoryPoint& point : job.history()) {
    if (point.has_eval_loss()) {
      metrics_.set(metrics::kJobLoss, {job.id(), "val"}, point.eval_loss());
    }
    if (point.has_eval_accuracy()) {
      metrics_.set(metrics::kJobMetric, {job.id(), "accuracy"}, point.eval_accuracy());
    }
  }
  if (ranks == 0) {
    return;
  }
  const v1::Finished& finished = wire::reporter(job).finished();
  if (finished.has_eval_loss()) {
    metrics_.set(metrics::kJobLoss, {job.id(), "val"}, finished.eval_loss());
  }
  if (finished.has_eval_accuracy()) {
    metrics_.set(metrics::kJobMetric, {job.id(), "accuracy"}, finished.eval_accuracy());
  }
}

void JobMetrics::set_exchange(const JobRecord& record) {
  const v1::Job& job = record.job;
  if (job.ranks().empty()) {
    return;
  }
  double sent = 0;
  double received = 0;
  double sent_between = 0;
  double received_between = 0;
  double payload_sent = 0;
  double payload_received = 0;
  double dense = 0;
  int64_t rounds = 0;
  const double world = job.ranks_size();
  for (const v1::Rank& rank : job.ranks()) {
    sent += static_cast<double>(bytes_of(rank).sent());
    received += static_cast<double>(bytes_of(rank).received());
    sent_between += static_cast<double>(bytes_of(rank).sent_between_sites());
    received_between += static_cast<double>(bytes_of(rank).received_between_sites());
    payload_sent += static_cast<double>(bytes_of(rank).payload_sent());
    payload_received += static_cast<double>(bytes_of(rank).payload_received());
    rounds = std::max(rounds, rounds_of(rank));
    // A ring all-reduce of d floats moves 2 (P-1)/P 4 d bytes out of, and into, each rank.
    dense += 2.0 * (world - 1.0) / world * 4.0 * static_cast<double>(rank.hello().parameters()) *
             static_cast<double>(steps_of(rank));
  }
  const int32_t ranks_per_site = job.job().spec().exchange().ranks_per_site();
  if (ranks_per_site > 0) {
    // In a ring in rank order only the last rank of a site sends to another site.
    const double dense_between = ranks_per_site < job.ranks_size() ? dense / ranks_per_site : 0;
    set_link(job.id(), kBetweenSites, {sent_between, received_between, dense_between});
    set_link(job.id(), kInsideSite,
             {sent - sent_between, received - received_between, dense - dense_between});
  } else {
    set_link(job.id(), kLink, {sent, received, dense});
    metrics_.raise_to(metrics::kExchangePayloadBytesTotal, {job.id(), kLink, "sent"}, payload_sent);
    metrics_.raise_to(metrics::kExchangePayloadBytesTotal, {job.id(), kLink, "received"},
                      payload_received);
  }
  metrics_.raise_to(metrics::kRoundsTotal, {job.id(), "synced"}, static_cast<double>(rounds));
  set_decisions(job);
  const v1::Rank& first = wire::reporter(job);
  if (!first.has_progress() && !first.has_finished()) {
    return;
  }
  name_exchange(job);
  const v1::Progress& progress = first.progress();
  metrics_.set(metrics::kResidualNorm, {job.id()}, progress.residual_norm());
  metrics_.set(metrics::kGradientNorm, {job.id()}, progress.pseudo_gradient_norm());
  metrics_.set(metrics::kCompressionErrorRatio, {job.id()}, progress.compression_error_ratio());
  set_similarity(job);
  set_convex(job);
  v1::Progress last = progress;
  if (first.has_finished()) {
    last.set_round(first.finished().rounds());
    *last.mutable_phases() = first.finished().phases();
  }
  observe_rounds(job.id(), job.generation(), last);
}

void JobMetrics::set_decisions(const v1::Job& job) {
  std::map<v1::RoundReason, int64_t> rounds;
  for (const v1::Rank& rank : job.ranks()) {
    const auto& counts =
        rank.has_finished() ? rank.finished().decisions() : rank.progress().decisions();
    for (const v1::RoundCount& count : counts) {
      if (v1::RoundReason_IsValid(count.reason()) &&
          count.reason() != v1::ROUND_REASON_UNSPECIFIED) {
        rounds[count.reason()] += std::max<int64_t>(0, count.rounds());
      }
    }
  }
  for (const auto& [reason, count] : rounds) {
    metrics_.raise_to(
        metrics::kRoundDecisionsTotal,
        {job.id(), reason == v1::SMALL_CHANGE ? "silent" : "sent", v1::RoundReason_Name(reason)},
        static_cast<double>(count));
  }
}

void JobMetrics::set_similarity(const v1::Job& job) {
  const v1::SimilarityState last = last_similarity(job);
  if (last.step() > 0) {
    metrics_.set(metrics::kSimilarity, {job.id()}, last.delta_rms());
    metrics_.set(metrics::kSmoothness, {job.id()}, last.smoothness());
  }
}

void JobMetrics::set_convex(const v1::Job& job) {
  const v1::Rank& first = wire::reporter(job);
  if (!first.progress().has_convex() && !first.finished().has_convex()) {
    return;
  }
  const v1::ConvexState& state =
      first.has_finished() ? first.finished().convex() : first.progress().convex();
  // After the last iteration: progress may be half a second old.
  metrics_.set(metrics::kGradientNorm, {job.id()}, state.gradient_norm());
  if (state.similarity() > 0) {
    metrics_.set(metrics::kSimilarity, {job.id()}, state.similarity());
  }
  metrics_.raise_to(metrics::kMessagesTotal, {job.id(), "sent"},
                    static_cast<double>(state.messages()));
  metrics_.raise_to(metrics::kMessagesTotal, {job.id(), "skipped"},
                    static_cast<double>(state.skipped_messages()));
}

void JobMetrics::set_link(const std::string& id, const std::string& link, const LinkBytes& bytes) {
  metrics_.raise_to(metrics::kExchangeWireBytesTotal, {id, link, "sent"}, bytes.sent);
  metrics_.raise_to(metrics::kExchangeWireBytesTotal, {id, link, "received"}, bytes.received);
  metrics_.raise_to(metrics::kExchangeDenseBytesTotal, {id, link, "sent"}, bytes.dense);
  metrics_.raise_to(metrics::kExchangeDenseBytesTotal, {id, link, "received"}, bytes.dense);
}

// Once a job: a trainer that said something else each time would make series without end.
void JobMetrics::name_exchange(const v1::Job& job) {
  const v1::Rank& first = wire::reporter(job);
  const v1::ExchangeChoice& exchange =
      first.finished().has_exchange() ? first.finished().exchange() : first.progress().exchange();
  if (is_label(exchange.schedule()) && is_label(exchange.codec()) &&
      named_.insert(job.id()).second) {
    metrics_.set(metrics::kExchangeInfo, {job.id(), exchange.schedule(), exchange.codec()}, 1);
  }
}

void JobMetrics::observe_rounds(const std::string& id, uint64_t generation,
                                const v1::Progress& progress) {
  Seen& seen = seen_[id];
  if (seen.generation != generation) {
    seen = Seen();
    seen.generation = generation;
  }
  const int64_t rounds = progress.round() - seen.rounds;
  if (rounds <= 0) {
    return;
  }
  const v1::PhaseSeconds& now = progress.phases();
  const std::pair<const char*, double> phases[] = {
      {"compute", now.compute() - seen.phases.compute()},
      {"compress", now.compress() - seen.phases.compress()},
      {"exchange", now.exchange() - seen.phases.exchange()},
      {"decompress", now.decompress() - seen.phases.decompress()},
      {"evaluate", now.evaluate() - seen.phases.evaluate()}};
  for (const auto& [phase, seconds] : phases) {
    metrics_.observe(metrics::kRoundSeconds, {id, phase},
                     std::max(0.0, seconds) / static_cast<double>(rounds), rounds);
  }
  seen.rounds = progress.round();
  seen.phases = now;
}

void JobMetrics::set_workers(const JobRecord& record, const Coordinator& coordinator,
                             absl::Time now) {
  const v1::Job& job = record.job;
  const auto deltas = last_similarity(job).deltas();
  int live = 0;
  int suspect = 0;
  for (int32_t rank = 0; rank < job.ranks_size(); ++rank) {
    const v1::Rank& r = job.ranks(rank);
    const bool gone = record.tasks[static_cast<size_t>(rank)].gone;
    const bool reachable = coordinator.membership().live(r.node());
    live += !gone && reachable ? 1 : 0;
    suspect += !gone && !reachable ? 1 : 0;
    if (job.ranks_size() > kWorkersShownMax) {
      continue;
    }
    const std::string worker = absl::StrCat(rank);
    metrics_.set(metrics::kWorkerUp, {job.id(), worker}, !gone && reachable ? 1 : 0);
    metrics_.set(metrics::kWorkerStep, {job.id(), worker}, static_cast<double>(steps_of(r)));
    metrics_.raise_to(metrics::kWorkerWireBytesTotal, {job.id(), worker, "sent"},
                      static_cast<double>(bytes_of(r).sent()));
    metrics_.raise_to(metrics::kWorkerWireBytesTotal, {job.id(), worker, "received"},
                      static_cast<double>(bytes_of(r).received()));
    if (rank < deltas.size()) {
      metrics_.set(metrics::kWorkerSimilarity, {job.id(), worker}, deltas[rank]);
    }
    const auto& nodes = coordinator.membership().nodes();
    if (const auto node = nodes.find(r.node()); node != nodes.end() && !gone) {
      metrics_.set(metrics::kWorkerHeartbeatAgeSeconds, {job.id(), worker},
                   absl::ToDoubleSeconds(now - node->second.last_seen));
    }
  }
  metrics_.set(metrics::kJobWorkers, {job.id(), "desired"}, record.world_size());
  metrics_.set(metrics::kJobWorkers, {job.id(), "live"}, live);
  metrics_.set(metrics::kJobWorkers, {job.id(), "suspect"}, suspect);
}

}  // namespace laconic::server
