// Natural compression and stochastic rounding: unbiased, and of the size of error that theory says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/compress/codec.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

core::CodecSpec natural(int rank = 0) {
  return {.kind = core::CodecKind::kNatural, .rank = rank, .world_size = 8};
}

core::CodecSpec stochastic(int bits, int64_t block, int rank = 0) {
  return {.kind = core::CodecKind::kQuantize,
          .bits = bits,
          .block = block,
          .stochastic = true,
          .rank = rank,
          .world_size = 8};
}

Bytes encoded(const core::CodecSpec& spec, const Floats& in, uint64_t seed) {
  const auto codec = make_codec(spec, flat(static_cast<int64_t>(in.size())));
  EXPECT_OK(codec.status());
  Bytes payload(static_cast<size_t>((*codec)->payload_bytes_max()));
  EncodeState state{.seed = seed};
  EXPECT_OK((*codec)->encode(in, state, payload).status());
  return payload;
}

Floats round_trip(const core::CodecSpec& spec, const Floats& in, uint64_t seed) {
  const auto codec = make_codec(spec, flat(static_cast<int64_t>(in.size())));
  EXPECT_OK(codec.status());
  EXPECT_TRUE((*codec)->unbiased());
  Floats out(in.size());
  EXPECT_OK((*codec)->decode(encoded(spec, in, seed), out));
  return out;
}

double error_ratio(const Floats& in, const Floats& out) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    error += std::pow(static_cast<double>(in[i]) - out[i], 2);
    norm += std::pow(static_cast<double>(in[i]), 2);
  }
  return error / norm;
}

// |mean over seeds - x| <= 5 standard deviations of the mean, `step` the largest possible error.
void expect_unbiased(const core::CodecSpec& spec, const Floats& in, const Floats& step) {
  constexpr uint64_t kSeeds = 10'000;
  std::vector<double> mean(in.size());
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Floats out = round_trip(spec, in, seed);
    for (size_t i = 0; i < in.size(); ++i) {
      mean[i] += static_cast<double>(out[i]) / kSeeds;
    }
  }
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_NEAR(mean[i], in[i], 5 * step[i] / 2 / std::sqrt(kSeeds)) << i;
  }
}

TEST(NaturalCodecTest, WritesTheDocumentedBytes) {
  // Powers of two are kept by every seed. 2^0 has exponent bits 127 = 7F, 2^-126 has 1.
  EXPECT_THAT(encoded(natural(), {1, -2, 0, -0.0F, 0.5F, -0x1p-126F, 1, 1, -1}, 9),
              ElementsAre(0x7F, 0x80, 0, 0, 0x7E, 1, 0x7F, 0x7F, 0x7F, 0x22, 0x01));
}

TEST(NaturalCodecTest, MeanOverSeedsIsTheElementDownToDenormals) {
  expect_unbiased(natural(), {1.5F, -2.9F, 0.3F, 0x1p-127F}, {1, 2, 0.25F, 0x1p-126F});
}

// Horvath et al. 2019, theorem 1: E |C(x) - x|^2 <= |x|^2 / 8; measured in the project's table:
// .082.
TEST(NaturalCodecTest, HasTheErrorOfTheTable) {
  const Floats in = gauss(1, 1 << 18);
  EXPECT_NEAR(error_ratio(in, round_trip(natural(), in, 3)), 0.082, 0.002);
}

TEST(NaturalCodecTest, RefusesReservedCodes) {
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(natural(), flat(2)));
  Floats out(2);
  for (const Bytes& bad : {Bytes{255, 0, 0}, Bytes{0, 1, 1}, Bytes{1, 1, 4}}) {
    EXPECT_THAT(codec->decode(bad, out), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  }
  EXPECT_OK(codec->decode(Bytes{1, 254, 3}, out));
  EXPECT_THAT(out, ElementsAre(-0x1p-126F, -0x1p127F));
}

TEST(StochasticQuantizeTest, MeanOverSeedsIsTheElement) {
  // Scale 1 at 4 bits (absmax 7): one code is one apart.
  expect_unbiased(stochastic(4, 16), {7, -6.75F, 0.1F, -0.5F, 3.3F}, {1, 1, 1, 1, 1});
  expect_unbiased(stochastic(8, 16), {127, -126.75F, 0.1F, -0.5F, 33.3F}, {1, 1, 1, 1, 1});
}

// The project's table of value codes: int4 stochastic, block 64, Gauss: 2.3e-2.
TEST(StochasticQuantizeTest, HasTheErrorOfTheTable) {
  const Floats in = gauss(1, 1 << 18);
  EXPECT_NEAR(error_ratio(in, round_trip(stochastic(4, 64), in, 3)), 0.023, 0.001);
}

TEST(StochasticQuantizeTest, ErrorsOfRanksAverageOut) {
  constexpr int kRanks = 8;
  const Floats in = gauss(1, 1 << 14);
  for (const bool powers : {true, false}) {
    Floats mean(in.size());
    double alone = 0;
    for (int rank = 0; rank < kRanks; ++rank) {
      const Floats out = round_trip(powers ? natural(rank) : stochastic(4, 64, rank), in, 3);
      alone = error_ratio(in, out);
      for (size_t i = 0; i < in.size(); ++i) {
        mean[i] += out[i] / kRanks;
      }
    }
    EXPECT_NEAR(error_ratio(in, mean), alone / kRanks, 0.1 * alone / kRanks);
  }
}

TEST(StochasticQuantizeTest, OtherSeedsGiveOtherBytes) {
  const Floats in = gauss(1, 1000);
  for (const core::CodecSpec& spec : {natural(), stochastic(8, 64), stochastic(4, 64)}) {
    EXPECT_EQ(encoded(spec, in, 1), encoded(spec, in, 1));
    EXPECT_NE(encoded(spec, in, 1), encoded(spec, in, 2));
  }
}

TEST(StochasticQuantizeTest, RefusesTwoAndOneBits) {
  for (const int bits : {2, 1}) {
    EXPECT_THAT(make_codec(stochastic(bits, 64), flat(10)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed: 8, 4")));
  }
}

}  // namespace
}  // namespace laconic::compress
