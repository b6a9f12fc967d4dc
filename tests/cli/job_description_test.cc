#include "cli/job_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "cli/job_file.h"
#include "tests/testing/paths.h"
#include "tests/testing/status_matchers.h"

namespace laconic::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string describe_example(const std::string& name, const std::vector<std::string>& overrides) {
  const auto job = load_job_file(
      std::filesystem::path(testing::source_dir()) / "examples" / (name + ".yaml"), overrides);
  EXPECT_OK(job);
  return job.ok() ? describe_job(*job) : "";
}

TEST(DescribeJobTest, ShowsTimeoutsAndBytesOfTheDemo) {
  const std::string text = describe_example("fashion_mnist", {});
  EXPECT_THAT(text,
              HasSubstr("  round_deadline   1 min 0 s  longest wait for a peer in a round\n"));
  EXPECT_THAT(text, HasSubstr("Bytes per round and worker (421,642 parameters, 4 workers)\n"));
  EXPECT_THAT(text, HasSubstr("times less"));
}

TEST(DescribeJobTest, SaysWhatItAssumesOfTheData) {
  const std::string text = describe_example("fashion_mnist", {"spec.model.conv={}"});
  EXPECT_THAT(text, HasSubstr("421,642 parameters, 4 workers, assuming 28x28x1 inputs"));
}

TEST(DescribeJobTest, DoesNotGuessWhatOnlyTheNodesKnow) {
  EXPECT_THAT(describe_example("torchscript", {}),
              HasSubstr("known only after its file is loaded on a node"));
  const std::string text = describe_example("logistic_regression", {"spec.model.softmax={}"});
  EXPECT_THAT(text, HasSubstr("the LibSVM file decides the model's size"));
  EXPECT_THAT(text, Not(HasSubstr("parameters,")));
}

TEST(DescribeJobTest, ShowsWhatAnIterationOfAConvexMethodSends) {
  const std::string text = describe_example("convex_olga", {});
  EXPECT_THAT(text, HasSubstr("Bytes per iteration (785 parameters, 4 workers"));
  EXPECT_THAT(text, HasSubstr("the anchor worker to one worker, with frame headers"));
  EXPECT_THAT(text, HasSubstr("at most, in the whole job"));
  EXPECT_THAT(text, Not(HasSubstr("times less")));
}

TEST(DescribeJobTest, TellsTheLinksBetweenSitesFromAll) {
  const std::string text = describe_example(
      "fashion_mnist", {"spec.exchange.schedule=HIERARCHICAL", "spec.exchange.ranks_per_site=2"});
  EXPECT_THAT(text, HasSubstr("hierarchical  the way to the mean\n"));
  EXPECT_THAT(text, HasSubstr("of that, over the links between sites\n"));
  EXPECT_THAT(describe_example("fashion_mnist", {}), Not(HasSubstr("between sites")));
}

TEST(DescribeJobTest, SaysWhereASizeIsNotCertain) {
  EXPECT_THAT(describe_example("logistic_regression", {}),
              HasSubstr("with frame headers, expected"));
  EXPECT_THAT(describe_example("bytes_gpt", {}), Not(HasSubstr("expected")));
}

TEST(DescribeJobTest, ShowsEveryCodecThatThePlannerMayTake) {
  const std::string text = describe_example(
      "fashion_mnist", {"spec.exchange.compressor={auto: {codecs: [FLOAT32, INT8]}}"});
  EXPECT_THAT(text, HasSubstr("the planner chooses when the job starts"));
  EXPECT_THAT(text, HasSubstr("float32"));
  EXPECT_THAT(text, HasSubstr("int8"));
  EXPECT_THAT(text, Not(HasSubstr("int4")));
}

TEST(DescribeJobTest, ShowsEveryCodecThatAutoMayTake) {
  const std::string text =
      describe_example("fashion_mnist", {"spec.exchange={auto: {bytes: 1000000}}"});
  EXPECT_THAT(text, HasSubstr("the method is chosen when the job starts"));
  for (const char* codec : {"float32", "int8", "int4", "int2", "int1"}) {
    EXPECT_THAT(text, HasSubstr(codec));
  }
}

TEST(DescribeJobTest, SaysThatRoundsBySimilarityAreAtMostThatMany) {
  const std::string text = describe_example(
      "fashion_mnist", {"spec.exchange.local={inner_steps: 32, inner_steps_max: 64}"});
  EXPECT_THAT(text, HasSubstr("at most, in the whole job"));
}

}  // namespace
}  // namespace laconic::cli
