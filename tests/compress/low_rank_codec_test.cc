#include "common/compress/low_rank_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/compress/distributions.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

constexpr int64_t kRows = 20;
constexpr int64_t kColumns = 12;

core::Layout matrix() {
  return {.tensors = {{"w", kRows, kColumns}}};
}

std::unique_ptr<Codec> codec_of(int factors, const core::Layout& layout) {
  auto codec = make_codec({.kind = core::CodecKind::kLowRank, .factors = factors}, layout);
  EXPECT_OK(codec.status());
  return *std::move(codec);
}

Floats round_trip(const Codec& codec, const Floats& in, EncodeState& state) {
  Bytes payload(static_cast<size_t>(codec.payload_bytes_max()));
  EXPECT_OK(codec.encode(in, state, payload).status());
  Floats out(in.size());
  EXPECT_OK(codec.decode(payload, out));
  return out;
}

// A matrix of rank 3 with singular directions of unlike strength, plus `noise`.
Floats nearly_rank_three(float noise) {
  Floats m = gauss(9, kRows * kColumns);
  for (float& x : m) {
    x *= noise;
  }
  for (uint64_t k = 0; k < 3; ++k) {
    const Floats left = gauss(10 + k, kRows);
    const Floats right = gauss(20 + k, kColumns);
    for (size_t i = 0; i < kRows; ++i) {
      for (size_t j = 0; j < kColumns; ++j) {
        m[i * kColumns + j] += left[i] * right[j] / static_cast<float>(k + 1);
      }
    }
  }
  return m;
}

TEST(LowRankCodecTest, KeepsAMatrixOfItsRank) {
  EncodeState state;
  const Floats in = nearly_rank_three(0);
  EXPECT_LT(error_ratio(in, round_trip(*codec_of(3, matrix()), in, state)), 1e-12);
}

// Vogels et al. 2019, section 3: with the last Q as the start, rounds are steps of a power
// iteration.
TEST(LowRankCodecTest, WarmStartFindsBetterDirectionsRoundAfterRound) {
  const auto codec = codec_of(2, matrix());
  const Floats in = nearly_rank_three(0.3F);
  EncodeState state;
  const double first = error_ratio(in, round_trip(*codec, in, state));
  double last = first;
  for (int round = 0; round < 10; ++round) {
    const double error = error_ratio(in, round_trip(*codec, in, state));
    EXPECT_LE(error, last * (1 + 1e-6));
    last = error;
  }
  EXPECT_LT(last, 0.95 * first);
}

TEST(LowRankCodecTest, IsAProjection) {
  for (const int factors : {1, 2, 5}) {
    EncodeState state;
    const Floats in = gauss(1, kRows * kColumns);
    const Floats out = round_trip(*codec_of(factors, matrix()), in, state);
    double product = 0;
    double square = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      product += static_cast<double>(in[i]) * out[i];
      square += static_cast<double>(out[i]) * out[i];
    }
    EXPECT_NEAR(product, square, 1e-4);  // <M, D> = |D|^2
    EXPECT_LT(error_ratio(in, out), 1);
  }
}

TEST(LowRankCodecTest, SendsVectorsAndSmallMatricesAsTheyAre) {
  const core::Layout layout = {.tensors = {{"b", 1, 9}, {"tall", 9, 1}, {"small", 2, 3}}};
  const Floats in = gauss(1, 24);
  EncodeState state;
  const auto codec = codec_of(2, layout);
  EXPECT_EQ(codec->payload_bytes_max(), 4 * 24);
  EXPECT_EQ(round_trip(*codec, in, state), in);
}

TEST(LowRankCodecTest, LeavesAZeroMatrixAgain) {
  const auto codec = codec_of(2, matrix());
  EncodeState state;
  const Floats zeros(kRows * kColumns);
  EXPECT_EQ(round_trip(*codec, zeros, state), zeros);
  const Floats in = nearly_rank_three(0);
  // Q was zero: without new random columns nothing would ever be sent.
  EXPECT_LT(error_ratio(in, round_trip(*codec, in, state)), 0.9);
}

TEST(LowRankCodecTest, CopyingTheStateKeepsTheStart) {
  const auto codec = codec_of(2, matrix());
  const Floats in = nearly_rank_three(0.3F);
  EncodeState state;
  round_trip(*codec, in, state);
  EncodeState copy = state;
  EXPECT_EQ(round_trip(*codec, in, state), round_trip(*codec, in, copy));
}

TEST(LowRankCodecTest, RefusesFactorsWhoseProductIsInfinite) {
  const auto codec = codec_of(1, matrix());
  const Floats huge(static_cast<size_t>(codec->payload_bytes_max()) / sizeof(float),
                    std::numeric_limits<float>::max());
  Bytes payload(huge.size() * sizeof(float));
  std::memcpy(payload.data(), huge.data(), payload.size());
  Floats out(kRows * kColumns);
  EXPECT_THAT(codec->decode(payload, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not finite")));
}

TEST(LowRankCodecTest, RefusesRanksOutsideTheirRange) {
  for (const int factors : {0, -1, 257}) {
    EXPECT_THAT(make_codec({.kind = core::CodecKind::kLowRank, .factors = factors}, matrix()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed: 1..256")));
  }
}

}  // namespace
}  // namespace laconic::compress
