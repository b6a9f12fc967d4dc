// Payloads from a peer that lies: every decoder must answer with DataLoss or with finite numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/compress/codec.h"
#include "common/compress/input_check.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using Bytes = std::vector<uint8_t>;

constexpr int64_t kElements = 61;
constexpr uint64_t kRandomBuffers = 20'000;

std::vector<core::CodecSpec> small_specs() {
  std::vector<core::CodecSpec> specs{core::CodecSpec{}};
  for (const int bits : {8, 4, 2, 1}) {
    specs.push_back(quantize_rows(bits));
    specs.push_back(quantize_blocks(bits, 16));
  }
  for (const int bits : {32, 8, 4, 2, 1}) {
    specs.push_back(top_k(bits, 0.1));
    specs.push_back(top_k(bits, 0.5));
  }
  return specs;
}

class HostilePayloadTest : public ::testing::TestWithParam<core::CodecSpec> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(codec_, make_codec(GetParam(), rows_of_seven(kElements)));
    ASSERT_OK_AND_ASSIGN(payload_, codec_->encode(gauss(1, kElements)));
  }

  absl::Status decode(std::span<const uint8_t> bytes) {
    out_.assign(static_cast<size_t>(kElements), 0.0F);
    return codec_->decode(bytes, out_);
  }

  // Returns false, after a failure, for anything but DataLoss or finite numbers.
  ::testing::AssertionResult is_survived(std::span<const uint8_t> bytes) {
    const absl::Status status = decode(bytes);
    if (absl::IsDataLoss(status) || (status.ok() && all_finite(out_))) {
      return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << status.ToString() << ", or a decoded NaN or infinity";
  }

  std::unique_ptr<Codec> codec_;
  Bytes payload_;
  std::vector<float> out_;
};

TEST_P(HostilePayloadTest, EveryTruncationIsDataLoss) {
  for (size_t length = 0; length < payload_.size(); ++length) {
    // A buffer of exactly this size, so that the sanitizer sees a read behind it.
    const Bytes bytes(payload_.begin(), payload_.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_THAT(decode(bytes), StatusIs(absl::StatusCode::kDataLoss, ::testing::_)) << length;
  }
}

TEST_P(HostilePayloadTest, TrailingBytesAreDataLoss) {
  for (const size_t more : {1, 2, 7, 4096}) {
    for (const uint8_t fill : Bytes{0x00, 0xFF}) {
      Bytes bytes = payload_;
      bytes.insert(bytes.end(), more, fill);
      EXPECT_THAT(decode(bytes), StatusIs(absl::StatusCode::kDataLoss, ::testing::_)) << more;
    }
  }
}

TEST_P(HostilePayloadTest, EveryFlippedBitIsDataLossOrDecodesToFiniteNumbers) {
  for (size_t bit = 0; bit < 8 * payload_.size(); ++bit) {
    payload_[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    EXPECT_TRUE(is_survived(payload_)) << "bit " << bit;
    payload_[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  }
}

TEST_P(HostilePayloadTest, AllOnesIsDataLoss) {
  // NaNs, scales that are NaN, and counts as large as they can be.
  for (size_t length = 1; length <= payload_.size() + 1; ++length) {
    EXPECT_THAT(decode(Bytes(length, 0xFF)), StatusIs(absl::StatusCode::kDataLoss, ::testing::_));
  }
}

TEST_P(HostilePayloadTest, RandomBytesAreSurvived) {
  core::Random random(11);
  for (uint64_t i = 0; i < kRandomBuffers; ++i) {
    // Mostly the right length, which gets furthest.
    const size_t length = i % 4 == 0 ? random.below(2 * payload_.size()) : payload_.size();
    Bytes bytes(length);
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(random());
    }
    ASSERT_TRUE(is_survived(bytes)) << "buffer " << i;
  }
}

TEST_P(HostilePayloadTest, RandomDamageIsSurvived) {
  core::Random random(12);
  for (uint64_t i = 0; i < kRandomBuffers; ++i) {
    Bytes bytes = payload_;
    for (uint64_t changes = 1 + random.below(4); changes > 0; --changes) {
      bytes[random.below(bytes.size())] = static_cast<uint8_t>(random());
    }
    ASSERT_TRUE(is_survived(bytes)) << "buffer " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, HostilePayloadTest, ::testing::ValuesIn(small_specs()),
                         [](const auto& row) { return absl::StrCat("Codec", row.index); });

TEST(HostileTopKTest, DamageInSeveralChunksIsSurvived) {
  constexpr int64_t kLong = 2 * 65536 + 300;
  constexpr int kBuffers = 500;
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(top_k(4, 0.001), flat(kLong)));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(gauss(1, kLong)));
  core::Random random(13);
  std::vector<float> out(kLong);
  for (int i = 0; i < kBuffers; ++i) {
    Bytes bytes = payload;
    bytes[random.below(bytes.size())] ^= static_cast<uint8_t>(1U << random.below(8));
    const absl::Status status = codec->decode(bytes, out);
    ASSERT_TRUE(absl::IsDataLoss(status) || (status.ok() && all_finite(out))) << status.ToString();
  }
}

struct BadScales {
  core::CodecSpec spec;
  Bytes scales;
};
class HostileScalesTest : public ::testing::TestWithParam<BadScales> {};

TEST_P(HostileScalesTest, AreDataLoss) {
  const auto& [spec, scales] = GetParam();
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, flat(16)));
  ASSERT_OK_AND_ASSIGN(Bytes payload, codec->encode(std::vector<float>(16, 1.0F)));
  std::copy(scales.begin(), scales.end(), payload.begin());
  std::vector<float> out(16);
  EXPECT_THAT(codec->decode(payload, out),
              StatusIs(absl::StatusCode::kDataLoss, ::testing::HasSubstr("out of range")));
}

INSTANTIATE_TEST_SUITE_P(
    Quantize, HostileScalesTest,
    ::testing::Values(BadScales{quantize_blocks(1, 16), {0x80, 0x7F}},  // infinity
                      BadScales{quantize_blocks(1, 16), {0xC0, 0x7F}},  // NaN
                      BadScales{quantize_blocks(1, 16), {0x80, 0xBF}},  // -1
                      BadScales{quantize_blocks(1, 16), {0x00, 0x80}},  // -0
                      BadScales{quantize_blocks(8, 16), {0x7F, 0x7F}},  // 127 times it is infinite
                      BadScales{quantize_blocks(4, 16), {0x7F, 0x7F}},  // 7 times it is infinite
                      BadScales{quantize_blocks(2, 16), {0x80, 0x40, 0x80, 0x3F}},  // low 4, high 1
                      BadScales{quantize_blocks(2, 16),
                                {0x80, 0x3F, 0x80, 0x7F}}),  // high infinite
    [](const auto& row) { return absl::StrCat("Case", row.index); });

TEST(HostileValuesTest, ReservedCodesAndUnusedBitsAreDataLoss) {
  std::vector<float> out(3);
  ASSERT_OK_AND_ASSIGN(const auto four, make_codec(quantize_blocks(4, 16), flat(3)));
  EXPECT_OK(four->decode(Bytes{0x80, 0x3F, 0x97, 0x01}, out));
  EXPECT_THAT(four->decode(Bytes{0x80, 0x3F, 0x87, 0x01}, out),  // -8
              StatusIs(absl::StatusCode::kDataLoss, ::testing::HasSubstr("reserved")));
  EXPECT_THAT(four->decode(Bytes{0x80, 0x3F, 0x97, 0x11}, out),  // a fourth nibble
              StatusIs(absl::StatusCode::kDataLoss, ::testing::HasSubstr("behind the last")));
  ASSERT_OK_AND_ASSIGN(const auto eight, make_codec(quantize_blocks(8, 16), flat(3)));
  EXPECT_OK(eight->decode(Bytes{0x80, 0x3F, 0x81, 0x01, 0x02}, out));
  EXPECT_THAT(eight->decode(Bytes{0x80, 0x3F, 0x80, 0x01, 0x02}, out),  // -128
              StatusIs(absl::StatusCode::kDataLoss, ::testing::HasSubstr("reserved")));
}

}  // namespace
}  // namespace laconic::compress
