#include "common/compress/entropy_top_k_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/compress/input_check.h"
#include "common/compress/rice_positions.h"
#include "common/core/bits.h"
#include "tests/compress/distributions.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;
using Positions = std::vector<uint32_t>;

Positions random_positions(uint64_t seed, int64_t elements, double density) {
  core::Random random(seed);
  Positions positions;
  for (uint32_t at = 0; at < elements; ++at) {
    if (random.uniform() < density) {
      positions.push_back(at);
    }
  }
  return positions;
}

// docs/wire-format.md, "Entropy stage": 4 of 16, so r = 1; gaps 2, 0, 5, 5.
TEST(RicePositionsTest, WritesTheDocumentedBytes) {
  EXPECT_EQ(rice_low_bits(16, 4), 1);
  const Positions positions{2, 3, 9, 15};
  EXPECT_THAT(encode_rice_positions(positions, 16), ElementsAre(0x44, 0x31, 0x03));
}

TEST(RicePositionsTest, DecodesWhatItEncodedForEverySizeAndDensity) {
  for (const int64_t elements : {1, 2, 17, 251, 65'535, 65'536, 65'537, 150'000}) {
    for (const double density : {0.0, 0.0001, 0.01, 0.3, 0.7, 1.0}) {
      SCOPED_TRACE(absl::StrCat(density, " of ", elements));
      const Positions positions = random_positions(3, elements, density);
      Bytes bytes = encode_rice_positions(positions, elements);
      const size_t length = bytes.size();
      bytes.push_back(0xFF);  // What follows is not looked at.
      ASSERT_OK_AND_ASSIGN(
          const RicePositions decoded,
          decode_rice_positions(bytes, elements, static_cast<int64_t>(positions.size())));
      EXPECT_EQ(decoded.positions, positions);
      EXPECT_EQ(decoded.bytes, length);
      if (!positions.empty()) {
        EXPECT_THAT(
            decode_rice_positions(bytes, elements, static_cast<int64_t>(positions.size()) - 1),
            StatusIs(absl::StatusCode::kDataLoss, HasSubstr("limit")));
      }
    }
  }
}

// Rice with the right parameter is within 1 % of the entropy of random positions from a density of
// 10 % down (reference figures: 8.11 bits against 8.08 at 1 %); counts per chunk are 17 bits more.
TEST(RicePositionsTest, TakesWhatTheEntropySaysUpToOneAndAHalfPercent) {
  constexpr int64_t kElements = 20 * 65'536;
  for (const double density : {0.001, 0.01, 0.1}) {
    const Positions positions = random_positions(4, kElements, density);
    const auto kept = static_cast<double>(positions.size());
    const double p = kept / kElements;
    const double entropy = -std::log2(p) - (1 - p) / p * std::log2(1 - p);
    const double counts = 20 * 17 / kept;
    const double bits =
        8 * static_cast<double>(encode_rice_positions(positions, kElements).size()) / kept;
    EXPECT_NEAR(bits, entropy + counts, 0.015 * entropy) << density;
  }
}

TEST(RicePositionsTest, RefusesPositionsOutsideTheChunkAndBitsBehindTheLast) {
  // A count of 1 of 16, r = 3: two zeros mean at least 16.
  EXPECT_EQ(rice_low_bits(16, 1), 3);
  EXPECT_THAT(decode_rice_positions(Bytes{0x01, 0x00}, 16, 4),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("outside the chunk")));
  // 1 of 12 and r = 3: quotient 1, low bits 7 are 15.
  EXPECT_THAT(decode_rice_positions(Bytes{0x21 | 0x40 | 0x80, 0x07}, 12, 4),
              StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  // Position 0 of 1 of 16 is 5 + 1 + 3 bits; the last of them must be followed by zeros.
  const Bytes good = encode_rice_positions(Positions{0}, 16);
  ASSERT_THAT(good, ElementsAre(0x21, 0x00));
  EXPECT_OK(decode_rice_positions(good, 16, 4).status());
  EXPECT_THAT(decode_rice_positions(Bytes{0x21, 0x02}, 16, 4),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("bits set")));
  EXPECT_THAT(decode_rice_positions(Bytes{0x21}, 16, 4),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("too early")));
  EXPECT_THAT(decode_rice_positions(Bytes{}, 16, 4),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("too early")));
  // 17 of 16, and a bitmap with another number of ones than its count.
  EXPECT_THAT(decode_rice_positions(Bytes{0x11, 0xFF, 0xFF}, 16, 40),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("17 kept of 16")));
  Bytes bitmap = encode_rice_positions(random_positions(1, 16, 1.0), 16);
  ASSERT_EQ(bitmap.size(), 3U);
  bitmap[1] ^= 1;
  EXPECT_THAT(decode_rice_positions(bitmap, 16, 16),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("ones")));
}

std::unique_ptr<Codec> codec_of(core::CodecSpec spec, bool entropy, int64_t elements) {
  spec.entropy = entropy;
  auto codec = make_codec(spec, flat(elements));
  EXPECT_OK(codec.status());
  return *std::move(codec);
}

core::CodecSpec exponential_top_k(int bits, double density) {
  core::CodecSpec spec = top_k(bits, density);
  spec.exponential = true;
  return spec;
}

TEST(EntropyTopKCodecTest, DecodesAsTopKDoesAndIsSmallerWhereThereIsSomethingToGain) {
  constexpr int64_t kElements = 1 << 20;
  for (const Distribution distribution : {Distribution::kGauss, Distribution::kLaplace}) {
    const Floats in = draw(distribution, 5, kElements);
    for (const core::CodecSpec& spec :
         {top_k(32, 0.01), top_k(8, 0.01), top_k(4, 0.01), top_k(2, 0.01), top_k(1, 0.01),
          exponential_top_k(4, 0.01), exponential_top_k(3, 0.01)}) {
      SCOPED_TRACE(describe(spec));
      const auto plain = codec_of(spec, false, kElements);
      const auto entropy = codec_of(spec, true, kElements);
      ASSERT_OK_AND_ASSIGN(const Bytes before, plain->encode(in));
      ASSERT_OK_AND_ASSIGN(const Bytes after, entropy->encode(in));
      Floats expected(in.size());
      Floats decoded(in.size());
      ASSERT_OK(plain->decode(before, expected));
      ASSERT_OK(entropy->decode(after, decoded));
      EXPECT_TRUE(decoded == expected);
      // Positions alone: 8.6 - 8.15 of 8.6 + b bits.
      const double saved =
          1 - static_cast<double>(after.size()) / static_cast<double>(before.size());
      EXPECT_GT(saved, 0.4 / (8.6 + spec.bits)) << after.size() << " of " << before.size();
    }
  }
}

TEST(EntropyTopKCodecTest, IsOneByteLargerWhereThereIsNothingToGain) {
  // One of 40 elements: five bits of gap are more than Elias-Fano's, and nothing pays for a table.
  for (const int bits : {32, 8, 4, 2, 1}) {
    const auto plain = codec_of(top_k(bits, 0.5), false, 16);
    const auto entropy = codec_of(top_k(bits, 0.5), true, 16);
    Floats in(16);
    for (size_t i = 0; i < 8; ++i) {
      in[i + 8] = static_cast<float>(i + 1);
    }
    ASSERT_OK_AND_ASSIGN(const Bytes before, plain->encode(in));
    ASSERT_OK_AND_ASSIGN(const Bytes after, entropy->encode(in));
    EXPECT_LE(after.size(), before.size() + 1);
    EXPECT_EQ(after[0] & 2, 0);
  }
}

TEST(EntropyTopKCodecTest, RefusesModesThatMeanNothing) {
  const auto codec = codec_of(top_k(32, 0.1), true, 100);
  ASSERT_OK_AND_ASSIGN(Bytes payload, codec->encode(gauss(1, 100)));
  Floats out(100);
  payload[0] |= 2;  // Float32 values are never coded.
  EXPECT_THAT(codec->decode(payload, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("entropy-coded values")));
  payload[0] = 4;
  EXPECT_THAT(codec->decode(payload, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a mode of 0..3")));
  EXPECT_THAT(codec->decode(Bytes{}, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("must be 1..")));
  // Nothing kept, and yet values.
  const auto coded = codec_of(top_k(4, 0.1), true, 100);
  EXPECT_OK(coded->decode(Bytes{1, 0}, out));
  EXPECT_THAT(coded->decode(Bytes{3, 0, 0}, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("of 0 elements")));
}

TEST(EntropyTopKCodecTest, RefusesBytesBehindTheEntropyCode) {
  constexpr int64_t kElements = 100'000;
  const auto codec = codec_of(top_k(4, 0.1), true, kElements);
  ASSERT_OK_AND_ASSIGN(Bytes payload, codec->encode(gauss(1, kElements)));
  ASSERT_EQ(payload[0], 3);
  payload.push_back(0);
  Floats out(kElements);
  EXPECT_THAT(codec->decode(payload, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("1 bytes behind")));
}

TEST(EntropyTopKCodecTest, DamagedPayloadsOfTwoChunksAreSurvived) {
  constexpr int64_t kElements = 70'000;
  constexpr int kBuffers = 300;
  for (const core::CodecSpec& spec : {top_k(4, 0.01), exponential_top_k(3, 0.01)}) {
    const auto codec = codec_of(spec, true, kElements);
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, kElements)));
    core::Random random(9);
    for (int i = 0; i < kBuffers; ++i) {
      Bytes bytes = payload;
      for (uint64_t changes = 1 + random.below(4); changes > 0; --changes) {
        bytes[random.below(bytes.size())] = static_cast<uint8_t>(random());
      }
      Floats out(kElements);
      const absl::Status status = codec->decode(bytes, out);
      EXPECT_TRUE(absl::IsDataLoss(status) || (status.ok() && all_finite(out))) << status;
    }
  }
}

// arXiv 2002.00623: levels fitted for the largest correlation. For one scale of all kept values
// they beat log levels per 256 on tails that fall fast, and lose on heavy ones.
TEST(ExponentialTopKTest, BeatsLogLevelsOnGaussAndLaplaceAndLosesOnStudent) {
  constexpr int64_t kElements = 1 << 20;
  const auto error = [](const core::CodecSpec& spec, const Floats& in) {
    const auto codec = codec_of(spec, false, kElements);
    const absl::StatusOr<Bytes> payload = codec->encode(in);
    EXPECT_OK(payload.status());
    Floats out(in.size());
    EXPECT_OK(codec->decode(*payload, out));
    double kept = 0;
    double missed = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      if (out[i] != 0) {
        kept += std::pow(static_cast<double>(in[i]), 2);
        missed += std::pow(static_cast<double>(in[i]) - static_cast<double>(out[i]), 2);
      }
    }
    return missed / kept;
  };
  for (const Distribution distribution : {Distribution::kGauss, Distribution::kLaplace}) {
    const Floats in = draw(distribution, 6, kElements);
    EXPECT_LT(error(exponential_top_k(4, 0.01), in), error(top_k(4, 0.01), in));
  }
  const Floats heavy = draw(Distribution::kStudent3, 6, kElements);
  EXPECT_GT(error(exponential_top_k(4, 0.01), heavy), error(top_k(4, 0.01), heavy));
}

TEST(ExponentialTopKTest, RefusesOtherThanFourThreeOrTwoBits) {
  for (const int bits : {32, 8, 5, 1, 0}) {
    EXPECT_THAT(make_codec(exponential_top_k(bits, 0.1), flat(100)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed: 4, 3, 2")));
  }
}

}  // namespace
}  // namespace laconic::compress
