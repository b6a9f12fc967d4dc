// Error feedback over top-k with reused thresholds: nothing is lost, whatever is aborted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "common/compress/error_feedback.h"
#include "common/compress/positions.h"
#include "common/core/payload_size.h"
#include "tests/compress/each_simd_level.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;

constexpr int64_t kElements = core::kTopKChunk + 111;  // long enough to reuse thresholds
constexpr uint64_t kRounds = 200;

// The scale of what is to be sent changes slowly, and now and then it jumps.
Floats input_of(uint64_t round) {
  static const Floats base = gauss(77, 2 * kElements);
  const auto offset = static_cast<std::ptrdiff_t>((round * 7919) % kElements);
  Floats v(base.begin() + offset, base.begin() + offset + kElements);
  const double jump = round % 50 == 30 ? 10 : round % 50 == 45 ? 0.1 : 1;
  const auto scale = static_cast<float>(jump * (1 + 0.3 * std::sin(static_cast<double>(round))));
  for (float& x : v) {
    x *= scale;
  }
  return v;
}

std::unique_ptr<Codec> codec_of(int bits, double density) {
  auto codec = make_codec(top_k(bits, density), flat(kElements));
  EXPECT_OK(codec.status());
  return *std::move(codec);
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

Bytes encoded(ErrorFeedback& feedback, const Floats& v, uint64_t round) {
  const auto payload = feedback.encode(v, round);
  EXPECT_OK(payload.status());
  return payload.ok() ? Bytes((*payload)->bytes().begin(), (*payload)->bytes().end()) : Bytes();
}

class TopKFeedbackTest : public EachSimdLevel {};
LACONIC_ON_EACH_SIMD_LEVEL(TopKFeedbackTest);

TEST_P(TopKFeedbackTest, SentPlusResidualIsWhatWasOwedInEveryRound) {
  const auto codec = codec_of(32, 0.01);
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  int varying = 0;
  for (uint64_t round = 0; round < kRounds; ++round) {
    const Floats v = input_of(round);
    Floats owed(feedback.residual().begin(), feedback.residual().end());
    for (size_t i = 0; i < owed.size(); ++i) {
      owed[i] += v[i];
    }
    const Bytes payload = encoded(feedback, v, round);
    ASSERT_TRUE(same_bits(feedback.residual(), owed));
    ASSERT_OK_AND_ASSIGN(const PositionSection section,
                         measure_positions(payload, kElements, kElements));
    ASSERT_LE(section.kept, core::kept_elements_max(0.01, kElements));
    varying += section.kept == core::kept_elements(0.01, kElements) ? 0 : 1;
    ASSERT_OK(feedback.commit().status());
    Floats sent(owed.size());
    ASSERT_OK(codec->decode(payload, sent));
    for (size_t i = 0; i < owed.size(); ++i) {
      ASSERT_EQ(sent[i] + feedback.residual()[i], owed[i]) << "round " << round << ", " << i;
    }
  }
  EXPECT_GT(varying, kRounds / 2);  // Most rounds did reuse a threshold.
}

// One of two senders is aborted again and again: it must make the same payloads as the other.
TEST_P(TopKFeedbackTest, AbortedRoundsLeaveNoTrace) {
  for (const int bits : {8, 2}) {
    const auto codec = codec_of(bits, 0.02);
    ErrorFeedback calm(*codec, /*enabled=*/true, /*decay=*/0.95);
    ErrorFeedback aborted(*codec, /*enabled=*/true, /*decay=*/0.95);
    core::Random random(5);
    for (uint64_t round = 0; round < kRounds; ++round) {
      const Floats v = input_of(round);
      const Bytes expected = encoded(calm, v, round);
      for (uint64_t aborts = random.below(3); aborts > 0; --aborts) {
        ASSERT_EQ(encoded(aborted, v, round), expected) << "round " << round;
        aborted.rollback();
      }
      ASSERT_EQ(encoded(aborted, v, round), expected) << "round " << round;
      ASSERT_OK(calm.commit().status());
      ASSERT_OK(aborted.commit().status());
      ASSERT_TRUE(same_bits(calm.residual(), aborted.residual())) << "round " << round;
    }
  }
}

// The bound of a top-k that always keeps 0.8 k (Stich et al. 2018, lemma 3.2). Rounds that keep
// less follow a fall of the inputs, which are far below the largest then.
TEST_P(TopKFeedbackTest, ResidualStaysBounded) {
  constexpr double kDensity = 0.05;
  constexpr double kContraction = 0.8 * kDensity;
  const double bound = 1 / (1 - std::sqrt(1 - kContraction));
  const auto codec = codec_of(32, kDensity);
  ErrorFeedback feedback(*codec, /*enabled=*/true, /*decay=*/1);
  double largest_input = 0;
  for (uint64_t round = 0; round < kRounds; ++round) {
    encoded(feedback, input_of(round), round);
    ASSERT_OK_AND_ASSIGN(const FeedbackNorms norms, feedback.commit());
    largest_input = std::max(largest_input, norms.input);
    ASSERT_LE(norms.residual, bound * largest_input) << round;
  }
}

}  // namespace
}  // namespace laconic::compress
