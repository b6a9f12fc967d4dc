#include "common/compress/error_feedback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

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

Floats copy(std::span<const float> values) {
  return {values.begin(), values.end()};
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

double norm(std::span<const float> values) {
  double sum = 0;
  for (const float x : values) {
    sum += static_cast<double>(x) * static_cast<double>(x);
  }
  return std::sqrt(sum);
}

Floats decoded(const Codec& codec, const EncodedUpdate& update) {
  Floats out(static_cast<size_t>(codec.elements()));
  EXPECT_OK(codec.decode(update.payload, out));
  return out;
}

// Codes for which a - D(Q(a)) is exact in float32.
bool exact_difference(const core::CodecSpec& spec) {
  switch (spec.kind) {
    case core::CodecKind::kNone:
      return true;
    case core::CodecKind::kQuantize:
      return spec.bits == 8 || spec.bits == 4;
    case core::CodecKind::kTopK:
      return spec.bits == 32 || spec.bits == 8;
  }
  return false;
}

TEST(ErrorFeedbackTest, SentPlusResidualIsDecayedResidualPlusInput) {
  constexpr float kDecay = 0.95F;
  constexpr double kOneRounding = 0x1p-23;  // of the difference and of the sum, 2^-24 each
  for (const core::CodecSpec& spec : every_spec()) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    ErrorFeedback feedback(*codec, /*enabled=*/true, static_cast<double>(kDecay));
    for (uint64_t round = 0; round < 20; ++round) {
      const Floats before = copy(feedback.residual());
      const Floats v = gauss(100 + round, kElements);
      ASSERT_OK_AND_ASSIGN(const EncodedUpdate update, feedback.encode(v));
      feedback.commit();
      const Floats sent = decoded(*codec, update);
      for (size_t i = 0; i < v.size(); ++i) {
        // Volatile: no fused multiply-add on machines that have one.
        const volatile float decayed = kDecay * before[i];
        const float a = decayed + v[i];
        const float e = feedback.residual()[i];
        ASSERT_EQ(e, a - sent[i]) << i;
        if (exact_difference(spec) || sent[i] == 0) {
          ASSERT_EQ(sent[i] + e, a) << i;
        } else {
          ASSERT_NEAR(sent[i] + e, a, kOneRounding * std::max(std::abs(a), std::abs(sent[i]))) << i;
        }
      }
    }
  }
}

// Sterbenz needs the code next to zero right: elements on either side of half a step.
TEST(ErrorFeedbackTest, DifferenceIsExactAtTheBorderOfTheFirstCode) {
  for (const int bits : {8, 4}) {
    const auto codec = codec_of(quantize_blocks(bits, 65536));
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const float step = 0.5F + static_cast<float>(core::Random(seed).uniform());
      Floats v(kElements, step / 2);
      v[0] = step * (bits == 8 ? 127.0F : 7.0F);
      for (size_t i = 1; i < v.size(); ++i) {
        // Around half a step of the scale as it is sent, which is a little larger than `step`.
        v[i] *= 1.0F + static_cast<float>(i) / kElements * 0x1p-6F;
      }
      ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
      ASSERT_OK_AND_ASSIGN(const EncodedUpdate update, feedback.encode(v));
      feedback.commit();
      const Floats sent = decoded(*codec, update);
      for (size_t i = 0; i < v.size(); ++i) {
        ASSERT_EQ(sent[i] + feedback.residual()[i], v[i]) << bits << " bits, " << i;
      }
    }
  }
}

TEST(ErrorFeedbackTest, RollbackRestoresTheResidualBitForBit) {
  for (const core::CodecSpec& spec : every_spec()) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/0.9);
    ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
    feedback.commit();
    const Floats before = copy(feedback.residual());
    ASSERT_OK_AND_ASSIGN(const EncodedUpdate first, feedback.encode(gauss(2, kElements)));
    feedback.rollback();
    EXPECT_TRUE(same_bits(feedback.residual(), before));
    ASSERT_OK_AND_ASSIGN(const EncodedUpdate again, feedback.encode(gauss(2, kElements)));
    EXPECT_EQ(again.payload, first.payload);
  }
}

TEST(ErrorFeedbackTest, ResidualChangesOnlyAtCommit) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK_AND_ASSIGN(const EncodedUpdate update, feedback.encode(gauss(1, kElements)));
  EXPECT_EQ(norm(feedback.residual()), 0);
  feedback.commit();
  EXPECT_EQ(norm(feedback.residual()), update.residual_norm);
  EXPECT_GT(update.residual_norm, 0);
}

TEST(ErrorFeedbackTest, ZeroDecayForgetsTheResidual) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/0);
  ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
  feedback.commit();
  ASSERT_OK_AND_ASSIGN(const EncodedUpdate update, feedback.encode(gauss(2, kElements)));
  ASSERT_OK_AND_ASSIGN(const auto plain, codec->encode(gauss(2, kElements)));
  EXPECT_EQ(update.payload, plain);
}

TEST(ErrorFeedbackTest, DisabledKeepsNoResidualButReportsTheError) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/false, /*decay=*/1);
  for (uint64_t round = 0; round < 3; ++round) {
    const Floats v = gauss(round, kElements);
    ASSERT_OK_AND_ASSIGN(const EncodedUpdate update, feedback.encode(v));
    feedback.commit();
    ASSERT_OK_AND_ASSIGN(const auto plain, codec->encode(v));
    EXPECT_EQ(update.payload, plain);
    EXPECT_EQ(update.residual_norm, 0);
    EXPECT_GT(update.compression_error_ratio, 0);
    EXPECT_EQ(norm(feedback.residual()), 0);
  }
}

TEST(ErrorFeedbackTest, ReportsNormsAndTheErrorRatio) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  const Floats v = gauss(1, kElements);
  ASSERT_OK_AND_ASSIGN(const EncodedUpdate update, feedback.encode(v));
  EXPECT_DOUBLE_EQ(update.input_norm, norm(v));
  EXPECT_NEAR(update.compression_error_ratio, std::pow(update.residual_norm / norm(v), 2), 1e-12);
  feedback.rollback();
  ASSERT_OK_AND_ASSIGN(const EncodedUpdate zero, feedback.encode(Floats(kElements)));
  EXPECT_EQ(zero.compression_error_ratio, 0);
}

// The residual of a contraction with factor 1 - delta stays below 1 / (1 - sqrt(1 - delta)) times
// the largest input (Stich et al. 2018, lemma 3.2), so what was sent is the input on average.
// The coarsest codecs here have delta = 0.1: the bound is 19.5.
TEST(ErrorFeedbackTest, ResidualStaysBoundedAndTheMeanErrorVanishes) {
  constexpr double kResidualBound = 19.5;
  constexpr int kRounds = 1000;
  for (const core::CodecSpec& spec :
       {quantize_rows(8), quantize_rows(4), quantize_rows(2), quantize_rows(1),
        quantize_blocks(1, 256), top_k(32, 0.1), top_k(8, 0.1), top_k(4, 0.1), top_k(2, 0.1)}) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
    const Floats mean = gauss(7, kElements);
    std::vector<double> owed(kElements);  // sum of inputs minus sum of what was sent
    double largest_input = 0;
    for (uint64_t round = 0; round < kRounds; ++round) {
      Floats v = gauss(1000 + round, kElements);
      std::transform(v.begin(), v.end(), mean.begin(), v.begin(), std::plus<>());
      ASSERT_OK_AND_ASSIGN(const EncodedUpdate update, feedback.encode(v));
      feedback.commit();
      const Floats sent = decoded(*codec, update);
      for (size_t i = 0; i < v.size(); ++i) {
        owed[i] += static_cast<double>(v[i]) - static_cast<double>(sent[i]);
      }
      largest_input = std::max(largest_input, update.input_norm);
      ASSERT_LE(update.residual_norm, kResidualBound * largest_input) << round;
    }
    const Floats owed_single(owed.begin(), owed.end());
    EXPECT_LE(norm(owed_single) / kRounds, kResidualBound * largest_input / kRounds);
    // Rounding of 1000 float32 sums of numbers below 100.
    EXPECT_NEAR(norm(owed_single), norm(feedback.residual()), 0.1);
  }
}

TEST(ErrorFeedbackTest, RefusesASecondEncodeBeforeTheFirstIsClosed) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
  EXPECT_THAT(feedback.encode(gauss(1, kElements)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is open")));
  EXPECT_THAT(feedback.set_residual(gauss(1, kElements)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is open")));
}

TEST(ErrorFeedbackTest, BadInputLeavesTheResidualAndNoOpenExchange) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
  feedback.commit();
  const Floats before = copy(feedback.residual());
  Floats bad = gauss(2, kElements);
  bad[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(feedback.encode(bad),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 3")));
  EXPECT_THAT(feedback.encode(Floats(5)),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_TRUE(same_bits(feedback.residual(), before));
  EXPECT_OK(feedback.encode(gauss(2, kElements)).status());
}

TEST(ErrorFeedbackTest, OverflowOfResidualPlusInputIsAnError) {
  const auto codec = codec_of(top_k(32, 0.1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  const Floats huge(kElements, 3e38F);
  ASSERT_OK(feedback.set_residual(huge));
  EXPECT_THAT(feedback.encode(huge),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inf")));
  EXPECT_TRUE(same_bits(feedback.residual(), huge));
}

TEST(ErrorFeedbackTest, ContinuesFromARestoredResidual) {
  const auto codec = codec_of(top_k(4, 0.1));
  ErrorFeedback first(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(first.encode(gauss(1, kElements)).status());
  first.commit();
  ErrorFeedback second(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(second.set_residual(first.residual()));
  ASSERT_OK_AND_ASSIGN(const EncodedUpdate a, first.encode(gauss(2, kElements)));
  ASSERT_OK_AND_ASSIGN(const EncodedUpdate b, second.encode(gauss(2, kElements)));
  EXPECT_EQ(a.payload, b.payload);
}

TEST(ErrorFeedbackTest, RefusesARestoredResidualOfWrongLengthOrWithNan) {
  const auto codec = codec_of(top_k(4, 0.1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  EXPECT_THAT(feedback.set_residual(Floats(kElements + 1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("301")));
  EXPECT_THAT(feedback.set_residual(Floats(kElements, std::numeric_limits<float>::quiet_NaN())),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nan")));
}

}  // namespace
}  // namespace laconic::compress
