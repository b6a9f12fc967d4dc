#include "common/compress/half_feedback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/compress/error_feedback.h"
#include "common/core/bfloat16.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Floats = std::vector<float>;

constexpr int64_t kElements = 300;

std::unique_ptr<Codec> codec_of(const core::CodecSpec& spec) {
  auto codec = make_codec(spec, rows_of_seven(kElements));
  EXPECT_OK(codec.status());
  return *std::move(codec);
}

Floats residual_of(const HalfFeedback& feedback) {
  Floats values;
  for (const uint16_t bits : feedback.residual()) {
    values.push_back(core::bf16_value(bits));
  }
  return values;
}

std::vector<uint16_t> bits_of(const HalfFeedback& feedback) {
  return {feedback.residual().begin(), feedback.residual().end()};
}

TEST(SignedBf16Test, RoundsToNearestEvenKeepsTheSignAndNeverMakesAnInfinity) {
  EXPECT_EQ(to_signed_bf16(0.0F), 0);
  EXPECT_EQ(to_signed_bf16(-0.0F), 0x8000);
  EXPECT_EQ(core::bf16_value(to_signed_bf16(-1.5F)), -1.5F);
  // Half a step above 1 is a tie: to even, which is 1; above 1 + one step, to 1 + two steps.
  EXPECT_EQ(core::bf16_value(to_signed_bf16(1 + 0x1p-8F)), 1.0F);
  EXPECT_EQ(core::bf16_value(to_signed_bf16(-(1 + 0x3p-8F))), -(1 + 0x1p-6F));
  const float largest = std::numeric_limits<float>::max();
  EXPECT_EQ(to_signed_bf16(largest), core::kBf16Largest);
  EXPECT_EQ(to_signed_bf16(-largest), core::kBf16Largest | 0x8000);
}

TEST(HalfFeedbackTest, SentPlusResidualIsDecayedResidualPlusInputUpToOneBf16Rounding) {
  constexpr float kDecay = 0.95F;
  constexpr double kFloatRounding = 0x1p-23;  // Of the difference and the sum: error_feedback.h.
  for (const core::CodecSpec& spec : every_spec()) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    HalfFeedback feedback(*codec, static_cast<double>(kDecay));
    for (uint64_t round = 0; round < 10; ++round) {
      const Floats before = residual_of(feedback);
      const Floats v = gauss(100 + round, kElements);
      ASSERT_OK_AND_ASSIGN(const auto payload, feedback.encode(v, round));
      ASSERT_OK_AND_ASSIGN(const FeedbackNorms norms, feedback.commit());
      Floats sent(kElements);
      ASSERT_OK(codec->decode(payload->bytes(), sent));
      const Floats after = residual_of(feedback);
      double rounded = 0;
      for (size_t i = 0; i < v.size(); ++i) {
        const volatile float decayed = kDecay * before[i];  // No fused multiply-add.
        const float a = decayed + v[i];
        const float missed = a - sent[i];
        ASSERT_EQ(after[i], core::bf16_value(to_signed_bf16(missed))) << i;
        ASSERT_NEAR(
            sent[i] + after[i], a,
            0x1p-8 * std::abs(missed) + kFloatRounding * std::max(std::abs(a), std::abs(sent[i])))
            << i;
        rounded += std::pow(static_cast<double>(missed) - static_cast<double>(after[i]), 2);
      }
      ASSERT_NEAR(norms.rounded, std::sqrt(rounded), 1e-12);
      ASSERT_LE(norms.rounded, 0x1p-8 * 1.01 * norms.residual);
    }
  }
}

// What is rounded away does not pile up: the mean of what was sent is that of float32 residuals.
TEST(HalfFeedbackTest, SendsOnAverageWhatItWasGiven) {
  constexpr int kRounds = 500;
  for (const core::CodecSpec& spec : {quantize_rows(1), top_k(4, 0.1)}) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    HalfFeedback feedback(*codec, /*decay=*/1);
    std::vector<double> owed(kElements);
    double largest_residual = 0;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const Floats v = gauss(round, kElements);
      ASSERT_OK_AND_ASSIGN(const auto payload, feedback.encode(v, round));
      ASSERT_OK_AND_ASSIGN(const FeedbackNorms norms, feedback.commit());
      largest_residual = std::max(largest_residual, norms.residual);
      Floats sent(kElements);
      ASSERT_OK(codec->decode(payload->bytes(), sent));
      for (size_t i = 0; i < v.size(); ++i) {
        owed[i] += static_cast<double>(v[i]) - static_cast<double>(sent[i]);
      }
    }
    const Floats kept = residual_of(feedback);
    double lost = 0;
    for (size_t i = 0; i < owed.size(); ++i) {
      lost += std::pow(owed[i] - static_cast<double>(kept[i]), 2);
    }
    // 500 independent roundings of at most 2^-8 of the residual each: sqrt(500 / 3) 2^-8 of it.
    EXPECT_LT(std::sqrt(lost), 0.05 * largest_residual);
    EXPECT_GT(lost, 0);
  }
}

TEST(HalfFeedbackTest, RollbackRestoresTheResidualExactlyAndTheRetrySendsTheSameBytes) {
  for (const core::CodecSpec& spec : every_spec()) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    HalfFeedback feedback(*codec, 0.9);
    ASSERT_OK(feedback.encode(gauss(1, kElements), 1).status());
    ASSERT_OK(feedback.commit().status());
    const std::vector<uint16_t> before = bits_of(feedback);
    const Floats v = gauss(2, kElements);
    ASSERT_OK_AND_ASSIGN(const auto first, feedback.encode(v, 2));
    const std::vector<uint8_t> sent(first->bytes().begin(), first->bytes().end());
    feedback.rollback();
    EXPECT_EQ(bits_of(feedback), before);
    ASSERT_OK_AND_ASSIGN(const auto again, feedback.encode(v, 2));
    EXPECT_TRUE(std::ranges::equal(again->bytes(), sent));
    ASSERT_OK(feedback.commit().status());
    EXPECT_EQ(bits_of(feedback) == before, spec.kind == core::CodecKind::kNone);
  }
}

TEST(HalfFeedbackTest, RefusesASecondEncodeAWrongLengthAndANan) {
  const auto codec = codec_of(quantize_rows(1));
  HalfFeedback feedback(*codec, 1);
  EXPECT_THAT(feedback.encode(Floats(5), 0),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  Floats bad = gauss(2, kElements);
  bad[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(feedback.encode(bad, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 3")));
  ASSERT_OK(feedback.encode(gauss(1, kElements), 0).status());
  EXPECT_THAT(feedback.encode(gauss(1, kElements), 0),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is open")));
}

TEST(HalfFeedbackTest, IsMadeOnlyWhereSomethingIsKept) {
  const auto codec = codec_of(quantize_rows(1));
  EXPECT_NE(dynamic_cast<HalfFeedback*>(make_error_feedback(*codec, true, 1, true).get()), nullptr);
  EXPECT_NE(dynamic_cast<ErrorFeedback*>(make_error_feedback(*codec, false, 1, true).get()),
            nullptr);
  EXPECT_NE(dynamic_cast<ErrorFeedback*>(make_error_feedback(*codec, true, 1, false).get()),
            nullptr);
}

TEST(HalfFeedbackTest, CommitWithoutAnOpenExchangeChangesNothing) {
  const auto codec = codec_of(top_k(32, 0.1));
  HalfFeedback feedback(*codec, 1);
  ASSERT_OK(feedback.encode(gauss(1, kElements), 0).status());
  ASSERT_OK(feedback.commit().status());
  const double owed = feedback.owed_sum();
  ASSERT_OK_AND_ASSIGN(const FeedbackNorms norms, feedback.commit());
  EXPECT_EQ(norms.input, 0);
  EXPECT_EQ(feedback.owed_sum(), owed);
  EXPECT_NE(owed, 0);
}

}  // namespace
}  // namespace laconic::compress
