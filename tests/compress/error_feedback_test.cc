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

using Encoded = std::shared_ptr<const core::ByteBuffer>;

Floats decoded(const Codec& codec, const Encoded& payload) {
  Floats out(static_cast<size_t>(codec.elements()));
  EXPECT_OK(codec.decode(payload->bytes(), out));
  return out;
}

std::vector<uint8_t> bytes_of(const Encoded& payload) {
  return {payload->bytes().begin(), payload->bytes().end()};
}

FeedbackNorms committed(ErrorFeedback& feedback) {
  const absl::StatusOr<FeedbackNorms> norms = feedback.commit();
  EXPECT_OK(norms.status());
  return norms.value_or(FeedbackNorms{});
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
    default:
      break;  // Not in every_spec().
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
      ASSERT_OK_AND_ASSIGN(const Encoded update, feedback.encode(v));
      committed(feedback);
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
      ASSERT_OK_AND_ASSIGN(const Encoded update, feedback.encode(v));
      committed(feedback);
      const Floats sent = decoded(*codec, update);
      for (size_t i = 0; i < v.size(); ++i) {
        ASSERT_EQ(sent[i] + feedback.residual()[i], v[i]) << bits << " bits, " << i;
      }
    }
  }
}

TEST(ErrorFeedbackTest, RollbackKeepsWhatIsOwedBitForBitAndTheRetrySendsTheSameBytes) {
  constexpr float kDecay = 0.9F;
  for (const core::CodecSpec& spec : every_spec()) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    ErrorFeedback feedback(*codec, /*enabled=*/true, static_cast<double>(kDecay));
    ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
    committed(feedback);
    const Floats v = gauss(2, kElements);
    Floats owed = copy(feedback.residual());
    for (size_t i = 0; i < owed.size(); ++i) {
      const volatile float decayed = kDecay * owed[i];  // no fused multiply-add
      owed[i] = decayed + v[i];
    }
    ASSERT_OK_AND_ASSIGN(const Encoded first, feedback.encode(v, /*seed=*/3));
    const std::vector<uint8_t> sent = bytes_of(first);
    feedback.rollback();
    EXPECT_TRUE(same_bits(feedback.residual(), owed));
    ASSERT_OK_AND_ASSIGN(const Encoded again, feedback.encode(v, /*seed=*/3));
    EXPECT_EQ(bytes_of(again), sent);
    feedback.rollback();
    EXPECT_TRUE(same_bits(feedback.residual(), owed));
  }
}

TEST(ErrorFeedbackTest, PayloadStaysWhileItIsHeld) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK_AND_ASSIGN(const Encoded first, feedback.encode(gauss(1, kElements)));
  const std::vector<uint8_t> before = bytes_of(first);
  committed(feedback);
  ASSERT_OK_AND_ASSIGN(const Encoded second, feedback.encode(gauss(2, kElements)));
  EXPECT_EQ(bytes_of(first), before);
  EXPECT_NE(bytes_of(second), before);
}

TEST(ErrorFeedbackTest, CommitReportsTheNormOfTheResidualItLeaves) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
  const FeedbackNorms norms = committed(feedback);
  EXPECT_NEAR(norm(feedback.residual()), norms.residual, 1e-12);
  EXPECT_GT(norms.residual, 0);
}

TEST(ErrorFeedbackTest, ZeroDecayForgetsTheResidual) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/0);
  ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
  committed(feedback);
  ASSERT_OK_AND_ASSIGN(const Encoded update, feedback.encode(gauss(2, kElements)));
  ASSERT_OK_AND_ASSIGN(const auto plain, codec->encode(gauss(2, kElements)));
  EXPECT_EQ(bytes_of(update), plain);
}

TEST(ErrorFeedbackTest, DisabledKeepsNoResidualButReportsTheError) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/false, /*decay=*/1);
  for (uint64_t round = 0; round < 3; ++round) {
    const Floats v = gauss(round, kElements);
    ASSERT_OK_AND_ASSIGN(const Encoded update, feedback.encode(v));
    ASSERT_OK_AND_ASSIGN(const auto plain, codec->encode(v));
    EXPECT_EQ(bytes_of(update), plain);
    const FeedbackNorms norms = committed(feedback);
    EXPECT_EQ(norms.residual, 0);
    EXPECT_GT(norms.compression_error_ratio, 0);
    EXPECT_EQ(norm(feedback.residual()), 0);
  }
}

TEST(ErrorFeedbackTest, ReportsNormsAndTheErrorRatio) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  const Floats v = gauss(1, kElements);
  ASSERT_OK(feedback.encode(v).status());
  const FeedbackNorms norms = committed(feedback);
  EXPECT_NEAR(norms.input, norm(v), 1e-12);
  EXPECT_NEAR(norms.compression_error_ratio, std::pow(norms.residual / norm(v), 2), 1e-12);
  ASSERT_OK(feedback.set_residual(Floats(kElements)));
  ASSERT_OK(feedback.encode(Floats(kElements)).status());
  EXPECT_EQ(committed(feedback).compression_error_ratio, 0);
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
      ASSERT_OK_AND_ASSIGN(const Encoded update, feedback.encode(v));
      const FeedbackNorms norms = committed(feedback);
      const Floats sent = decoded(*codec, update);
      for (size_t i = 0; i < v.size(); ++i) {
        owed[i] += static_cast<double>(v[i]) - static_cast<double>(sent[i]);
      }
      largest_input = std::max(largest_input, norms.input);
      ASSERT_LE(norms.residual, kResidualBound * largest_input) << round;
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

TEST(ErrorFeedbackTest, BadInputIsAnErrorAndLeavesNoOpenExchange) {
  const auto codec = codec_of(quantize_rows(1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(feedback.encode(gauss(1, kElements)).status());
  committed(feedback);
  Floats bad = gauss(2, kElements);
  bad[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(feedback.encode(bad),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 3")));
  EXPECT_THAT(feedback.encode(Floats(5)),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  ASSERT_OK(feedback.set_residual(Floats(kElements)));
  EXPECT_OK(feedback.encode(gauss(2, kElements)).status());
}

TEST(ErrorFeedbackTest, OverflowOfResidualPlusInputIsAnError) {
  const auto codec = codec_of(top_k(32, 0.1));
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  const Floats huge(kElements, 3e38F);
  ASSERT_OK(feedback.set_residual(huge));
  EXPECT_THAT(feedback.encode(huge),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inf")));
}

TEST(ErrorFeedbackTest, ContinuesFromARestoredResidual) {
  const auto codec = codec_of(top_k(4, 0.1));
  ErrorFeedback first(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(first.encode(gauss(1, kElements)).status());
  committed(first);
  ErrorFeedback second(*codec, /*enabled=*/true, /*decay=*/1);
  ASSERT_OK(second.set_residual(first.residual()));
  ASSERT_OK_AND_ASSIGN(const Encoded a, first.encode(gauss(2, kElements)));
  ASSERT_OK_AND_ASSIGN(const Encoded b, second.encode(gauss(2, kElements)));
  EXPECT_EQ(bytes_of(a), bytes_of(b));
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
