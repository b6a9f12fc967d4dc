// The model must not depend on which vector instructions the codecs found on a machine.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/integration/cluster.h"

namespace laconic::integration {
namespace {

class VectorInstructionsTest : public ::testing::TestWithParam<std::string> {};

// The model of a short run with the codecs limited to `level`; "" is all that the machine has.
std::string model_of(const testing::TemporaryDirectory& directory, const std::string& level,
                     const std::string& exchange) {
  const std::filesystem::path data = directory.path() / "data";
  write_idx_data(data, 512);
  const std::filesystem::path file = directory.path() / "job.yaml";
  testing::write_file(file, job_yaml(data, {.workers = 3, .exchange = exchange}));
  const std::filesystem::path out = directory.path() / absl::StrCat("out", level);
  const testing::Ended ended =
      testing::run_program({binary("laconic"), "run", "-f", file.string(), "--out", out.string()},
                           absl::Seconds(120), {{kMarkName, new_mark()}, {"LACONIC_SIMD", level}});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  return testing::read_file(out / "model.safetensors");
}

TEST_P(VectorInstructionsTest, DoNotChangeTheModel) {
  const testing::TemporaryDirectory directory;
  const std::string exchange =
      absl::StrCat("{local: {inner_steps: 4}, compressor: ", GetParam(), ", round_deadline: 20s}");
  const std::string scalar = model_of(directory, "scalar", exchange);
  EXPECT_GT(scalar.size(), 1000U);
  // Not EXPECT_EQ, which would print both.
  EXPECT_TRUE(model_of(directory, "avx2", exchange) == scalar);
  EXPECT_TRUE(model_of(directory, "", exchange) == scalar);
}

INSTANTIATE_TEST_SUITE_P(Compressors, VectorInstructionsTest,
                         ::testing::Values("{quantize: {bits: 1, rows: {}}}",
                                           "{quantize: {bits: 2, rows: {}}}",
                                           "{quantize: {bits: 8, block: 64}}",
                                           "{top_k: {density: 0.05, value_bits: 4}}"),
                         [](const auto& test) { return absl::StrCat("Case", test.index); });

}  // namespace
}  // namespace laconic::integration
