// Every example runs as it stands; here with few steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/cluster.h"

namespace laconic::integration {
namespace {

class ExampleTest : public ::testing::Test {
 protected:
  void run(const std::string& job_file, const std::vector<std::string>& overrides) {
    std::vector<std::string> command = {
        binary("laconic"), "run", "-f", job_file, "--out", (directory_.path() / "out").string()};
    for (const std::string& override_text : overrides) {
      command.push_back("--set");
      command.push_back(override_text);
    }
    const std::string mark = new_mark();
    const testing::Ended ended =
        testing::run_program(command, absl::Seconds(180), {{kMarkName, mark}});
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_THAT(testing::read_file(directory_.path() / "out" / "report.json"),
                ::testing::HasSubstr("SUCCEEDED"));
    EXPECT_TRUE(testing::wait_until_gone(kMarkName, mark, absl::Seconds(10)).empty());
  }

  // A copy of examples/, so that generated files do not land in the source tree.
  std::string example(const std::string& name) {
    std::filesystem::copy(
        source_file("examples"), directory_.path() / "examples",
        std::filesystem::copy_options::recursive | std::filesystem::copy_options::skip_existing);
    return (directory_.path() / "examples" / name).string();
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(ExampleTest, FashionMnistRuns) {
  run(example("fashion_mnist.yaml"),
      {"spec.train.steps=4", "spec.exchange.local.rounds=2", "spec.train.eval_samples=100"});
}

TEST_F(ExampleTest, DenseTwinRuns) {
  run(example("fashion_mnist_dense.yaml"), {"spec.train.steps=3", "spec.train.eval_samples=100"});
}

TEST_F(ExampleTest, LazyTwinRuns) {
  run(example("fashion_mnist_lazy.yaml"), {"spec.train.steps=3", "spec.train.eval_samples=100"});
}

TEST_F(ExampleTest, ByteLevelGptRuns) {
  run(example("bytes_gpt.yaml"), {"spec.train.steps=4"});
}

TEST_F(ExampleTest, LogisticRegressionOnGeneratedLibSvmRuns) {
  const std::string job = example("logistic_regression.yaml");
  const testing::Ended made = testing::run_program({"/usr/bin/python3", example("make_libsvm.py")});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  run(job, {"spec.train.steps=8"});
}

TEST_F(ExampleTest, ConvexMethodRuns) {
  run(example("convex_olga.yaml"), {"spec.train.steps=3", "spec.train.eval_samples=100"});
}

TEST_F(ExampleTest, ConvexTwinRuns) {
  run(example("convex_aeg.yaml"), {"spec.train.steps=2", "spec.train.eval_samples=100"});
}

TEST_F(ExampleTest, TorchScriptModelMadeByPythonRuns) {
  const std::string job = example("torchscript.yaml");
  const testing::Ended made =
      testing::run_program({"/usr/bin/python3", example("make_torchscript.py")});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  run(job, {"spec.train.steps=4"});
}

}  // namespace
}  // namespace laconic::integration
