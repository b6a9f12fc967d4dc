#include "common/sync/fragments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> sizes(const std::vector<Fragment>& fragments) {
  std::vector<int64_t> result;
  int64_t begin = 0;
  for (const Fragment& fragment : fragments) {
    EXPECT_EQ(fragment.begin, begin);
    result.push_back(fragment.layout.elements());
    begin += result.back();
  }
  return result;
}

core::Layout of_sizes(const std::vector<int64_t>& elements) {
  core::Layout layout;
  for (const int64_t size : elements) {
    layout.tensors.push_back({"tensor", 1, size});
  }
  return layout;
}

TEST(FragmentsTest, AreNeighbouringTensorsOfAboutEqualSizes) {
  ASSERT_OK_AND_ASSIGN(const auto even, cut_into_fragments(of_sizes({3, 3, 3, 3, 3, 3}), 3));
  EXPECT_THAT(sizes(even), ElementsAre(6, 6, 6));
  ASSERT_OK_AND_ASSIGN(const auto uneven, cut_into_fragments(of_sizes({1, 1, 10, 1, 1, 10}), 2));
  EXPECT_THAT(sizes(uneven), ElementsAre(12, 12));
  ASSERT_OK_AND_ASSIGN(const auto whole, cut_into_fragments(of_sizes({5, 7}), 1));
  EXPECT_THAT(sizes(whole), ElementsAre(12));
}

TEST(FragmentsTest, EachHasATensorHoweverLargeOneOfThemIs) {
  ASSERT_OK_AND_ASSIGN(const auto first, cut_into_fragments(of_sizes({1000, 1, 1, 1}), 4));
  EXPECT_THAT(sizes(first), ElementsAre(1000, 1, 1, 1));
  ASSERT_OK_AND_ASSIGN(const auto last, cut_into_fragments(of_sizes({1, 1, 1, 1000}), 3));
  EXPECT_EQ(last.size(), 3U);
  for (const int64_t size : sizes(last)) {
    EXPECT_GE(size, 1);
  }
}

TEST(FragmentsTest, MoreThanTensorsOrNoneAreRefused) {
  EXPECT_THAT(cut_into_fragments(of_sizes({4, 4}), 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to the model's 2")));
  EXPECT_THAT(cut_into_fragments(of_sizes({4, 4}), 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fragments is 0")));
  EXPECT_THAT(cut_into_fragments({}, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fragments is 1")));
}

}  // namespace
}  // namespace laconic::sync
