// Every metric of laconic: name, kind, help, labels. docs/metrics.md has one row for each.
//
// Labels are from small fixed sets, never an address and never `job` (Prometheus has its own).
#pragma once

#include <cstddef>

namespace laconic::metrics {

enum class Kind { kGauge, kCounter, kHistogram };

struct Metric {
  const char* name;
  Kind kind;
  const char* help;
  const char* labels[4] = {nullptr, nullptr, nullptr, nullptr};  // in order, rest null

  constexpr size_t label_count() const {
    size_t count = 0;
    while (count < 4 && labels[count] != nullptr) {
      ++count;
    }
    return count;
  }
};

// ---- Service
inline constexpr Metric kBuildInfo{
    "laconic_build_info", Kind::kGauge, "1, with the version of the process.", {"version"}};
inline constexpr Metric kInsecure{"laconic_insecure", Kind::kGauge,
                                  "1 when the server was started with --insecure."};
inline constexpr Metric kSessions{"laconic_sessions",
                                  Kind::kGauge,
                                  "Open streams: worker sessions, or watchers of jobs.",
                                  {"kind"}};
inline constexpr Metric kStoreTxnSeconds{
    "laconic_store_txn_seconds",
    Kind::kHistogram,
    "Time of one transaction: state changes, or notes (events and history alone).",
    {"op"}};
inline constexpr Metric kStoreSizeBytes{"laconic_store_size_bytes", Kind::kGauge,
                                        "Size of the database and its write-ahead log."};
inline constexpr Metric kLogDroppedBytesTotal{
    "laconic_log_dropped_bytes_total", Kind::kCounter,
    "Trainer output beyond the limit per log, not kept by the server."};
inline constexpr Metric kRpcServerHandledTotal{"laconic_rpc_server_handled_total",
                                               Kind::kCounter,
                                               "Calls answered, by gRPC code.",
                                               {"method", "code"}};

// ---- Scheduling
inline constexpr Metric kJobs{"laconic_jobs", Kind::kGauge, "Jobs in each state.", {"state"}};
inline constexpr Metric kJobsSubmittedTotal{
    "laconic_jobs_submitted_total", Kind::kCounter, "Jobs accepted by this process.", {"queue"}};
inline constexpr Metric kJobsFinishedTotal{"laconic_jobs_finished_total",
                                           Kind::kCounter,
                                           "Jobs that became final in this process.",
                                           {"queue", "result", "reason"}};
inline constexpr Metric kQueueDepth{"laconic_queue_depth",
                                    Kind::kGauge,
                                    "Waiting jobs: active ones fit the live nodes, inadmissible "
                                    "ones ask for more slots than exist.",
                                    {"queue", "status"}};
inline constexpr Metric kQueueWaitSeconds{"laconic_queue_wait_seconds",
                                          Kind::kHistogram,
                                          "Time from entering the queue to slots.",
                                          {"queue"}};
inline constexpr Metric kPendingJobs{
    "laconic_pending_jobs", Kind::kGauge, "Waiting jobs by reason.", {"queue", "reason"}};
inline constexpr Metric kReservationsExpiredTotal{
    "laconic_reservations_expired_total", Kind::kCounter,
    "Gangs given back because a worker did not confirm its task in time."};
inline constexpr Metric kSlots{"laconic_slots",
                               Kind::kGauge,
                               "Slots: total and used on live nodes, lost on unreachable ones.",
                               {"pool", "state"}};
inline constexpr Metric kNodes{"laconic_nodes", Kind::kGauge, "Nodes in each state.", {"state"}};

// ---- Job
inline constexpr Metric kJobInfo{
    "laconic_job_info", Kind::kGauge, "1, with the name of the job.", {"job_id", "name", "queue"}};
inline constexpr Metric kJobState{"laconic_job_state",
                                  Kind::kGauge,
                                  "1 for the state of the job, 0 for the others.",
                                  {"job_id", "state"}};
inline constexpr Metric kJobStep{
    "laconic_job_step", Kind::kGauge, "Optimizer steps done by the slowest rank.", {"job_id"}};
inline constexpr Metric kJobProgressRatio{"laconic_job_progress_ratio",
                                          Kind::kGauge,
                                          "Steps done over steps asked for, 0..1.",
                                          {"job_id"}};
inline constexpr Metric kJobEtaSeconds{"laconic_job_eta_seconds",
                                       Kind::kGauge,
                                       "Steps to go at the mean pace of the slowest rank so far.",
                                       {"job_id"}};
inline constexpr Metric kJobLoss{
    "laconic_job_loss",
    Kind::kGauge,
    "Newest loss: train is the mean over ranks, val is held-out data on rank 0.",
    {"job_id", "split"}};
inline constexpr Metric kJobMetric{"laconic_job_metric",
                                   Kind::kGauge,
                                   "Newest value of a measure of quality (accuracy: 0..1).",
                                   {"job_id", "name"}};
inline constexpr Metric kJobWorkers{
    "laconic_job_workers",
    Kind::kGauge,
    "Ranks: desired by the job, live and suspect (their node cannot be reached) ones.",
    {"job_id", "state"}};
inline constexpr Metric kJobGeneration{"laconic_job_generation",
                                       Kind::kGauge,
                                       "Membership version, 0 before the first start.",
                                       {"job_id"}};

// ---- Exchange
inline constexpr Metric kExchangeWireBytesTotal{"laconic_exchange_wire_bytes_total",
                                                Kind::kCounter,
                                                "Frame bytes of all ranks, as they report them.",
                                                {"job_id", "link", "direction"}};
inline constexpr Metric kExchangePayloadBytesTotal{
    "laconic_exchange_payload_bytes_total",
    Kind::kCounter,
    "Payload bytes of all ranks: frame bytes without their headers.",
    {"job_id", "link", "direction"}};
inline constexpr Metric kExchangeInfo{"laconic_exchange_info",
                                      Kind::kGauge,
                                      "1, with the schedule and the codec that the job runs with.",
                                      {"job_id", "schedule", "codec"}};
inline constexpr Metric kExchangeDenseBytesTotal{
    "laconic_exchange_dense_bytes_total",
    Kind::kCounter,
    "Bytes that a dense float32 ring all-reduce at every step would have moved.",
    {"job_id", "link", "direction"}};
inline constexpr Metric kRoundsTotal{
    "laconic_rounds_total", Kind::kCounter, "Exchanges done.", {"job_id", "outcome"}};
inline constexpr Metric kRoundDecisionsTotal{
    "laconic_round_decisions_total",
    Kind::kCounter,
    "Rounds of all ranks by what the rank did in them, and why: sent, or silent while the others "
    "used its last message again.",
    {"job_id", "outcome", "reason"}};
inline constexpr Metric kRoundSeconds{
    "laconic_round_seconds",
    Kind::kHistogram,
    "Seconds of each phase of a round on rank 0. The sum is exact; rounds between two reports "
    "count with their mean.",
    {"job_id", "phase"}};
inline constexpr Metric kResidualNorm{
    "laconic_residual_norm",
    Kind::kGauge,
    "L2 norm of what compression left unsent, rank 0, last round.",
    {"job_id"}};
inline constexpr Metric kGradientNorm{
    "laconic_gradient_norm",
    Kind::kGauge,
    "L2 norm of the gradient or drift that the last round was given, rank 0.",
    {"job_id"}};
inline constexpr Metric kCompressionErrorRatio{
    "laconic_compression_error_ratio",
    Kind::kGauge,
    "Squared error of the last round's compression over the squared norm, rank 0.",
    {"job_id"}};

inline constexpr Metric kSimilarity{
    "laconic_similarity_delta",
    Kind::kGauge,
    "How much the workers' Hessians differ (delta): as the last iteration of exchange.convex took "
    "it, or by exchange.similarity the root mean square over the workers.",
    {"job_id"}};
inline constexpr Metric kSmoothness{
    "laconic_smoothness",
    Kind::kGauge,
    "How much the mean loss of the workers curves (L), as exchange.similarity last measured it.",
    {"job_id"}};
inline constexpr Metric kMessagesTotal{
    "laconic_messages_total",
    Kind::kCounter,
    "Messages to the anchor worker of exchange.convex: sent, or skipped as not worth sending.",
    {"job_id", "outcome"}};

// ---- Worker (one per rank; jobs of more than 64 ranks have none)
inline constexpr Metric kWorkerUp{"laconic_worker_up",
                                  Kind::kGauge,
                                  "1 while the rank's process lives and its node can be reached.",
                                  {"job_id", "worker"}};
inline constexpr Metric kWorkerStep{
    "laconic_worker_step", Kind::kGauge, "Optimizer steps done by the rank.", {"job_id", "worker"}};
inline constexpr Metric kWorkerWireBytesTotal{"laconic_worker_wire_bytes_total",
                                              Kind::kCounter,
                                              "Frame bytes of the rank.",
                                              {"job_id", "worker", "direction"}};
inline constexpr Metric kWorkerSimilarity{
    "laconic_worker_similarity_delta",
    Kind::kGauge,
    "How much the Hessian of the rank's loss differs from the mean, as exchange.similarity last "
    "measured it.",
    {"job_id", "worker"}};
inline constexpr Metric kWorkerHeartbeatAgeSeconds{"laconic_worker_heartbeat_age_seconds",
                                                   Kind::kGauge,
                                                   "Time since the rank's node was last heard of.",
                                                   {"job_id", "worker"}};

inline constexpr const Metric* kMetrics[] = {&kBuildInfo,
                                             &kInsecure,
                                             &kSessions,
                                             &kStoreTxnSeconds,
                                             &kStoreSizeBytes,
                                             &kLogDroppedBytesTotal,
                                             &kRpcServerHandledTotal,
                                             &kJobs,
                                             &kJobsSubmittedTotal,
                                             &kJobsFinishedTotal,
                                             &kQueueDepth,
                                             &kQueueWaitSeconds,
                                             &kPendingJobs,
                                             &kReservationsExpiredTotal,
                                             &kSlots,
                                             &kNodes,
                                             &kJobInfo,
                                             &kJobState,
                                             &kJobStep,
                                             &kJobProgressRatio,
                                             &kJobEtaSeconds,
                                             &kJobLoss,
                                             &kJobMetric,
                                             &kJobWorkers,
                                             &kJobGeneration,
                                             &kExchangeWireBytesTotal,
                                             &kExchangePayloadBytesTotal,
                                             &kExchangeInfo,
                                             &kExchangeDenseBytesTotal,
                                             &kRoundsTotal,
                                             &kRoundDecisionsTotal,
                                             &kRoundSeconds,
                                             &kResidualNorm,
                                             &kGradientNorm,
                                             &kCompressionErrorRatio,
                                             &kSimilarity,
                                             &kSmoothness,
                                             &kMessagesTotal,
                                             &kWorkerUp,
                                             &kWorkerStep,
                                             &kWorkerWireBytesTotal,
                                             &kWorkerSimilarity,
                                             &kWorkerHeartbeatAgeSeconds};

}  // namespace laconic::metrics
