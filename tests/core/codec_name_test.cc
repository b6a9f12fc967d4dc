#include "common/core/codec_name.h"

#include <gtest/gtest.h>

namespace laconic::core {
namespace {

TEST(CodecNameTest, SaysKindAndSize) {
  EXPECT_EQ(codec_name({}), "float32");
  EXPECT_EQ(codec_name({.kind = CodecKind::kQuantize, .bits = 4}), "int4");
  EXPECT_EQ(codec_name({.kind = CodecKind::kTopK, .density = 0.01}), "top-k 1 %");
  EXPECT_EQ(codec_name({.kind = CodecKind::kTopK, .density = 0.00125}), "top-k 0.125 %");
  EXPECT_EQ(codec_name({.kind = CodecKind::kChunkedTopK}), "top 64 of 4096");
  EXPECT_EQ(codec_name({.kind = CodecKind::kLowRank, .factors = 3}), "low rank 3");
}

TEST(CodecNameTest, DoesNotGuessAtAKindThatIsNone) {
  EXPECT_EQ(codec_name({.kind = static_cast<CodecKind>(200)}), "unknown");
}

}  // namespace
}  // namespace laconic::core
