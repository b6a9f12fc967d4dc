// The values behind metric_table.h, and the page that Prometheus reads. The only user of
// prometheus-cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/metrics/metric_table.h"

namespace laconic::metrics {

// Thread-safe. Label values are given in the order of Metric::labels; a wrong count is a bug of
// the caller and stops the process.
class Metrics {
 public:
  using Labels = std::vector<std::string>;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Gauges.
  void set(const Metric& metric, const Labels& labels, double value);
  // Counters: adds `value` >= 0.
  void add(const Metric& metric, const Labels& labels, double value);
  // Counters with an absolute source: lifts to `value`, never lowers.
  void raise_to(const Metric& metric, const Labels& labels, double value);
  // Histograms: `count` observations of `value` each, in O(1).
  void observe(const Metric& metric, const Labels& labels, double value, int64_t count = 1);
  // Drops all series whose label job_id is `job_id`.
  void remove_job(const std::string& job_id);

  // The page, in Prometheus' text format.
  std::string text() const;
  int64_t series() const;

  // Serves text() at http://<address>/metrics until the object goes; returns "host:port" with the
  // port that was taken for 0.
  // Errors: Unavailable when the address cannot be listened on; FailedPrecondition when called
  // twice.
  absl::StatusOr<std::string> serve(const std::string& address);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace laconic::metrics
