// What a report says about a job, as plain numbers.
//
// Symbols: P ranks, d parameters, s steps. Dense float32 ring all-reduce of d numbers:
// each rank sends 2 (P-1)/P * 4 d bytes per step.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/core/round_schedule.h"
#include "laconic/v1/control.pb.h"

namespace laconic::cli {

struct ReportPoint {
  int64_t step = 0;
  int64_t round = 0;
  double seconds = 0;  // since the first step began
  int64_t sent_bytes = 0;
  double train_loss = 0;  // may be NaN: the run diverged
  std::optional<double> eval_loss;
  std::optional<double> eval_accuracy;  // 0..1
};

// Seconds of one rank over the whole run, in the order of PhaseSeconds.
struct ReportPhases {
  double compute = 0, compress = 0, exchange = 0, decompress = 0, evaluate = 0;
  double total() const { return compute + compress + exchange + decompress + evaluate; }
};

struct ReportRank {
  int32_t rank = 0;
  std::string node;
  std::string state;  // "DONE"
  int64_t samples = 0;
  int64_t sent_bytes = 0;
  int64_t received_bytes = 0;
  int64_t sent_between_sites = 0;      // part of sent_bytes
  int64_t received_between_sites = 0;  // part of received_bytes
  int64_t payload_sent_bytes = 0;      // of sent_bytes, without frame headers
  int64_t payload_received_bytes = 0;  // of received_bytes
  std::vector<int64_t> sent_to_bytes;  // of sent_bytes, to each rank; empty: not known
  double train_loss = 0;
  std::vector<v1::RoundCount> decisions;  // rounds by what the rank did in them
  ReportPhases phases;
  std::string digest;  // 16 hex digits; empty: did not finish
};

struct ReportData {
  std::string result;   // "SUCCEEDED"
  std::string message;  // the server's sentence on the state
  std::string id;
  std::string name;
  std::string created;  // "2026-11-22 03:20:01 UTC"
  int32_t world_size = 0;
  int64_t parameters = 0;
  int64_t steps = 0;
  int64_t steps_wanted = 0;
  int64_t rounds = 0;
  core::RoundSchedule round_schedule;  // of steps_wanted steps
  bool rounds_vary = false;            // their lengths were decided on the way, not by the schedule
  double wall_seconds = 0;             // first step to last, slowest rank
  std::optional<double> train_loss;    // mean over ranks
  std::optional<double> eval_loss;
  std::optional<double> eval_accuracy;
  int64_t sent_bytes_max = 0;
  int32_t ranks_per_site = 0;  // 0: the job knows no sites
  int64_t sent_between_sites_max = 0;
  // False with exchange.convex: an iteration has several rounds, and a dense all-reduce for each
  // would be no training that anybody runs. Then the next two are 0.
  bool compared_with_dense = true;
  int64_t dense_equivalent_bytes = 0;
  double times_less = 0;
  bool digests_equal = false;  // every rank finished and all digests are the same
  std::vector<ReportPoint> history;
  std::vector<ReportRank> ranks;
  std::vector<v1::RoundDecision> rounds_decided;  // by rank 0, in order; empty: did not finish
  std::vector<std::string> files;
  v1::ExchangeChoice exchange;                  // no schedule: not known
  std::optional<v1::ConvexState> convex;        // of exchange.convex
  std::vector<v1::SimilarityState> similarity;  // measured by all ranks, in order
  std::string job_file;                         // YAML
};

// 2 (P-1)/P * 4 * d * s, rounded to a whole byte; 0 for one rank.
int64_t dense_equivalent_bytes(int32_t world_size, int64_t parameters, int64_t steps);

// dense / sent; 0 for one rank or when nothing was sent.
double times_less(int32_t world_size, int64_t dense_bytes, int64_t sent_bytes_max);

// Everything a report needs, also of a job that failed or still runs: numbers that are not known
// yet come from the newest progress, or stay unset.
ReportData report_data(const v1::Job& job);

// The job as a YAML job file that `laconic submit` takes.
std::string job_yaml(const v1::TrainJob& job);

}  // namespace laconic::cli
