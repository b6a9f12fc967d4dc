#include "common/compress/ef21.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/compress/error_feedback.h"
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

FeedbackNorms round_of(Ef21& feedback, const Floats& v, uint64_t round) {
  EXPECT_OK(feedback.encode(v, round).status());
  const absl::StatusOr<FeedbackNorms> norms = feedback.commit();
  EXPECT_OK(norms.status());
  return norms.value_or(FeedbackNorms{});
}

// NeurIPS 2021, algorithm 2, line 6 and 7: what is held after a round is what was held plus what
// was sent, bit for bit, so a receiver that adds up the payloads holds the same.
TEST(Ef21Test, SenderHoldsWhatAReceiverAddsUp) {
  for (const core::CodecSpec& spec : every_spec()) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    Ef21 feedback(*codec);
    Floats receiver(kElements);
    for (uint64_t round = 0; round < 20; ++round) {
      const Floats v = gauss(100 + round, kElements);
      const Floats before = copy(feedback.held());
      ASSERT_OK_AND_ASSIGN(const auto payload, feedback.encode(v, round));
      EXPECT_EQ(copy(feedback.held()), before);
      ASSERT_OK_AND_ASSIGN(const FeedbackNorms norms, feedback.commit());
      ASSERT_OK(codec->decode_add(payload->bytes(), 1.0F, receiver));
      ASSERT_EQ(receiver, copy(feedback.held()));
      double missed = 0;
      for (size_t i = 0; i < v.size(); ++i) {
        missed += std::pow(static_cast<double>(v[i]) - static_cast<double>(receiver[i]), 2);
      }
      // float32 roundings of h + D, of numbers below 8.
      ASSERT_NEAR(norms.residual, std::sqrt(missed), 1e-5);
      ASSERT_LE(norms.residual, norms.owed);
    }
  }
}

// Theorem 1's recursion with a constant v: every round leaves at most 1 - delta of the difference,
// for top-k delta = k / d.
TEST(Ef21Test, DifferenceVanishesGeometricallyWhereTheInputSettles) {
  const auto codec = codec_of(top_k(32, 0.1));
  Ef21 feedback(*codec);
  const Floats v = gauss(5, kElements);
  double before = round_of(feedback, v, 0).owed;
  for (uint64_t round = 1; round < 10; ++round) {
    const FeedbackNorms norms = round_of(feedback, v, round);
    EXPECT_LE(norms.owed * norms.owed, 0.9 * before * before) << round;
    before = norms.owed;
  }
  round_of(feedback, v, 10);
  // Ten rounds of a tenth each have sent every element, in float32 and from zero: exactly.
  EXPECT_EQ(copy(feedback.held()), v);
  EXPECT_EQ(feedback.owed_sum(), 0);
}

TEST(Ef21Test, RollbackLeavesNoTraceAndTheRetrySendsTheSameBytes) {
  for (const core::CodecSpec& spec : every_spec()) {
    SCOPED_TRACE(describe(spec));
    const auto codec = codec_of(spec);
    Ef21 feedback(*codec);
    Ef21 undisturbed(*codec);
    round_of(feedback, gauss(1, kElements), 1);
    round_of(undisturbed, gauss(1, kElements), 1);
    const Floats v = gauss(2, kElements);
    for (int attempt = 0; attempt < 2; ++attempt) {
      ASSERT_OK(feedback.encode(v, 2).status());
      feedback.rollback();
      EXPECT_EQ(copy(feedback.held()), copy(undisturbed.held()));
    }
    ASSERT_OK_AND_ASSIGN(const auto again, feedback.encode(v, 2));
    ASSERT_OK_AND_ASSIGN(const auto once, undisturbed.encode(v, 2));
    EXPECT_TRUE(std::ranges::equal(again->bytes(), once->bytes()));
  }
}

TEST(Ef21Test, RefusesASecondEncodeAWrongLengthAndANan) {
  const auto codec = codec_of(quantize_rows(1));
  Ef21 feedback(*codec);
  EXPECT_THAT(feedback.encode(Floats(5), 0),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  Floats bad = gauss(2, kElements);
  bad[3] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(feedback.encode(bad, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 3")));
  ASSERT_OK(feedback.encode(gauss(1, kElements), 0).status());
  EXPECT_THAT(feedback.encode(gauss(1, kElements), 0),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is open")));
}

TEST(Ef21Test, CommitWithoutAnOpenExchangeChangesNothing) {
  const auto codec = codec_of(quantize_rows(1));
  Ef21 feedback(*codec);
  round_of(feedback, gauss(1, kElements), 1);
  const Floats before = copy(feedback.held());
  ASSERT_OK_AND_ASSIGN(const FeedbackNorms norms, feedback.commit());
  EXPECT_EQ(norms.input, 0);
  feedback.rollback();
  EXPECT_EQ(copy(feedback.held()), before);
}

}  // namespace
}  // namespace laconic::compress
