#include "common/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "tests/testing/paths.h"
#include "tests/testing/status_matchers.h"

namespace laconic::metrics {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsTest, CounterWithAnAbsoluteSourceNeverGoesBack) {
  Metrics metrics;
  metrics.raise_to(kRoundsTotal, {"a", "synced"}, 10);
  metrics.raise_to(kRoundsTotal, {"a", "synced"}, 4);
  EXPECT_THAT(metrics.text(),
              HasSubstr("laconic_rounds_total{job_id=\"a\",outcome=\"synced\"} 10"));
}

TEST(MetricsTest, RemovedJobLeavesNoSeriesAndOthersStay) {
  Metrics metrics;
  metrics.set(kJobStep, {"a"}, 1);
  metrics.set(kJobStep, {"b"}, 2);
  metrics.add(kRoundsTotal, {"a", "synced"}, 1);
  metrics.observe(kRoundSeconds, {"a", "compute"}, 0.5);
  metrics.remove_job("a");
  EXPECT_THAT(metrics.text(), Not(HasSubstr("job_id=\"a\"")));
  EXPECT_THAT(metrics.text(), HasSubstr("laconic_job_step{job_id=\"b\"} 2"));
  metrics.set(kJobStep, {"a"}, 3);
  EXPECT_THAT(metrics.text(), HasSubstr("laconic_job_step{job_id=\"a\"} 3"));
}

TEST(MetricsTest, ManyObservationsOfOneValueKeepTheExactSum) {
  Metrics metrics;
  metrics.observe(kRoundSeconds, {"a", "compute"}, 0.25, 8);
  EXPECT_THAT(metrics.text(),
              HasSubstr("laconic_round_seconds_sum{job_id=\"a\",phase=\"compute\"} 2"));
  EXPECT_THAT(metrics.text(),
              HasSubstr("laconic_round_seconds_count{job_id=\"a\",phase=\"compute\"} 8"));
}

TEST(MetricsTest, NamesFollowPrometheusAndAreUnique) {
  std::set<std::string> names;
  for (const Metric* metric : kMetrics) {
    const std::string name = metric->name;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(name.rfind("laconic_", 0), 0u) << name;
    const bool total = name.size() > 6 && name.substr(name.size() - 6) == "_total";
    EXPECT_EQ(total, metric->kind == Kind::kCounter) << name;
    for (size_t i = 0; i < metric->label_count(); ++i) {
      EXPECT_STRNE(metric->labels[i], "job") << name;
      EXPECT_STRNE(metric->labels[i], "instance") << name;
    }
  }
}

TEST(MetricsTest, EveryMetricStandsInTheDocs) {
  std::ifstream file(testing::source_dir() + "/docs/metrics.md");
  std::stringstream docs;
  docs << file.rdbuf();
  for (const Metric* metric : kMetrics) {
    EXPECT_THAT(docs.str(), HasSubstr(std::string("`") + metric->name));
  }
}

TEST(MetricsTest, FleetOfFiftyJobsWithSixtyFourWorkersStaysWithinTheSeriesLimit) {
  constexpr int64_t kSeriesMax = 40'000;
  Metrics metrics;
  for (int job = 0; job < 50; ++job) {
    const std::string id = std::to_string(job);
    for (int worker = 0; worker < 64; ++worker) {
      const std::string name = std::to_string(worker);
      metrics.set(kWorkerUp, {id, name}, 1);
      metrics.set(kWorkerStep, {id, name}, 1);
      metrics.set(kWorkerHeartbeatAgeSeconds, {id, name}, 1);
      metrics.raise_to(kWorkerWireBytesTotal, {id, name, "sent"}, 1);
      metrics.raise_to(kWorkerWireBytesTotal, {id, name, "received"}, 1);
    }
  }
  EXPECT_LT(metrics.series(), kSeriesMax / 2);
}

TEST(MetricsTest, ServesOnAFreePortAndRefusesATakenOne) {
  Metrics metrics;
  ASSERT_OK_AND_ASSIGN(const std::string address, metrics.serve("127.0.0.1:0"));
  EXPECT_THAT(address, Not(HasSubstr(":0")));
  EXPECT_THAT(metrics.serve("127.0.0.1:0"), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  Metrics second;
  EXPECT_THAT(second.serve(address), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
}

}  // namespace
}  // namespace laconic::metrics
