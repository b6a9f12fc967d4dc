// What the coordinator knows, as metrics. Values of a job come from its trainers' absolute counts,
// so they do not jump back when laconic-server is started again.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "common/metrics/metrics.h"
#include "server/coordinator.h"
#include "server/limits.h"

namespace laconic::server {

// handled() may be called from any thread, the rest is for the engine's thread.
class JobMetrics {
 public:
  // Jobs with more ranks have no series per worker.
  static constexpr int kWorkersShownMax = 64;

  JobMetrics(metrics::Metrics& metrics, const Limits& limits)
      : metrics_(metrics), limits_(limits) {}

  void set_service(bool insecure);
  // A call was answered; `code` as in gRPC ("OK", "NOT_FOUND").
  void handled(const std::string& method, const std::string& code);
  void submitted();
  void store_transaction(const std::string& op, double seconds);
  void set_store(int64_t size_bytes, int64_t log_dropped_bytes);
  // What a step counted.
  void count(const Coordinator& coordinator, const Effects& effects);
  // Remembers that the job's series are to be set; refresh_totals() sets them.
  void job_changed(const std::string& id) { changed_.insert(id); }
  // Totals over all jobs and nodes, and the series of changed jobs; drops those of jobs that
  // ended more than limits.metrics_retention ago. Once a second.
  void refresh_totals(const Coordinator& coordinator, size_t sessions, size_t streams,
                      absl::Time now);

 private:
  // What was seen of a rank, to turn sums into observations.
  struct Seen {
    uint64_t generation = 0;
    int64_t rounds = 0;
    v1::PhaseSeconds phases;
  };

  void set_jobs(const Coordinator& coordinator);
  void set_nodes(const Coordinator& coordinator);
  void set_job(const JobRecord& record);
  void set_learning(const JobRecord& record);
  void set_exchange(const JobRecord& record);
  // All ranks of a job, on one kind of link.
  struct LinkBytes {
    double sent = 0;
    double received = 0;
    double dense = 0;  // What a dense float32 ring would send there, and receive.
  };
  void set_decisions(const v1::Job& job);
  void set_link(const std::string& id, const std::string& link, const LinkBytes& bytes);
  void set_workers(const JobRecord& record, const Coordinator& coordinator, absl::Time now);
  void name_exchange(const v1::Job& job);
  void set_similarity(const v1::Job& job);
  void set_convex(const v1::Job& job);
  void observe_rounds(const std::string& id, uint64_t generation, const v1::Progress& progress);
  void remove(const std::string& id);

  metrics::Metrics& metrics_;
  const Limits limits_;
  std::set<std::string> changed_;
  std::set<std::string> exported_;
  std::set<std::string> named_;  // have kExchangeInfo
  std::map<std::string, Seen> seen_;
  std::set<std::string> shown_pending_;
};

}  // namespace laconic::server
