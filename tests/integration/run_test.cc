// `laconic run`: the whole path on one machine, as a new user takes it.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <csignal>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/cluster.h"

namespace laconic::integration {
namespace {

using ::testing::HasSubstr;

class RunTest : public ::testing::Test {
 protected:
  RunTest() { write_idx_data(data_, 512); }

  ~RunTest() override {
    EXPECT_TRUE(testing::wait_until_gone(kMarkName, mark_, absl::Seconds(10)).empty())
        << "processes are left";
  }

  std::string out() const { return (directory_.path() / "out").string(); }

  std::string job_file(const JobOptions& options) {
    const std::filesystem::path file = directory_.path() / "job.yaml";
    testing::write_file(file, job_yaml(data_, options));
    return file.string();
  }

  std::vector<std::string> command(const JobOptions& options) {
    return {binary("laconic"), "run", "-f", job_file(options), "--out", out()};
  }

  testing::Ended run(const JobOptions& options) {
    return testing::run_program(command(options), absl::Seconds(120), {{kMarkName, mark_}});
  }

  // False if fewer than `count` trainers run after a minute.
  bool trainers_start(size_t count) const {
    const absl::Time give_up = absl::Now() + absl::Minutes(1);
    while (trainers_with(mark_).size() < count && absl::Now() < give_up) {
      std::this_thread::yield();
    }
    return trainers_with(mark_).size() >= count;
  }

  google::protobuf::Struct report() {
    google::protobuf::Struct json;
    const auto status = google::protobuf::util::JsonStringToMessage(
        testing::read_file(out() + "/report.json"), &json);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return json;
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_.path() / "data";
  std::string mark_ = new_mark();
};

void expect_equal_digests(const google::protobuf::Struct& report, int world_size) {
  const auto& digests = report.fields().at("digests").list_value().values();
  ASSERT_EQ(digests.size(), world_size);
  std::set<std::string> different;
  for (const auto& digest : digests) {
    different.insert(digest.string_value());
  }
  EXPECT_EQ(different.size(), 1u);
  EXPECT_EQ(different.begin()->size(), 16u);
}

TEST_F(RunTest, ThreeWorkersLearnAndAgreeAndSayLess) {
  const testing::Ended ended = run({.workers = 3, .steps = 200});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const google::protobuf::Struct json = report();
  const auto& fields = json.fields();
  EXPECT_EQ(fields.at("schema_version").number_value(), 1);
  EXPECT_EQ(fields.at("result").string_value(), "SUCCEEDED");
  EXPECT_EQ(fields.at("world_size").number_value(), 3);
  EXPECT_EQ(fields.at("steps").number_value(), 200);
  EXPECT_EQ(fields.at("rounds").number_value(), 50);
  // mlp 64-16-4: 64*16 + 16 + 16*4 + 4.
  EXPECT_EQ(fields.at("parameters").number_value(), 1108);
  expect_equal_digests(json, 3);
  const auto& final = fields.at("final").struct_value().fields();
  EXPECT_GE(final.at("eval_accuracy").number_value(), 0.95);
  const auto& bytes = fields.at("bytes").struct_value().fields();
  EXPECT_EQ(bytes.at("sent_per_worker").list_value().values_size(), 3);
  EXPECT_NEAR(bytes.at("dense_equivalent_per_worker").number_value(), 2.0 * 2 / 3 * 4 * 1108 * 200,
              1);
  EXPECT_GE(bytes.at("times_less").number_value(), 20);
  EXPECT_GE(fields.at("history").list_value().values_size(), 10);
  EXPECT_TRUE(std::filesystem::exists(out() + "/model.safetensors"));
  const std::string html = testing::read_file(out() + "/report.html");
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, ::testing::Not(HasSubstr("http-equiv")));
}

TEST_F(RunTest, OneWorkerTrainsWithoutSendingAByte) {
  const testing::Ended ended = run({.workers = 1, .steps = 20});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const google::protobuf::Struct json = report();
  expect_equal_digests(json, 1);
  const auto& bytes = json.fields().at("bytes").struct_value().fields();
  EXPECT_EQ(bytes.at("sent_per_worker").list_value().values(0).number_value(), 0);
  EXPECT_EQ(bytes.at("times_less").number_value(), 0);
}

TEST_F(RunTest, NineWorkersAgree) {
  const testing::Ended ended = run({.workers = 9, .steps = 12});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  expect_equal_digests(report(), 9);
}

TEST_F(RunTest, DenseExchangeSendsAsMuchAsTheDenseRing) {
  const testing::Ended ended = run({.workers = 2,
                                    .steps = 20,
                                    .model = "mlp: {hidden: [512]}",
                                    .exchange = "{dense: {}, round_deadline: 20s}"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const google::protobuf::Struct json = report();
  expect_equal_digests(json, 2);
  // One initial broadcast and the headers come on top.
  const double times_less =
      json.fields().at("bytes").struct_value().fields().at("times_less").number_value();
  EXPECT_GE(times_less, 0.90);
  EXPECT_LE(times_less, 1.0);
}

// Every round is in the report, with its reason, for every method that decides.
TEST_F(RunTest, EveryMethodRunsAndSaysWhatItsRoundsDecided) {
  for (const char* exchange :
       {"lazy: {threshold: 2}, compressor: {quantize: {bits: 4}}",
        "lazy: {rule: LAQ, inner_steps: 3}, compressor: {quantize: {bits: 8}}",
        "ef21: {}, compressor: {top_k: {density: 0.05}}", "power_sgd: {rank: 2, dense_steps: 4}",
        "demo: {momentum: 0.9}", "local: {inner_steps: 7}"}) {
    SCOPED_TRACE(exchange);
    const testing::Ended ended =
        run({.workers = 2,
             .steps = 40,
             .exchange = absl::StrCat("{", exchange, ", round_deadline: 20s}")});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
    const google::protobuf::Struct json = report();
    expect_equal_digests(json, 2);
    const auto& decisions = json.fields().at("decisions").struct_value().fields();
    double rounds = 0;
    for (const auto& entry : decisions.at("of_rank_0").list_value().values()) {
      const auto& fields = entry.struct_value().fields();
      EXPECT_EQ(fields.at("first_round").number_value(), rounds + 1);
      rounds += fields.at("rounds").number_value();
      EXPECT_EQ(fields.at("sent").bool_value(),
                fields.at("reason").string_value() != "SMALL_CHANGE");
    }
    EXPECT_EQ(rounds, json.fields().at("rounds").number_value());
    EXPECT_EQ(decisions.at("per_worker").list_value().values_size(), 2);
    EXPECT_THAT(testing::read_file(out() + "/report.html"), HasSubstr("<h2>Rounds</h2>"));
  }
}

TEST_F(RunTest, TopKWithErrorFeedbackLearns) {
  const testing::Ended ended =
      run({.workers = 2,
           .steps = 200,
           .exchange = "{local: {inner_steps: 4}, compressor: {top_k: {density: 0.05, "
                       "value_bits: 4}}, round_deadline: 20s}"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const auto json = report();
  EXPECT_GE(json.fields().at("final").struct_value().fields().at("eval_accuracy").number_value(),
            0.9);
}

TEST_F(RunTest, TwiceInTheSameDirectoryGivesTheSameModel) {
  ASSERT_EQ(run({}).exit_code, 0);
  const std::string first = testing::read_file(out() + "/model.safetensors");
  ASSERT_EQ(run({}).exit_code, 0);
  // Not EXPECT_EQ, which would print both.
  EXPECT_TRUE(testing::read_file(out() + "/model.safetensors") == first);
}

TEST_F(RunTest, OutDirectoryMayHaveSpacesInItsPath) {
  const std::filesystem::path out = directory_.path() / "my runs" / " first one ";
  const testing::Ended ended =
      testing::run_program({binary("laconic"), "run", "-f", job_file({}), "--out", out.string()},
                           absl::Seconds(120), {{kMarkName, mark_}});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr((out / "report.html").string()));
  for (const char* name : {"model.safetensors", "report.html", "report.json"}) {
    EXPECT_TRUE(std::filesystem::exists(out / name)) << name;
  }
}

TEST_F(RunTest, ProgressGoesToStandardErrorAndTheSummaryToStandardOutput) {
  const testing::Ended ended = run({});
  EXPECT_THAT(ended.err, HasSubstr("sent "));
  EXPECT_THAT(ended.out, HasSubstr("less"));
  EXPECT_THAT(ended.out, HasSubstr("report.html"));
}

TEST_F(RunTest, InterruptedRunLeavesNothingBehind) {
  testing::ChildProcess child(command({.steps = 100'000'000}), {{kMarkName, mark_}});
  ASSERT_TRUE(trainers_start(2)) << child.err();
  child.kill(SIGINT);
  const auto ended = child.wait(absl::Seconds(15));
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->exit_code, 130) << ended->err;
}

// In any phase: here before its server and worker run, or hardly.
TEST_F(RunTest, RunThatIsInterruptedAtItsBeginLeavesNothingBehind) {
  testing::ChildProcess child(command({.steps = 100'000'000}), {{kMarkName, mark_}});
  ASSERT_TRUE(testing::wait_for_file(out(), absl::Seconds(20)));
  child.kill(SIGINT);
  const auto ended = child.wait(absl::Seconds(15));
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->exit_code, 130) << ended->err;
}

// Killed once it had made no more than its directory, it would leave nothing whatever it did.
TEST_F(RunTest, KilledRunTakesServerWorkerAndTrainersWithIt) {
  testing::ChildProcess child(command({.steps = 100'000'000}), {{kMarkName, mark_}});
  ASSERT_TRUE(trainers_start(2)) << child.err();
  EXPECT_GE(testing::processes_with(kMarkName, mark_).size(), 5u)
      << "run, server, worker, trainers";
  child.kill(SIGKILL);
  child.wait(absl::Seconds(10));
  // The fixture's destructor checks that nothing is left within 10 s.
}

}  // namespace
}  // namespace laconic::integration
