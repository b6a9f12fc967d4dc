#include "common/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"

namespace laconic::metrics {
namespace {

// 12 buckets from a millisecond (one fsync) to ten minutes (a wait in the queue).
const prometheus::Histogram::BucketBoundaries& seconds_buckets() {
  static const prometheus::Histogram::BucketBoundaries buckets = {
      0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600};
  return buckets;
}

using SeriesKey = std::pair<const Metric*, Metrics::Labels>;

}  // namespace

struct Metrics::Impl {
  template <typename T>
  struct Table {
    std::map<const Metric*, prometheus::Family<T>*> families;
    std::map<SeriesKey, T*> series;
  };

  mutable std::mutex mutex;  // guards the tables
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  Table<prometheus::Gauge> gauges;
  Table<prometheus::Counter> counters;
  Table<prometheus::Histogram> histograms;
  std::unique_ptr<prometheus::Exposer> exposer;

  // The series, made on first use: Family::Add is slow, so its result is kept.
  template <typename T, typename... Args>
  T& at(Table<T>& table, const Metric& metric, const Labels& values, const Args&... args) {
    if (values.size() != metric.label_count() || table.families.count(&metric) == 0) {
      std::abort();  // A caller that names labels wrongly would corrupt the page.
    }
    const auto [it, is_new] = table.series.try_emplace({&metric, values}, nullptr);
    if (is_new) {
      prometheus::Labels labels;
      for (size_t i = 0; i < values.size(); ++i) {
        labels[metric.labels[i]] = values[i];
      }
      it->second = &table.families.at(&metric)->Add(labels, args...);
    }
    return *it->second;
  }

  template <typename T>
  static void remove_job(Table<T>& table, const std::string& job_id) {
    for (auto it = table.series.begin(); it != table.series.end();) {
      const auto& [metric, values] = it->first;
      const bool is_of_job = metric->label_count() > 0 &&
                             std::string(metric->labels[0]) == "job_id" && values[0] == job_id;
      if (is_of_job) {
        table.families.at(metric)->Remove(it->second);
      }
      it = is_of_job ? table.series.erase(it) : std::next(it);
    }
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  for (const Metric* metric : kMetrics) {
    switch (metric->kind) {
      case Kind::kGauge:
        impl_->gauges.families[metric] = &prometheus::BuildGauge()
                                              .Name(metric->name)
                                              .Help(metric->help)
                                              .Register(*impl_->registry);
        break;
      case Kind::kCounter:
        impl_->counters.families[metric] = &prometheus::BuildCounter()
                                                .Name(metric->name)
                                                .Help(metric->help)
                                                .Register(*impl_->registry);
        break;
      case Kind::kHistogram:
        impl_->histograms.families[metric] = &prometheus::BuildHistogram()
                                                  .Name(metric->name)
                                                  .Help(metric->help)
                                                  .Register(*impl_->registry);
        break;
    }
  }
}

Metrics::~Metrics() = default;

void Metrics::set(const Metric& metric, const Labels& labels, double value) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->at(impl_->gauges, metric, labels).Set(value);
}

void Metrics::add(const Metric& metric, const Labels& labels, double value) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->at(impl_->counters, metric, labels).Increment(value);
}

void Metrics::raise_to(const Metric& metric, const Labels& labels, double value) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  prometheus::Counter& counter = impl_->at(impl_->counters, metric, labels);
  counter.Increment(std::max(0.0, value - counter.Value()));
}

void Metrics::observe(const Metric& metric, const Labels& labels, double value, int64_t count) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  const prometheus::Histogram::BucketBoundaries& ends = seconds_buckets();
  prometheus::Histogram& histogram = impl_->at(impl_->histograms, metric, labels, ends);
  std::vector<double> increments(ends.size() + 1, 0.0);
  const auto bucket = std::lower_bound(ends.begin(), ends.end(), value) - ends.begin();
  increments[static_cast<size_t>(bucket)] = static_cast<double>(count);
  histogram.ObserveMultiple(increments, value * static_cast<double>(count));
}

void Metrics::remove_job(const std::string& job_id) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  Impl::remove_job(impl_->gauges, job_id);
  Impl::remove_job(impl_->counters, job_id);
  Impl::remove_job(impl_->histograms, job_id);
}

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry->Collect());
}

int64_t Metrics::series() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return static_cast<int64_t>(impl_->gauges.series.size() + impl_->counters.series.size() +
                              impl_->histograms.series.size());
}

absl::StatusOr<std::string> Metrics::serve(const std::string& address) {
  if (impl_->exposer != nullptr) {
    return absl::FailedPreconditionError("the metrics are already served");
  }
  try {  // prometheus-cpp throws; nothing else of laconic sees that.
    impl_->exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/2);
    impl_->exposer->RegisterCollectable(impl_->registry);
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("--metrics-listen ", address, ": cannot listen: ",
                                               error.what(), "; give a free port, 0 takes any"));
  }
  const std::vector<int> ports = impl_->exposer->GetListeningPorts();
  if (ports.empty()) {
    return absl::UnavailableError(absl::StrCat("--metrics-listen ", address, ": no port is open"));
  }
  return absl::StrCat(address.substr(0, address.rfind(':')), ":", ports[0]);
}

}  // namespace laconic::metrics
