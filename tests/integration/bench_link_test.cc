// `laconic bench link`, and jobs that leave the exchange to the planner, through the real path.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include "tests/integration/cluster.h"

namespace laconic::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

google::protobuf::Struct json_of(const std::string& text) {
  google::protobuf::Struct json;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &json);
  EXPECT_TRUE(status.ok()) << status.ToString() << text;
  return json;
}

TEST(BenchLinkTest, ShowsEveryWayOnTheWorkersOfAServerAndLeavesNoJob) {
  Cluster cluster({1, 1, 1});
  const std::filesystem::path file = cluster.directory() / "job.yaml";
  testing::write_file(file, job_yaml(cluster.data(), {.workers = 3}));
  const testing::Ended table = cluster.laconic({"bench", "link", "-f", file.string()});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("3 ranks, 1,108 parameters; slowest link: "));
  EXPECT_THAT(table.out, HasSubstr("\n*  "));
  for (const char* word : {"float32", "int8", "int4", "top-k 1 %", "sharded", "over budget"}) {
    EXPECT_THAT(table.out, HasSubstr(word));
  }
  EXPECT_THAT(cluster.laconic({"list"}).out, Not(HasSubstr("small")));

  const testing::Ended json = cluster.laconic(
      {"bench", "link", "-f", file.string(), "--ranks", "2", "--error-budget", "2", "-o", "json"});
  ASSERT_EQ(json.exit_code, 0) << json.err;
  const auto data = json_of(json.out).fields().at("data").struct_value();
  EXPECT_EQ(data.fields().at("ranks").number_value(), 2);
  const auto exchange = data.fields().at("exchange").struct_value();
  const auto plan = exchange.fields().at("plan").struct_value();
  EXPECT_GT(plan.fields().at("bytes_per_second").number_value(), 0);
  int chosen = 0;
  for (const auto& way : plan.fields().at("ways").list_value().values()) {
    const auto& fields = way.struct_value().fields();
    EXPECT_TRUE(fields.at("within_budget").bool_value());
    chosen += fields.at("chosen").bool_value() ? 1 : 0;
  }
  EXPECT_EQ(chosen, 1);
}

TEST(BenchLinkTest, LocalMeasuresWithoutAServerAndOneRankSendsNothing) {
  Cluster cluster({});
  const std::filesystem::path file = cluster.directory() / "job.yaml";
  testing::write_file(file, job_yaml(cluster.data(), {.workers = 2}));
  const testing::Ended two = cluster.laconic({"bench", "link", "-f", file.string(), "--local"});
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_THAT(two.out, HasSubstr("2 ranks"));
  const testing::Ended one =
      cluster.laconic({"bench", "link", "-f", file.string(), "--local", "--ranks", "1"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_THAT(one.out, HasSubstr("one rank: nothing is sent"));
}

TEST(BenchLinkTest, NeitherAPresetNorAutoLeavesAWayOut) {
  Cluster cluster({2});
  const std::filesystem::path file = cluster.directory() / "job.yaml";
  testing::write_file(file, job_yaml(cluster.data(), {.workers = 2}));
  for (const std::vector<std::string>& settings :
       {std::vector<std::string>{"spec.preset=LACONIC", "spec.exchange={local: {rounds: 2}}"},
        std::vector<std::string>{"spec.exchange={auto: {bytes: 1000000}}"}}) {
    std::vector<std::string> words = {"bench", "link", "-f", file.string()};
    for (const std::string& setting : settings) {
      words.insert(words.end(), {"--set", setting});
    }
    const testing::Ended table = cluster.laconic(words);
    ASSERT_EQ(table.exit_code, 0) << table.err;
    for (const char* word : {"all_gather", "sharded", "ring", "float32", "int4"}) {
      EXPECT_THAT(table.out, HasSubstr(word));
    }
  }
}

TEST(BenchLinkTest, MeasurementThatFailsIsAFailedJobThatStays) {
  Cluster cluster({2});
  const std::filesystem::path file = cluster.directory() / "job.yaml";
  testing::write_file(file, job_yaml(cluster.data(), {.workers = 2}));
  const testing::Ended ended =
      cluster.laconic({"bench", "link", "-f", file.string(), "--set",
                       "spec.data.idx.train_images=/nowhere/train-images"});
  EXPECT_EQ(ended.exit_code, 1) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("/nowhere/train-images"));
  EXPECT_THAT(cluster.laconic({"list", "--state", "FAILED"}).out, HasSubstr("small-link"));
}

TEST(AutoJobTest, EventsStatusAndReportSayWhatWasChosenAndHowAlikeTheRanksAre) {
  Cluster cluster({2});
  const std::string id =
      cluster.submit({.workers = 2, .exchange = "{auto: {wait: 0.5}, round_deadline: 20s}"});
  ASSERT_EQ(cluster.watch_until_final(id).state(), v1::SUCCEEDED);
  const std::string events = cluster.laconic({"events", id}).out;
  EXPECT_THAT(events, HasSubstr("METHOD_CHOSEN"));
  EXPECT_THAT(events, HasSubstr("SIMILARITY_MEASURED"));
  const std::string status = cluster.laconic({"status", id}).out;
  EXPECT_THAT(status, HasSubstr("of the time is waiting (allowed: 50 %)"));
  EXPECT_THAT(status, HasSubstr("ranks differ"));
  const std::string out = (cluster.directory() / "report").string();
  ASSERT_EQ(cluster.laconic({"report", id, "--out", out}).exit_code, 0);
  const auto report = json_of(testing::read_file(out + "/report.json"));
  EXPECT_GT(report.fields().at("similarity").list_value().values_size(), 0);
  EXPECT_THAT(report.fields().at("exchange").struct_value().fields().at("method").string_value(),
              HasSubstr("a rank sends"));
}

TEST(PlannedJobTest, EventsStatusAndReportSayWhatWasTaken) {
  Cluster cluster({2});
  const std::string id = cluster.submit(
      {.workers = 2,
       .exchange = "{dense: {}, compressor: {auto: {}}, lanes: 2, round_deadline: 20s}"});
  ASSERT_EQ(cluster.watch_until_final(id).state(), v1::SUCCEEDED);
  EXPECT_THAT(cluster.laconic({"events", id}).out, HasSubstr("PLAN_CHOSEN"));
  EXPECT_THAT(cluster.laconic({"status", id}).out, HasSubstr("float32 by all_gather, chosen for"));
  const std::string out = (cluster.directory() / "report").string();
  ASSERT_EQ(cluster.laconic({"report", id, "--out", out}).exit_code, 0);
  const auto report = json_of(testing::read_file(out + "/report.json"));
  const auto exchange = report.fields().at("exchange").struct_value();
  EXPECT_EQ(exchange.fields().at("codec").string_value(), "float32");
  EXPECT_GT(
      exchange.fields().at("plan").struct_value().fields().at("ways").list_value().values_size(),
      4);
}

}  // namespace
}  // namespace laconic::integration
