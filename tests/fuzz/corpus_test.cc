// The seeds of corpus/, and what the fuzzer found and somebody kept there, through every target.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/checks.h"
#include "tests/fuzz/codec_input.h"
#include "tests/fuzz/targets.h"
#include "tests/testing/paths.h"

namespace laconic::fuzz {
namespace {

std::vector<std::filesystem::path> seeds_of(const std::string& target) {
  std::vector<std::filesystem::path> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(testing::source_dir()) / "tests/fuzz/corpus" / target)) {
    seeds.push_back(entry.path());
  }
  std::sort(seeds.begin(), seeds.end());
  return seeds;
}

std::vector<uint8_t> read_seed(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class CorpusTest : public ::testing::TestWithParam<NamedTarget> {};

// A broken rule aborts the program and prints what was broken; the trace names the seed.
TEST_P(CorpusTest, SeedsBreakNoRuleAndMostReachTheEnd) {
  size_t accepted = 0;
  const auto seeds = seeds_of(GetParam().name);
  for (const auto& seed : seeds) {
    SCOPED_TRACE(seed.string());
    accepted += GetParam().run(read_seed(seed)) ? 1U : 0U;
  }
  ASSERT_FALSE(seeds.empty());
  // Seeds of an older format teach the fuzzer nothing: make_fuzz_corpus writes new ones.
  EXPECT_GE(2 * accepted, seeds.size());
}

TEST_P(CorpusTest, EveryTruncationOfASeedIsSurvived) {
  for (const auto& path : seeds_of(GetParam().name)) {
    const std::vector<uint8_t> seed = read_seed(path);
    const size_t step = 1 + seed.size() / 40;
    for (size_t length = 0; length < seed.size(); length += step) {
      // Of exactly this size, so that the sanitizer sees a read behind it.
      const std::vector<uint8_t> head(seed.begin(),
                                      seed.begin() + static_cast<std::ptrdiff_t>(length));
      GetParam().run(head);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, CorpusTest, ::testing::ValuesIn(all_targets()),
                         [](const auto& row) {
                           std::string name = row.param.name;
                           std::erase(name, '_');
                           return name;
                         });

TEST(FuzzChecksDeathTest, BrokenRuleAborts) {
  check(true, "nothing is broken");
  EXPECT_DEATH(check(false, "two is one"), "broken: two is one");
  EXPECT_DEATH(check_data_loss_or_ok(absl::InternalError("why"), "decode"), "decode: INTERNAL");
}

TEST(CodecInputTest, ChoiceSurvivesItsBytes) {
  const size_t last = spec_count() - 1;
  for (const int64_t elements : {1, 300, 301, 65'536, 65'537, 70'000}) {
    const std::vector<uint8_t> bytes =
        choice_bytes({.spec = last, .elements = elements, .columns = 256});
    Input input(bytes);
    const CodecChoice choice = take_choice(input);
    EXPECT_EQ(choice.spec, last);
    EXPECT_EQ(choice.elements, elements);
    EXPECT_EQ(choice.columns, 256);
    EXPECT_TRUE(input.empty());
  }
}

}  // namespace
}  // namespace laconic::fuzz
