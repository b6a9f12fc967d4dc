// A fused multiply-add rounds once instead of twice. Where the machine has one (every arm64), the
// compiler uses it unless told not to, and ranks on unlike machines end with different bits.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include "tests/testing/paths.h"

namespace laconic::sync {
namespace {

// The compiler's command for one source file of this repository; empty when there is none.
std::string command_for(const std::string& source) {
  std::ifstream commands(testing::bin_dir() + "/../compile_commands.json");
  for (std::string line; std::getline(commands, line);) {
    if (line.find("\"command\"") != std::string::npos && line.find(source) != std::string::npos) {
      return line;
    }
  }
  return "";
}

class ContractionTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ContractionTest, IsOffWhereAllRanksMustComeToTheSameBits) {
  EXPECT_NE(command_for(GetParam()).find("-ffp-contract=off"), std::string::npos) << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Sources, ContractionTest,
                         ::testing::Values("common/sync/local.cc", "common/sync/mean_exchange.cc",
                                           "common/collective/communicator.cc",
                                           "common/compress/levels.cc"));

}  // namespace
}  // namespace laconic::sync
