#include "common/core/layout.h"

#include <gtest/gtest.h>

namespace laconic::core {
namespace {

const Layout kTwoTensors{.tensors = {{"weight", 3, 4}, {"bias", 1, 3}}};

TEST(LayoutTest, CountsElementsAndRows) {
  EXPECT_EQ(kTwoTensors.elements(), 15);
  EXPECT_EQ(kTwoTensors.total_rows(), 4);
  EXPECT_EQ(Layout{}.elements(), 0);
  EXPECT_EQ(Layout{}.total_rows(), 0);
}

TEST(LayoutTest, HashIsTheSameForEqualLayouts) {
  const Layout copy = kTwoTensors;
  EXPECT_EQ(copy.hash(), kTwoTensors.hash());
}

TEST(LayoutTest, HashChangesWithNameShapeAndOrder) {
  const Layout renamed{.tensors = {{"kernel", 3, 4}, {"bias", 1, 3}}};
  const Layout transposed{.tensors = {{"weight", 4, 3}, {"bias", 1, 3}}};
  const Layout reordered{.tensors = {{"bias", 1, 3}, {"weight", 3, 4}}};
  const Layout shorter{.tensors = {{"weight", 3, 4}}};
  for (const Layout& other : {renamed, transposed, reordered, shorter, Layout{}}) {
    EXPECT_NE(other.hash(), kTwoTensors.hash());
  }
}

}  // namespace
}  // namespace laconic::core
