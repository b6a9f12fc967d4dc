#include "common/compress/random_codecs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "common/compress/random_subset.h"
#include "common/core/codec_sizes.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

core::CodecSpec rand_k(double density, bool scaled) {
  return {.kind = core::CodecKind::kRandK, .density = density, .scaled = scaled};
}

core::CodecSpec perm_k(int rank, int world_size, bool scaled) {
  return {
      .kind = core::CodecKind::kPermK, .scaled = scaled, .rank = rank, .world_size = world_size};
}

std::unique_ptr<Codec> codec_of(const core::CodecSpec& spec, int64_t elements) {
  auto codec = make_codec(spec, flat(elements));
  EXPECT_OK(codec.status());
  return *std::move(codec);
}

Bytes encoded(const Codec& codec, const Floats& in, uint64_t seed) {
  Bytes payload(static_cast<size_t>(codec.payload_bytes_max()));
  EncodeState state{.seed = seed};
  const auto bytes = codec.encode(in, state, payload);
  EXPECT_OK(bytes.status());
  payload.resize(bytes.value_or(0));
  return payload;
}

Floats round_trip(const Codec& codec, const Floats& in, uint64_t seed) {
  Floats out(in.size());
  EXPECT_OK(codec.decode(encoded(codec, in, seed), out));
  return out;
}

TEST(RandomSubsetTest, HasDistinctAscendingPositionsInRange) {
  for (const int64_t elements : {1, 2, 63, 64, 65, 1000}) {
    for (const int64_t kept : {int64_t{0}, int64_t{1}, elements / 2, elements}) {
      const std::vector<uint32_t> positions = random_subset(5, elements, kept);
      ASSERT_EQ(positions.size(), static_cast<size_t>(kept));
      EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
      EXPECT_EQ(std::adjacent_find(positions.begin(), positions.end()), positions.end());
      EXPECT_TRUE(positions.empty() || positions.back() < elements);
    }
  }
}

// Golden: ranks of other builds must draw the same.
TEST(RandomSubsetTest, IsTheSameOnEveryMachine) {
  EXPECT_THAT(random_subset(1, 100, 4), ElementsAre(9U, 43U, 52U, 71U));
  EXPECT_THAT(random_part(1, 12, 1, 3), ElementsAre(1U, 3U, 5U, 7U));
}

TEST(RandomSubsetTest, TakesEveryPairEquallyOften) {
  constexpr int kDraws = 15'000;
  std::vector<int> counts(36);
  for (int seed = 0; seed < kDraws; ++seed) {
    const std::vector<uint32_t> pair = random_subset(static_cast<uint64_t>(seed), 6, 2);
    ++counts[pair[0] * 6 + pair[1]];
  }
  for (uint32_t i = 0; i < 6; ++i) {
    for (uint32_t j = i + 1; j < 6; ++j) {
      EXPECT_NEAR(counts[i * 6 + j], kDraws / 15.0, 150) << i << ", " << j;  // 5 sigma
    }
  }
}

TEST(RandomPartTest, PartsAreAPartitionOfTheDocumentedSizes) {
  for (const int64_t parts : {1, 2, 3, 7, 20}) {
    for (const int64_t elements : {1, 2, 7, 100, 1001}) {
      std::vector<int> seen(static_cast<size_t>(elements));
      for (int64_t part = 0; part < parts; ++part) {
        const std::vector<uint32_t> positions = random_part(9, elements, part, parts);
        EXPECT_EQ(static_cast<int64_t>(positions.size()),
                  (part + 1) * elements / parts - part * elements / parts);
        EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
        for (const uint32_t position : positions) {
          ++seen[position];
        }
      }
      EXPECT_EQ(seen, std::vector<int>(static_cast<size_t>(elements), 1));
    }
  }
}

TEST(RandKCodecTest, KeepsTheSeedsElementsAndDropsTheRest) {
  const Floats in = gauss(1, 200);
  const Floats out = round_trip(*codec_of(rand_k(0.1, false), 200), in, 77);
  Floats expected(200);
  for (const uint32_t position : random_subset(77, 200, 20)) {
    expected[position] = in[position];
  }
  EXPECT_EQ(out, expected);
}

TEST(RandKCodecTest, SumOfTheValuesIsTheSumOfTheVectors) {
  const auto codec = codec_of(rand_k(0.25, true), 40);
  EXPECT_TRUE(codec->additive());
  const Floats a(40, 1.5F);
  const Floats b(40, -0.25F);
  Bytes sum = encoded(*codec, a, 3);
  const Bytes other = encoded(*codec, b, 3);
  ASSERT_EQ(sum.size(), other.size());
  for (size_t at = core::kSeedBytes; at < sum.size(); at += sizeof(float)) {
    float x = 0;
    float y = 0;
    std::memcpy(&x, sum.data() + at, sizeof x);
    std::memcpy(&y, other.data() + at, sizeof y);
    x += y;
    std::memcpy(sum.data() + at, &x, sizeof x);
  }
  Floats added(40);
  Floats decoded_sum(40);
  ASSERT_OK(codec->decode(encoded(*codec, a, 3), added));
  ASSERT_OK(codec->decode_add(other, 1, added));
  ASSERT_OK(codec->decode(sum, decoded_sum));
  EXPECT_EQ(decoded_sum, added);
}

// Stich, Cordonnier, Jaggi 2018, lemma A.1: E |x - C(x)|^2 = (1 - k/d) |x|^2.
TEST(RandKCodecTest, DropsItsShareOfTheEnergyInTheMean) {
  const auto codec = codec_of(rand_k(0.3, false), 500);
  EXPECT_FALSE(codec->unbiased());
  const Floats in = gauss(1, 500);
  double kept = 0;
  double all = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    for (const float x : round_trip(*codec, in, seed)) {
      kept += static_cast<double>(x) * x;
    }
  }
  for (const float x : in) {
    all += 400 * static_cast<double>(x) * x;
  }
  EXPECT_NEAR(kept / all, 0.3, 0.01);
}

TEST(RandKCodecTest, ScaledMeanOverSeedsIsTheVector) {
  constexpr uint64_t kSeeds = 20'000;
  const auto codec = codec_of(rand_k(0.25, true), 8);
  EXPECT_TRUE(codec->unbiased());
  const Floats in{1, -2, 3, -4, 5, -6, 7, -8};
  std::vector<double> mean(8);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Floats out = round_trip(*codec, in, seed);
    for (size_t i = 0; i < 8; ++i) {
      mean[i] += static_cast<double>(out[i]) / kSeeds;
    }
  }
  for (size_t i = 0; i < 8; ++i) {
    // Standard deviation of one: |x| sqrt(d/k - 1); five of the mean's.
    EXPECT_NEAR(mean[i], in[i], std::abs(in[i]) * 5 * std::sqrt(3.0 / kSeeds)) << i;
  }
}

// Szlendak, Tyurin, Richtarik 2021, section 3: equal vectors are aggregated without an error.
TEST(PermKCodecTest, MeanOfEqualVectorsIsExact) {
  for (const int world : {1, 2, 3, 7}) {
    for (const int64_t size : {1, 5, 100, 257}) {
      const Floats in = gauss(1, size);
      Floats sum(in.size());
      for (int rank = 0; rank < world; ++rank) {
        const auto codec = codec_of(perm_k(rank, world, true), size);
        ASSERT_OK(codec->decode_add(encoded(*codec, in, 5), 1, sum));
      }
      for (size_t i = 0; i < in.size(); ++i) {
        // Two roundings: of P x and of the mean.
        ASSERT_NEAR(sum[i] / static_cast<float>(world), in[i], std::abs(in[i]) * 0x1p-22F);
      }
    }
  }
}

TEST(PermKCodecTest, EveryElementIsInARanksPartOnceInPSeeds) {
  constexpr uint64_t kSeeds = 9'000;
  const auto codec = codec_of(perm_k(1, 3, true), 4);  // Parts of 1, 1 and 2 elements.
  EXPECT_FALSE(codec->fixed_size());
  EXPECT_TRUE(codec->unbiased());
  std::vector<int> counts(4);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Floats out = round_trip(*codec, Floats(4, 1.0F), seed);
    for (size_t i = 0; i < 4; ++i) {
      counts[i] += out[i] == 3.0F ? 1 : 0;
    }
  }
  for (const int count : counts) {
    EXPECT_NEAR(count, kSeeds / 3.0, 225);  // 5 sigma
  }
}

TEST(PermKCodecTest, RefusesAPartThatDoesNotExist) {
  const auto codec = codec_of(perm_k(0, 3, false), 9);
  Bytes payload = encoded(*codec, Floats(9, 1.0F), 1);
  payload[core::kSeedBytes] = 3;
  Floats out(9);
  EXPECT_THAT(codec->decode(payload, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("part 3 of 3")));
}

TEST(RandKCodecTest, SpecsOutsideTheirRangesAreRefused) {
  for (const core::CodecSpec& spec :
       {rand_k(0, false), rand_k(0.6, false), rand_k(-1, false), perm_k(3, 3, false),
        perm_k(-1, 3, false), perm_k(0, 0, false), perm_k(0, 70000, false)}) {
    EXPECT_THAT(make_codec(spec, flat(10)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed")));
  }
}

}  // namespace
}  // namespace laconic::compress
