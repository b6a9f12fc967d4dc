#include "common/compress/top_k_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/compress/select.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;
using Positions = std::vector<uint32_t>;

// The plain way: sort all by magnitude, equal ones by index.
Positions sorted_top_k(const Floats& in, int64_t k) {
  Positions order(in.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return std::abs(in[a]) > std::abs(in[b]); });
  order.resize(static_cast<size_t>(k));
  std::sort(order.begin(), order.end());
  return order;
}

// The third example of docs/wire-format.md.
TEST(TopKCodecTest, WritesTheDocumentedBytes) {
  const TopKCodec codec(top_k(2, 0.25), flat(16));
  Floats in(16);
  in[2] = 4;
  in[3] = -4;
  in[9] = 8;
  in[15] = -8;
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
  EXPECT_EQ(payload, (Bytes{0xC4, 0x7B, 0x0A, 0x80, 0x40, 0x00, 0x41, 0xD8}));
  Floats out(16, 1.0F);
  ASSERT_OK(codec.decode(payload, out));
  EXPECT_EQ(out, in);
}

TEST(TopKCodecTest, ThirtyTwoBitValuesAreExactAndAllElseIsZero) {
  for (const double density : {0.001, 0.01, 0.1, 0.5}) {
    const int64_t size = 70'001;
    const TopKCodec codec(top_k(32, density), flat(size));
    const Floats in = gauss(6, size);
    Floats expected(in.size());
    for (const uint32_t at : sorted_top_k(in, core::kept_elements(density, size))) {
      expected[at] = in[at];
    }
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
    Floats out(in.size(), 1.0F);
    ASSERT_OK(codec.decode(payload, out));
    EXPECT_EQ(out, expected) << density;
  }
}

TEST(TopKCodecTest, OneThresholdForTheWholeVectorMayKeepAWholeChunk) {
  const int64_t size = 2 * core::kTopKChunk;
  const TopKCodec codec(top_k(32, 0.5), flat(size));
  Floats in(static_cast<size_t>(size), 1.0F);
  std::fill(in.begin() + core::kTopKChunk, in.end(), 2.0F);
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
  Floats out(in.size());
  ASSERT_OK(codec.decode(payload, out));
  EXPECT_EQ(std::count(out.begin(), out.begin() + core::kTopKChunk, 0.0F), core::kTopKChunk);
  EXPECT_EQ(std::count(out.begin() + core::kTopKChunk, out.end(), 2.0F), core::kTopKChunk);
}

TEST(TopKCodecTest, KeptValuesKeepTheirSignsAtEveryWidth) {
  const Floats in = gauss(8, 3000);
  for (const int bits : {8, 4, 2}) {
    const TopKCodec codec(top_k(bits, 0.1), flat(3000));
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
    Floats out(in.size());
    ASSERT_OK(codec.decode(payload, out));
    for (const uint32_t at : select_top_k(in, 300)) {
      EXPECT_GT(out[at] * in[at], 0.0F) << bits << " bits, element " << at;
    }
  }
}

TEST(TopKCodecTest, FewerNonzerosThanKeptStillRoundTrip) {
  for (const int bits : {32, 8, 4, 2}) {
    const TopKCodec codec(top_k(bits, 0.5), flat(300));
    Floats in(300);
    in[123] = -3;
    in[299] = 3;
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
    Floats out(in.size(), 1.0F);
    ASSERT_OK(codec.decode(payload, out));
    // 3 / 127 rounded up to bfloat16 and 127 times that: off by less than 2^-7.
    constexpr double kScaleRounding = 3 * 0x1p-7;
    for (size_t i = 0; i < in.size(); ++i) {
      EXPECT_NEAR(out[i], in[i], kScaleRounding) << bits << " bits, element " << i;
    }
  }
}

}  // namespace
}  // namespace laconic::compress
