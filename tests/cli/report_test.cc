#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <limits>

#include "cli/progress.h"
#include "cli/report_data.h"
#include "cli/report_files.h"
#include "cli/report_html.h"
#include "cli/report_json.h"
#include "tests/cli/sample_job.h"
#include "tests/testing/status_matchers.h"

namespace laconic::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(ReportDataTest, DenseEquivalentIsThatOfARingAllReduce) {
  // 2 (4-1)/4 * 4 * 421642 * 700
  EXPECT_EQ(dense_equivalent_bytes(4, 421642, 700), 1770896400);
  EXPECT_EQ(dense_equivalent_bytes(3, 1, 1), 5);  // 16/3, rounded
  EXPECT_EQ(dense_equivalent_bytes(1, 421642, 700), 0);
}

TEST(ReportDataTest, TimesLessUsesTheWorkerThatSentMost) {
  const ReportData data = report_data(sample_job(4));
  EXPECT_EQ(data.sent_bytes_max, 3498003);
  EXPECT_DOUBLE_EQ(data.times_less, 1770896400.0 / 3498003.0);
  EXPECT_EQ(times_less(1, 100, 10), 0);
  EXPECT_EQ(times_less(4, 100, 0), 0);
}

TEST(ReportDataTest, DigestsAreEqualOnlyWhenEveryRankHasTheSame) {
  v1::Job job = sample_job(3);
  EXPECT_TRUE(report_data(job).digests_equal);
  job.mutable_ranks(2)->mutable_finished()->set_digest(1);
  EXPECT_FALSE(report_data(job).digests_equal);
  job.mutable_ranks(2)->clear_finished();
  EXPECT_FALSE(report_data(job).digests_equal);
  EXPECT_FALSE(report_data(v1::Job()).digests_equal);
}

TEST(ReportDataTest, FailedRunReportsItsProgress) {
  v1::Job job = sample_job(2);
  for (v1::Rank& rank : *job.mutable_ranks()) {
    rank.clear_finished();
    rank.mutable_progress()->set_step(120);
    rank.mutable_progress()->mutable_bytes()->set_sent(777);
  }
  const ReportData data = report_data(job);
  EXPECT_EQ(data.steps, 120);
  EXPECT_EQ(data.sent_bytes_max, 777);
}

TEST(ReportJsonTest, HoldsEveryFieldOfTheSchema) {
  const YAML::Node report = YAML::Load(report_json(report_data(sample_job(4))));
  EXPECT_EQ(report["schema_version"].as<int>(), 1);
  EXPECT_EQ(report["result"].as<std::string>(), "SUCCEEDED");
  EXPECT_EQ(report["job"].as<std::string>(), "fashion-mnist");
  EXPECT_EQ(report["world_size"].as<int>(), 4);
  EXPECT_EQ(report["parameters"].as<int>(), 421642);
  EXPECT_EQ(report["steps"].as<int>(), 700);
  EXPECT_EQ(report["rounds"].as<int>(), 22);
  EXPECT_DOUBLE_EQ(report["wall_seconds"].as<double>(), 101.5);
  EXPECT_NEAR(report["final"]["train_loss"].as<double>(), 0.23, 1e-12);
  EXPECT_DOUBLE_EQ(report["final"]["eval_accuracy"].as<double>(), 0.9144);
  EXPECT_EQ(report["bytes"]["sent_per_worker"].size(), 4U);
  EXPECT_EQ(report["bytes"]["received_per_worker"][3].as<int>(), 3498103);
  EXPECT_EQ(report["bytes"]["dense_equivalent_per_worker"].as<int64_t>(), 1770896400);
  EXPECT_GT(report["bytes"]["times_less"].as<double>(), 506);
  EXPECT_EQ(report["history"].size(), 44U);
  EXPECT_TRUE(report["history"][0]["eval_loss"].IsNull());
  EXPECT_EQ(report["digests"][0].as<std::string>(), "00c0ffee12345678");
}

TEST(ReportJsonTest, TellsWhatEveryRoundDecidedAndWhy) {
  v1::Job job = sample_job(2);
  EXPECT_EQ(YAML::Load(report_json(report_data(job)))["decisions"]["of_rank_0"].size(), 0U);
  EXPECT_THAT(report_html(report_data(job)), Not(HasSubstr("<h2>Rounds</h2>")));
  v1::Finished& finished = *job.mutable_ranks(0)->mutable_finished();
  for (const v1::RoundReason reason : {v1::CHANGED, v1::SMALL_CHANGE}) {
    v1::RoundCount& count = *finished.add_decisions();
    count.set_reason(reason);
    count.set_rounds(reason == v1::CHANGED ? 5 : 3);
    v1::RoundDecision& decision = *finished.add_rounds_decided();
    decision.set_first_round(reason == v1::CHANGED ? 1 : 6);
    decision.set_rounds(count.rounds());
    decision.set_step(reason == v1::CHANGED ? 10 : 16);
    decision.set_inner_steps(2);
    decision.set_reason(reason);
    decision.set_senders(1);
    decision.set_payload_bytes(421642);
  }
  const YAML::Node decisions = YAML::Load(report_json(report_data(job)))["decisions"];
  EXPECT_EQ(decisions["per_worker"][0]["CHANGED"].as<int>(), 5);
  EXPECT_EQ(decisions["per_worker"][1].size(), 0U);
  EXPECT_TRUE(decisions["of_rank_0"][0]["sent"].as<bool>());
  EXPECT_FALSE(decisions["of_rank_0"][1]["sent"].as<bool>());
  EXPECT_EQ(decisions["of_rank_0"][1]["first_round"].as<int>(), 6);
  EXPECT_EQ(decisions["of_rank_0"][1]["reason"].as<std::string>(), "SMALL_CHANGE");
  const std::string html = report_html(report_data(job));
  EXPECT_THAT(html, HasSubstr("Rank 0: 5 sent, the change matters; 3 silent, the change is small"));
  // 8 bits of 421,642 parameters in 5 rounds.
  EXPECT_THAT(html, HasSubstr("<td>1&ndash;5</td><td>10</td><td>2</td><td>sent, the change matters"
                              "</td><td>1 of 2</td><td>1.6</td>"));
}

TEST(ReportJsonTest, TellsHowAlikeTheRanksWereAndWhatWasChosen) {
  v1::Job job = sample_job(2);
  EXPECT_EQ(YAML::Load(report_json(report_data(job)))["similarity"].size(), 0U);
  EXPECT_THAT(report_html(report_data(job)), Not(HasSubstr("<h2>Similarity</h2>")));
  v1::Finished& finished = *job.mutable_ranks(0)->mutable_finished();
  finished.mutable_exchange()->set_schedule("sharded");
  finished.mutable_exchange()->set_method("local, 50 steps between rounds");
  for (const double delta : {0.5, 0.25}) {
    v1::SimilarityState& state = *finished.add_similarity();
    state.set_step(delta == 0.5 ? 10 : 20);
    state.set_delta_rms(delta);
    state.set_smoothness(2);
    state.add_deltas(delta);
    state.add_deltas(2 * delta);
    state.set_inner_steps(delta == 0.5 ? 48 : 80);
  }
  const YAML::Node report = YAML::Load(report_json(report_data(job)));
  EXPECT_EQ(report["exchange"]["method"].as<std::string>(), "local, 50 steps between rounds");
  ASSERT_EQ(report["similarity"].size(), 2U);
  EXPECT_EQ(report["similarity"][1]["step"].as<int>(), 20);
  EXPECT_EQ(report["similarity"][1]["delta_rms"].as<double>(), 0.25);
  EXPECT_EQ(report["similarity"][1]["deltas"][1].as<double>(), 0.5);
  EXPECT_EQ(report["similarity"][1]["inner_steps"].as<int>(), 80);
  const std::string html = report_html(report_data(job));
  EXPECT_THAT(html, HasSubstr("<td>10</td><td>0.5</td><td>2</td><td>0.25</td><td>1: 1</td><td>48"));
  EXPECT_THAT(html, HasSubstr("delta 0.25, L 2 (12 %)"));
  EXPECT_THAT(html, HasSubstr("local, 50 steps between rounds"));
}

TEST(ReportJsonTest, TellsBytesBetweenSitesFromAllWhereTheJobKnowsSites) {
  v1::Job job = sample_job(2);
  for (v1::Rank& rank : *job.mutable_ranks()) {
    rank.mutable_finished()->mutable_bytes()->set_sent_between_sites(70 + rank.rank());
    rank.mutable_finished()->mutable_bytes()->set_received_between_sites(80 + rank.rank());
  }
  EXPECT_TRUE(
      YAML::Load(report_json(report_data(job)))["bytes"]["sent_between_sites_per_worker"].IsNull());
  EXPECT_THAT(report_html(report_data(job)), Not(HasSubstr("between sites")));
  job.mutable_job()->mutable_spec()->mutable_exchange()->set_ranks_per_site(1);
  const YAML::Node bytes = YAML::Load(report_json(report_data(job)))["bytes"];
  EXPECT_EQ(bytes["sent_between_sites_per_worker"][1].as<int>(), 71);
  EXPECT_EQ(bytes["received_between_sites_per_worker"][0].as<int>(), 80);
  EXPECT_THAT(report_html(report_data(job)), HasSubstr("of that between sites, most"));
  EXPECT_EQ(report_data(job).sent_between_sites_max, 71);
}

v1::Job planned_job() {
  v1::Job job = sample_job(2);
  v1::ExchangeChoice& exchange = *job.mutable_ranks(0)->mutable_finished()->mutable_exchange();
  exchange.set_schedule("sharded");
  exchange.set_codec("int4");
  v1::Plan& plan = *exchange.mutable_plan();
  plan.set_latency_seconds(0.0204);
  plan.set_bytes_per_second(12.1e6);
  plan.set_error_budget(0.05);
  for (const bool chosen : {true, false}) {
    v1::PlannedWay& way = *plan.add_ways();
    way.set_schedule(chosen ? "sharded" : "all_gather");
    way.set_codec(chosen ? "int4" : "<top>");
    way.set_codec_seconds(0.25);
    way.set_latency_seconds(0.5);
    way.set_wire_seconds(1);
    way.set_sent_bytes(1500);
    way.set_error(chosen ? 0.02 : 0.9);
    way.set_within_budget(chosen);
    way.set_chosen(chosen);
  }
  return job;
}

TEST(ReportJsonTest, SaysThatWhatIsExchangedWasCopiedToTheHost) {
  v1::Job job = planned_job();
  v1::ExchangeChoice& exchange = *job.mutable_ranks(0)->mutable_finished()->mutable_exchange();
  exchange.set_device("cuda:1");
  exchange.set_host_copies(true);
  const YAML::Node report = YAML::Load(report_json(report_data(job)));
  EXPECT_EQ(report["exchange"]["device"].as<std::string>(), "cuda:1");
  EXPECT_TRUE(report["exchange"]["host_copies"].as<bool>());
  EXPECT_THAT(report_html(report_data(job)), HasSubstr("copied from cuda:1 to host memory"));
}

TEST(ReportJsonTest, SaysWhatWasExchangedAndWhy) {
  const YAML::Node report = YAML::Load(report_json(report_data(planned_job())));
  EXPECT_EQ(report["exchange"]["schedule"].as<std::string>(), "sharded");
  EXPECT_EQ(report["exchange"]["codec"].as<std::string>(), "int4");
  EXPECT_FALSE(report["exchange"]["host_copies"].as<bool>());
  const YAML::Node plan = report["exchange"]["plan"];
  EXPECT_EQ(plan["latency_seconds"].as<double>(), 0.0204);
  ASSERT_EQ(plan["ways"].size(), 2U);
  EXPECT_EQ(plan["ways"][0]["seconds"].as<double>(), 1.75);
  EXPECT_TRUE(plan["ways"][0]["chosen"].as<bool>());
  EXPECT_FALSE(plan["ways"][1]["within_budget"].as<bool>());
}

TEST(ReportJsonTest, ExchangeOfARunBeforeItsFirstStepIsNull) {
  const YAML::Node report = YAML::Load(report_json(report_data(sample_job(2))));
  EXPECT_TRUE(report["exchange"].IsNull());
  v1::Job job = planned_job();
  job.mutable_ranks(0)->mutable_finished()->mutable_exchange()->clear_plan();
  EXPECT_TRUE(YAML::Load(report_json(report_data(job)))["exchange"]["plan"].IsNull());
}

TEST(ReportJsonTest, SaysHowAConvexMethodEnded) {
  EXPECT_TRUE(YAML::Load(report_json(report_data(sample_job(2))))["convex"].IsNull());
  v1::Job job = sample_job(2);
  job.mutable_job()->mutable_spec()->mutable_exchange()->mutable_convex();
  v1::ConvexState& state = *job.mutable_ranks(0)->mutable_finished()->mutable_convex();
  state.set_gradient_norm(2e-6);
  state.set_similarity(0.5);
  state.set_messages(90);
  state.set_skipped_messages(30);
  state.set_converged(true);
  const ReportData data = report_data(job);
  const YAML::Node report = YAML::Load(report_json(data));
  EXPECT_EQ(report["convex"]["gradient_norm"].as<double>(), 2e-6);
  EXPECT_EQ(report["convex"]["skipped_messages"].as<int>(), 30);
  EXPECT_TRUE(report["convex"]["converged"].as<bool>());
  // A ratio to one all-reduce per iteration would say nothing.
  EXPECT_EQ(report["bytes"]["times_less"].as<double>(), 0);
  EXPECT_EQ(report["bytes"]["dense_equivalent_per_worker"].as<int>(), 0);
  const std::string text =
      "gradient norm 2e-06 (converged), delta 0.5, 30 of 120 messages not sent";
  EXPECT_THAT(report_html(data), HasSubstr(text));
  EXPECT_THAT(report_html(data), Not(HasSubstr("dense all-reduce, per worker")));
  EXPECT_THAT(summary_text(job, ""), HasSubstr(text));
  EXPECT_THAT(summary_text(job, ""), HasSubstr(" by the rank that sent most\n"));
  EXPECT_EQ(report["convex"]["anchor"].as<int>(), 0);
  // Another rank is the anchor worker: it names the exchange, and what it says counts.
  v1::Finished& second = *job.mutable_ranks(1)->mutable_finished();
  second.mutable_exchange()->set_schedule("star");
  *second.mutable_convex() = state;
  second.mutable_convex()->set_anchor(1);
  job.mutable_ranks(0)->mutable_finished()->clear_exchange();
  job.mutable_ranks(0)->mutable_finished()->mutable_convex()->set_similarity(0);
  EXPECT_THAT(summary_text(job, ""),
              HasSubstr("gradient norm 2e-06 (converged), delta 0.5, anchor worker rank 1, 30 of"));
  EXPECT_EQ(YAML::Load(report_json(report_data(job)))["exchange"]["schedule"].as<std::string>(),
            "star");
}

TEST(ReportJsonTest, SaysHowMuchOfTheBytesWasPayloadAndWhereTheyWent) {
  v1::Job job = sample_job(2);
  v1::Finished& finished = *job.mutable_ranks(0)->mutable_finished();
  finished.mutable_bytes()->set_payload_sent(3000000);
  finished.add_peer_bytes();
  finished.add_peer_bytes()->set_sent(3498000);
  const YAML::Node bytes = YAML::Load(report_json(report_data(job)))["bytes"];
  EXPECT_EQ(bytes["payload_sent_per_worker"][0].as<int64_t>(), 3000000);
  EXPECT_EQ(bytes["payload_received_per_worker"][1].as<int64_t>(), 0);
  EXPECT_EQ(bytes["sent_to"][0][1].as<int64_t>(), 3498000);
  EXPECT_TRUE(bytes["sent_to"][1].IsNull());
}

TEST(ReportHtmlTest, ShowsThePlanWhereThereIsOne) {
  const std::string html = report_html(report_data(planned_job()));
  EXPECT_THAT(html, HasSubstr("<h2>Plan</h2>"));
  EXPECT_THAT(html, HasSubstr("slowest link 20.4 ms, 12.1 MB/s each way"));
  EXPECT_THAT(html, HasSubstr("int4 by sharded"));
  EXPECT_THAT(html, HasSubstr("&lt;top&gt;"));
  EXPECT_THAT(html, HasSubstr("over budget"));
  EXPECT_THAT(report_html(report_data(sample_job(2))), Not(HasSubstr("<h2>Plan</h2>")));
}

TEST(ReportJsonTest, NotANumberIsNull) {
  v1::Job job = sample_job(2);
  job.mutable_history(0)->set_train_loss(kNan);
  const std::string json = report_json(report_data(job));
  EXPECT_THAT(json, HasSubstr("\"train_loss\": null"));
  EXPECT_THAT(json, Not(HasSubstr("nan")));
}

TEST(ReportJsonTest, EmptyJobIsStillValid) {
  const YAML::Node report = YAML::Load(report_json(report_data(v1::Job())));
  EXPECT_EQ(report["history"].size(), 0U);
  EXPECT_TRUE(report["final"]["train_loss"].IsNull());
}

TEST(ReportHtmlTest, HasFourPicturesAndNoScript) {
  const std::string html = report_html(report_data(sample_job(4)));
  size_t pictures = 0;
  for (size_t at = html.find("<svg"); at != std::string::npos; at = html.find("<svg", at + 1)) {
    ++pictures;
  }
  EXPECT_EQ(pictures, 4U);
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("src=")));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(html, HasSubstr("506x"));
}

TEST(ReportHtmlTest, EscapesAllTextFromElsewhere) {
  v1::Job job = sample_job(2);
  const std::string evil = "<script>alert('1')</script>";
  job.set_state(v1::FAILED);
  job.set_message(evil);
  job.mutable_job()->mutable_metadata()->set_name(evil);
  (*job.mutable_job()->mutable_metadata()->mutable_labels())["x"] = evil;
  job.mutable_ranks(0)->set_node(evil);
  job.mutable_ranks(0)->mutable_finished()->add_files(evil);
  const std::string html = report_html(report_data(job));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(&#39;1&#39;)"));
}

TEST(ReportHtmlTest, DrawsOnePointNoEvaluationAndNotANumber) {
  for (const int ranks : {0, 1, 2, 20}) {
    v1::Job job = sample_job(ranks);
    job.mutable_history()->DeleteSubrange(1, job.history_size() - 1);
    job.mutable_history(0)->clear_eval_loss();
    const std::string html = report_html(report_data(job));
    EXPECT_THAT(html, Not(HasSubstr("nan"))) << ranks;
    EXPECT_THAT(html, Not(HasSubstr("\"inf"))) << ranks;
    job.mutable_history(0)->set_train_loss(kNan);
    EXPECT_THAT(report_html(report_data(job)), HasSubstr("no data")) << ranks;
  }
  EXPECT_THAT(report_html(report_data(v1::Job())), HasSubstr("no data"));
}

// Points every 7 steps made the dense curve jump between 28 and 35 steps a round.
TEST(ReportHtmlTest, DenseRoundsHaveTheStepsOfARoundWhereverThePointsFall) {
  v1::Job job = sample_job(2);
  job.mutable_job()->mutable_spec()->mutable_train()->set_steps(704);
  const auto picture = [](const std::string& html) {
    const size_t begin = html.find("aria-label=\"Bytes per round");
    return html.substr(begin, html.find("</svg>", begin) - begin);
  };
  const std::string even = picture(report_html(report_data(job)));
  for (v1::HistoryPoint& point : *job.mutable_history()) {
    point.set_step(point.step() + point.round() % 3);
  }
  EXPECT_EQ(picture(report_html(report_data(job))), even);
}

TEST(ReportHtmlTest, BeforeTheFirstRoundThereIsNoRatioAndNoCurveOverBytes) {
  v1::Job job = sample_job(2);
  job.mutable_history()->DeleteSubrange(1, job.history_size() - 1);
  job.mutable_history(0)->set_sent_bytes(216);
  for (v1::Rank& rank : *job.mutable_ranks()) {
    rank.mutable_finished()->set_rounds(0);
    rank.mutable_finished()->mutable_bytes()->set_sent(216);
  }
  const std::string html = report_html(report_data(job));
  EXPECT_THAT(html, HasSubstr("no round yet"));
  EXPECT_THAT(html, Not(HasSubstr("same steps, dense float32")));
}

TEST(ReportHtmlTest, RankWithoutADigestIsNoDisagreement) {
  v1::Job job = sample_job(2);
  EXPECT_THAT(report_html(report_data(job)), HasSubstr("equal on all ranks"));
  job.mutable_ranks(1)->mutable_finished()->set_digest(7);
  EXPECT_THAT(report_html(report_data(job)), HasSubstr("NOT equal"));
  job.mutable_ranks(1)->clear_finished();
  EXPECT_THAT(report_html(report_data(job)), HasSubstr("unknown: not every rank finished"));
}

TEST(ReportHtmlTest, InitialParametersBelongToNoRound) {
  v1::Job job = sample_job(2);
  for (v1::HistoryPoint& point : *job.mutable_history()) {
    point.set_sent_bytes(point.sent_bytes() + 5060088);
  }
  // 159 kB a round: with the 5 MB of the start the axis would reach to 10 MB and begin higher.
  const std::string with_start = report_html(report_data(job));
  const std::string without = report_html(report_data(sample_job(2)));
  const auto picture = [](const std::string& html) {
    const size_t begin = html.find("aria-label=\"Bytes per round");
    return html.substr(begin, html.find("</svg>", begin) - begin);
  };
  EXPECT_EQ(picture(with_start), picture(without));
}

TEST(JobYamlTest, IsTheJobFileInBlockStyle) {
  EXPECT_EQ(job_yaml(sample_job(2).job()),
            "api_version: laconic.v1\nkind: TrainJob\nmetadata:\n  name: fashion-mnist\nspec:\n"
            "  workers:\n    count: 2\n  model:\n    conv: {}\n  train:\n    steps: 700\n"
            "  exchange:\n    local:\n      inner_steps: 32\n");
}

TEST(ReportFilesTest, FileThatCannotBeReplacedStaysAsItWas) {
  std::string directory = ::testing::TempDir() + "/laconic-files-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  EXPECT_OK(write_file(directory + "/a", "old"));
  EXPECT_OK(write_file(directory + "/a", "new"));
  EXPECT_THAT(write_file(directory + "/none/a", "x"),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot write")));
  EXPECT_THAT(make_writable_directory(directory + "/a"),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--out")));
}

}  // namespace
}  // namespace laconic::cli
