#include "common/compress/dense_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

Floats decoded(const Codec& codec, const Bytes& payload) {
  Floats out(static_cast<size_t>(codec.elements()));
  EXPECT_OK(codec.decode(payload, out));
  return out;
}

// The first example of docs/wire-format.md.
TEST(DenseCodecTest, WritesTheDocumentedBytesOfOneBitRows) {
  const core::Layout layout{.tensors = {{"weight", 2, 3}, {"bias", 1, 2}}};
  const DenseCodec codec(quantize_rows(1), layout);
  const Floats in{1, -2, 3, -0.5, 0.5, 0.5, 4, -4};
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
  EXPECT_EQ(payload, (Bytes{0x00, 0x40, 0x00, 0x3F, 0x80, 0x40, 0x8A}));
  EXPECT_EQ(decoded(codec, payload), (Floats{2, -2, 2, -0.5, 0.5, 0.5, 4, -4}));
}

// The second example of docs/wire-format.md.
TEST(DenseCodecTest, WritesTheDocumentedBytesOfFourBitBlocks) {
  const DenseCodec codec(quantize_blocks(4, 16), flat(3));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(Floats{7, -3.5, 1}));
  EXPECT_EQ(payload, (Bytes{0x80, 0x3F, 0xC7, 0x01}));
  EXPECT_EQ(decoded(codec, payload), (Floats{7, -4, 1}));
}

TEST(DenseCodecTest, WritesFloatsInLittleEndian) {
  const DenseCodec codec(core::CodecSpec{}, flat(2));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(Floats{1.0F, -2.0F}));
  EXPECT_EQ(payload, (Bytes{0x00, 0x00, 0x80, 0x3F, 0x00, 0x00, 0x00, 0xC0}));
}

TEST(DenseCodecTest, EightBitsRoundHalvesToEvenInTwosComplement) {
  const DenseCodec codec(quantize_blocks(8, 16), flat(5));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(Floats{127, 0.5, 1.5, -2.5, -127}));
  EXPECT_EQ(payload, (Bytes{0x80, 0x3F, 127, 0, 2, 0xFE, 0x81}));
}

TEST(DenseCodecTest, TwoBitsSendTheMeansOfSmallAndLargeMagnitudes) {
  const DenseCodec codec(quantize_blocks(2, 16), flat(5));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(Floats{1, -1, 1, -8, 8}));
  // low 1, high 8; codes 0, 2, 0, 3, 1.
  EXPECT_EQ(payload, (Bytes{0x80, 0x3F, 0x00, 0x41, 0b11'00'10'00, 0b01}));
}

// The scale is rounded up, so the largest element is never clipped and no error exceeds one half of
// a step, which is at most 2^-7 wider than absmax / q.
TEST(DenseCodecTest, LinearCodesErrByAtMostHalfAStep) {
  constexpr double kScaleRounding = 1 + 0x1p-7;
  for (const int bits : {8, 4}) {
    const double most = bits == 8 ? 127 : 7;
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const DenseCodec codec(quantize_blocks(bits, 16), flat(16));
      const Floats in = gauss(seed, 16);
      ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
      const Floats out = decoded(codec, payload);
      double largest = 0;
      for (const float x : in) {
        largest = std::max(largest, std::abs(static_cast<double>(x)));
      }
      for (size_t i = 0; i < in.size(); ++i) {
        EXPECT_LE(std::abs(static_cast<double>(in[i]) - static_cast<double>(out[i])),
                  largest / most * kScaleRounding / 2);
      }
    }
  }
}

TEST(DenseCodecTest, EachBlockHasItsOwnScale) {
  for (const int bits : {8, 4, 2, 1}) {
    const DenseCodec codec(quantize_blocks(bits, 16), flat(33));
    Floats in(33, 1.0F);
    std::fill(in.begin() + 16, in.begin() + 32, -1024.0F);
    in[32] = 0x1p-20F;
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
    const Floats out = decoded(codec, payload);
    for (size_t i = 0; i < in.size(); ++i) {
      EXPECT_NEAR(out[i], in[i], std::abs(in[i]) * 0x1p-7) << bits << " bits, element " << i;
    }
  }
}

TEST(DenseCodecTest, OneRowTensorIsOneGroupHoweverLong) {
  const DenseCodec codec(quantize_rows(1), flat(1000));
  EXPECT_EQ(codec.payload_bytes_max(), 2 + 125);
}

}  // namespace
}  // namespace laconic::compress
