#include "common/compress/entropy_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/compress/input_check.h"
#include "common/compress/range_coder.h"
#include "tests/compress/distributions.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

constexpr int64_t kElements = 200'000;

std::vector<core::CodecSpec> inner_specs() {
  return {quantize_blocks(8, 256),
          quantize_blocks(4, 64),
          {.kind = core::CodecKind::kNatural},
          {.kind = core::CodecKind::kExponential, .bits = 4},
          {.kind = core::CodecKind::kChunkedTopK, .bits = 4, .chunk = 64, .per_chunk = 16}};
}

std::unique_ptr<Codec> codec_of(core::CodecSpec spec, bool entropy, int64_t elements) {
  spec.entropy = entropy;
  auto codec = make_codec(spec, flat(elements));
  EXPECT_OK(codec.status());
  return *std::move(codec);
}

// Order-0 entropy in bytes.
double entropy_bytes(const Bytes& bytes) {
  std::vector<double> counts(256);
  for (const uint8_t byte : bytes) {
    ++counts[byte];
  }
  double bits = 0;
  for (const double count : counts) {
    bits += count > 0 ? count * std::log2(static_cast<double>(bytes.size()) / count) : 0;
  }
  return bits / 8;
}

Bytes geometric_bytes(size_t count) {
  core::Random random(1);
  Bytes bytes(count);
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(std::min(255.0, -3 * std::log2(1 - random.uniform())));
  }
  return bytes;
}

TEST(RangeCoderTest, TakesWhatTheEntropySaysAndDecodesTheSame) {
  const Bytes in = geometric_bytes(100'000);
  const Bytes coded = range_encode(in, in.size());
  ASSERT_FALSE(coded.empty());
  EXPECT_NEAR(static_cast<double>(coded.size()) - 516, entropy_bytes(in), 0.01 * entropy_bytes(in));
  Bytes out(in.size());
  ASSERT_OK_AND_ASSIGN(const size_t used, range_decode(coded, out));
  EXPECT_EQ(used, coded.size());
  EXPECT_EQ(out, in);
}

TEST(RangeCoderTest, CodesOneValueInNothingAndEveryValueOnce) {
  const Bytes same(10'000, 77);
  const Bytes coded = range_encode(same, same.size());
  EXPECT_EQ(coded.size(), 516U);
  Bytes out(same.size());
  ASSERT_OK(range_decode(coded, out).status());
  EXPECT_EQ(out, same);
  Bytes rare(300'000, 0);  // Frequencies below 1 of 2^14 are raised to 1.
  for (size_t i = 0; i < 256; ++i) {
    rare[i * 1000] = static_cast<uint8_t>(i);
  }
  out.resize(rare.size());
  ASSERT_OK(range_decode(range_encode(rare, rare.size()), out).status());
  EXPECT_EQ(out, rare);
}

TEST(RangeCoderTest, GivesUpOnRandomAndOnFewBytes) {
  Bytes noise(100'000);
  core::Random random(2);
  for (uint8_t& byte : noise) {
    byte = static_cast<uint8_t>(random());
  }
  EXPECT_TRUE(range_encode(noise, noise.size()).empty());
  for (const size_t few : {1, 2, 515, 516, 517}) {
    EXPECT_TRUE(range_encode(Bytes(few, 1), few).empty() || few == 517) << few;
  }
}

TEST(EntropyCodecTest, DecodesToTheSameValuesInFewerBytes) {
  for (const core::CodecSpec& spec : inner_specs()) {
    SCOPED_TRACE(describe(spec));
    const auto inner = codec_of(spec, false, kElements);
    const auto codec = codec_of(spec, true, kElements);
    const Floats in = gauss(1, kElements);
    ASSERT_OK_AND_ASSIGN(const Bytes plain, inner->encode(in));
    ASSERT_OK_AND_ASSIGN(const Bytes coded, codec->encode(in));
    EXPECT_EQ(coded[0], 1);
    EXPECT_LT(coded.size(), plain.size());
    const auto expected = static_cast<double>(codec->payload_bytes_expected());
    EXPECT_NEAR(static_cast<double>(coded.size()), expected, 0.1 * expected);
    Floats expected_values(in.size());
    Floats values(in.size());
    ASSERT_OK(inner->decode(plain, expected_values));
    ASSERT_OK(codec->decode(coded, values));
    EXPECT_EQ(values, expected_values);
    EXPECT_EQ(codec->unbiased(), inner->unbiased());
  }
}

TEST(EntropyCodecTest, StoresWhatDoesNotGetSmaller) {
  const auto codec = codec_of(quantize_blocks(8, 256), true, 100);
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, 100)));
  EXPECT_EQ(payload[0], 0);
  EXPECT_EQ(static_cast<int64_t>(payload.size()), codec->payload_bytes_max());
}

TEST(EntropyCodecTest, DamagedCodedPayloadsAreSurvived) {
  constexpr int kBuffers = 300;
  for (const core::CodecSpec& spec : inner_specs()) {
    const auto codec = codec_of(spec, true, kElements);
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, kElements)));
    core::Random random(3);
    Floats out(kElements);
    for (int i = 0; i < kBuffers; ++i) {
      Bytes bytes = payload;
      // Every other time in the table and the state, which steer the decoder.
      const size_t reach = i % 2 == 0 ? 520 : bytes.size();
      bytes[random.below(reach)] ^= static_cast<uint8_t>(1U << random.below(8));
      const absl::Status status = codec->decode(bytes, out);
      ASSERT_TRUE(absl::IsDataLoss(status) || (status.ok() && all_finite(out))) << i;
    }
  }
}

TEST(EntropyCodecTest, TruncatedAndLongerCodedPayloadsAreDataLoss) {
  const auto codec = codec_of(quantize_blocks(4, 64), true, kElements);
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, kElements)));
  Floats out(kElements);
  for (size_t length = 0; length < payload.size(); length += length < 600 ? 1 : 997) {
    const Bytes bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length));
    ASSERT_THAT(codec->decode(bytes, out), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  }
  Bytes longer = payload;
  longer.push_back(0);
  EXPECT_THAT(codec->decode(longer, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("beside the codes")));
}

TEST(EntropyCodecTest, IsRefusedForCodecsWithoutCodes) {
  for (core::CodecSpec spec : {core::CodecSpec{}, quantize_blocks(1, 64),
                               core::CodecSpec{.kind = core::CodecKind::kRandK, .density = 0.1}}) {
    spec.entropy = true;
    EXPECT_THAT(make_codec(spec, flat(10)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no entropy stage")));
  }
}

}  // namespace
}  // namespace laconic::compress
