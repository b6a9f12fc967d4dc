#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/job_text.h"
#include "cli/json.h"
#include "cli/table.h"
#include "tests/cli/sample_job.h"
#include "tests/testing/status_matchers.h"

namespace laconic::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ProgressNumbers sample_numbers() {
  return {.state = v1::RUNNING,
          .message = "",
          .step = 320,
          .steps = 700,
          .round = 10,
          .loss = 0.4123,
          .accuracy = 0.8834,
          .sent_bytes = 1590000,
          .times_less = 504.2,
          .left = absl::Seconds(80)};
}

TEST(ProgressLineTest, ShowsEverythingWhereThereIsRoom) {
  EXPECT_EQ(progress_line(sample_numbers(), 200),
            "step 320/700  round 10  loss 0.412  accuracy 0.883  sent 1.59 MB  504x less  "
            "1 min 20 s left");
}

TEST(ProgressLineTest, NeverExceedsTheWidthAndKeepsTheStepLongest) {
  for (int columns = 1; columns < 120; ++columns) {
    const std::string line = progress_line(sample_numbers(), columns);
    EXPECT_LE(line.size(), static_cast<size_t>(columns));
    EXPECT_TRUE(line.starts_with("step 320/700") || columns < 12) << line;
  }
  EXPECT_EQ(progress_line(sample_numbers(), 30), "step 320/700  loss 0.412");
}

TEST(ProgressLineTest, SaysWhereAJobIsThatDoesNotTrain) {
  ProgressNumbers numbers;
  numbers.state = v1::QUEUED;
  numbers.message = "waits for 2 slots\nof 4";
  EXPECT_EQ(progress_line(numbers, 80), "QUEUED  waits for 2 slots of 4");
  EXPECT_EQ(progress_line(numbers, 10), "QUEUED  wa");
}

TEST(ProgressNumbersTest, TakesTheSlowestRankAndEstimatesTheRest) {
  v1::Job job = sample_job(2);
  job.set_state(v1::RUNNING);
  for (int at = 0; at < 2; ++at) {
    job.mutable_ranks(at)->clear_finished();
    job.mutable_ranks(at)->mutable_progress()->set_step(350 + 10 * at);
    job.mutable_ranks(at)->mutable_progress()->set_seconds(50);
  }
  const ProgressNumbers numbers = progress_numbers(job);
  EXPECT_EQ(numbers.step, 350);
  EXPECT_EQ(*numbers.left, absl::Seconds(50));
}

TEST(ProgressNumbersTest, RatioIsShownOnlyOnceARoundIsDone) {
  v1::Job job = sample_job(2);
  job.set_state(v1::RUNNING);
  EXPECT_GT(progress_numbers(job).times_less, 0);
  for (v1::Rank& rank : *job.mutable_ranks()) {
    rank.mutable_finished()->set_rounds(0);
    rank.mutable_finished()->mutable_bytes()->set_sent(216);
  }
  EXPECT_EQ(progress_numbers(job).times_less, 0);
}

TEST(ProgressDisplayTest, WithoutATerminalPrintsALinePerStateAndEveryTenSeconds) {
  std::ostringstream out;
  std::ostringstream err;
  Interrupt interrupt;
  Console console{.out = out, .err = err, .interrupt = interrupt};
  Session session(console);
  ProgressDisplay display(session);
  v1::Job job;
  job.set_state(v1::QUEUED);
  const absl::Time start = absl::FromUnixSeconds(1000);
  display.show(job, start);
  display.show(job, start + absl::Seconds(9));
  job.set_state(v1::STARTING);
  display.show(job, start + absl::Seconds(9));
  display.show(job, start + absl::Seconds(19));
  EXPECT_EQ(err.str(), "QUEUED\nSTARTING\nSTARTING\n");
  EXPECT_EQ(out.str(), "");
}

TEST(ProgressDisplayTest, OnATerminalRewritesOneLine) {
  std::ostringstream out;
  std::ostringstream err;
  Interrupt interrupt;
  Console console{.out = out, .err = err, .interrupt = interrupt, .err_is_terminal = true};
  Session session(console);
  {
    ProgressDisplay display(session);
    v1::Job job;
    job.set_state(v1::QUEUED);
    display.show(job, absl::FromUnixSeconds(1));
    display.show(job, absl::FromUnixSeconds(2));
  }
  EXPECT_EQ(err.str(), "\r\x1b[KQUEUED\r\x1b[KQUEUED\n");
}

TEST(SummaryTest, IsShortAndAligned) {
  EXPECT_EQ(summary_text(sample_job(4), "runs/demo/report.html"),
            "SUCCEEDED  fashion-mnist (job 4k2p9x7abc)\n"
            "  trained   700 steps x 4 workers, 22 rounds\n"
            "  loss      0.230 training, 0.250 held-out\n"
            "  accuracy  0.9144\n"
            "  sent      3.50 MB per worker; dense: 1.77 GB; 506x less\n"
            "  time      1 min 42 s\n"
            "  digests   equal on all 4 ranks (00c0ffee12345678)\n"
            "  model     /data/runs/demo/model.safetensors\n"
            "  report    runs/demo/report.html\n");
  EXPECT_THAT(summary_text(sample_job(1), ""), HasSubstr("one worker has no one to talk to"));
}

TEST(SummaryTest, JobOfAServerNamesTheMachineOfItsResult) {
  EXPECT_THAT(summary_text(sample_job(), ""),
              HasSubstr("/data/runs/demo/model.safetensors on worker node-0\n"));
  EXPECT_THAT(summary_text(sample_job(), "runs/demo/report.html"), Not(HasSubstr("on worker")));
}

TEST(SummaryTest, OneWorkerHasNobodyToAgreeWith) {
  EXPECT_THAT(summary_text(sample_job(1), ""), HasSubstr("digests   00c0ffee12345678\n"));
}

TEST(MergeTest, AddsOnlyPointsThatAreNew) {
  v1::Job stored = sample_job(2);
  v1::Job update = sample_job(2);
  update.set_state(v1::FAILED);
  update.add_history()->set_step(900);
  merge_update(update, stored);
  EXPECT_EQ(stored.history_size(), 45);
  EXPECT_EQ(stored.state(), v1::FAILED);
}

TEST(TableTest, AlignsColumnsOfUnequalRows) {
  EXPECT_EQ(format_table({{"A", "LONG"}, {"xyz", "\xc3\xa9", "z"}}),
            "A    LONG\nxyz  \xc3\xa9     z\n");
  EXPECT_EQ(format_table({}), "");
}

TEST(JsonTest, EscapesWhatJsonAndHtmlCouldTripOver) {
  EXPECT_EQ(json_string("a\"\\\n\t\x01<\x7f"), "\"a\\\"\\\\\\n\\t\\u0001\\u003c\\u007f\"");
  EXPECT_EQ(json_string("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\"");
  EXPECT_EQ(json_string("\xff\xc0\xaf\xed\xa0\x80|\xe2\x82"),
            "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd|\\ufffd\\ufffd\"");
}

TEST(JsonTest, NumbersReadBackAsTheyWere) {
  EXPECT_EQ(json_number(0.1), "0.1");
  EXPECT_EQ(json_number(-0.0), "-0");
  EXPECT_EQ(json_number(1e300), "1e+300");
  EXPECT_EQ(json_number(std::nan("")), "null");
}

TEST(DurationTest, TakesAUnitAndNothingElse) {
  EXPECT_EQ(*parse_duration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*parse_duration("2d"), absl::Hours(48));
  for (const char* bad : {"", "30", "-5s", "0s", "soon", "inf", "d", "nand", "1000d"}) {
    EXPECT_THAT(parse_duration(bad),
                testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'")))
        << bad;
  }
}

TEST(CulpritTest, OwnCauseWinsOverSignalAndSignalOverLostPeer) {
  v1::Job job = sample_job(3);
  for (v1::Rank& rank : *job.mutable_ranks()) {
    rank.clear_finished();
  }
  EXPECT_EQ(culprit(job), nullptr);
  job.mutable_ranks(0)->mutable_exit()->set_signal(15);
  EXPECT_EQ(culprit(job), nullptr);
  job.mutable_ranks(0)->mutable_failure()->set_reason("PEER_LOST");
  EXPECT_EQ(culprit(job)->rank(), 0);
  job.mutable_ranks(1)->mutable_exit()->set_signal(9);
  EXPECT_EQ(culprit(job)->rank(), 1);
  job.mutable_ranks(2)->mutable_failure()->set_reason("BAD_DATA");
  EXPECT_EQ(culprit(job)->rank(), 2);
}

}  // namespace
}  // namespace laconic::cli
