#include "common/core/payload_size.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/core/bits.h"

namespace laconic::core {
namespace {

Layout conv_net() {
  return {.tensors = {{"conv1.weight", 32, 9},
                      {"conv1.bias", 1, 32},
                      {"conv2.weight", 64, 288},
                      {"conv2.bias", 1, 64},
                      {"dense1.weight", 128, 3136},
                      {"dense1.bias", 1, 128},
                      {"dense2.weight", 10, 128},
                      {"dense2.bias", 1, 10}}};
}

Layout flat(int64_t elements) {
  return {.tensors = {{"w", 1, elements}}};
}

CodecSpec quantize(int bits, bool rows, int64_t block) {
  return {.kind = CodecKind::kQuantize, .bits = bits, .rows = rows, .block = block};
}

TEST(PayloadSizeTest, OneBitRowsOfTheConvNetFitTheDemosBudget) {
  const int64_t bytes = payload_bytes_max(quantize(1, true, 256), conv_net());
  EXPECT_EQ(bytes, 238 * 2 + 52'706);
  EXPECT_LE(bytes, 53'250);
}

TEST(PayloadSizeTest, NoCompressionIsFourBytesPerElement) {
  EXPECT_EQ(payload_bytes_max(CodecSpec{}, conv_net()), 4 * 421'642);
}

TEST(PayloadSizeTest, QuantizeIsScalesPlusPackedValues) {
  EXPECT_EQ(payload_bytes_max(quantize(8, false, 256), flat(257)), 2 * 2 + 257);
  EXPECT_EQ(payload_bytes_max(quantize(4, false, 64), flat(63)), 2 + 32);
  EXPECT_EQ(payload_bytes_max(quantize(2, false, 16), flat(17)), 4 * 2 + 5);
  EXPECT_EQ(payload_bytes_max(quantize(1, false, 16), flat(1)), 2 + 1);
}

TEST(PayloadSizeTest, LargestVectorDoesNotOverflow) {
  EXPECT_EQ(payload_bytes_max(CodecSpec{}, flat(kCodecElementsMax)), 4 * kCodecElementsMax);
  const CodecSpec densest{.kind = CodecKind::kTopK, .bits = 32, .density = 0.5};
  EXPECT_GT(payload_bytes_max(densest, flat(kCodecElementsMax)), 2 * kCodecElementsMax);
}

TEST(ScaleCountTest, CountsBlocksOrRowsAndTwoLevelsTwice) {
  EXPECT_EQ(scale_count(quantize(8, false, 256), flat(256)), 1);
  EXPECT_EQ(scale_count(quantize(8, false, 256), flat(257)), 2);
  EXPECT_EQ(scale_count(quantize(1, true, 256), conv_net()), 238);
  EXPECT_EQ(scale_count(quantize(2, true, 256), conv_net()), 2 * 238);
  EXPECT_EQ(scale_count(CodecSpec{}, conv_net()), 0);
}

TEST(KeptElementsTest, RoundsToNearestAndKeepsAtLeastOne) {
  EXPECT_EQ(kept_elements(0.01, 1), 1);
  EXPECT_EQ(kept_elements(0.01, 149), 1);
  EXPECT_EQ(kept_elements(0.01, 150), 2);
  EXPECT_EQ(kept_elements(0.5, 3), 2);
  EXPECT_EQ(kept_elements(0.5, 1), 1);
  EXPECT_EQ(kept_elements(0.01, 421'642), 4'216);
}

TEST(KeptElementsMaxTest, IsAQuarterMoreFromOneChunkOn) {
  EXPECT_EQ(kept_elements_max(0.01, 65'535), 655);
  EXPECT_EQ(kept_elements_max(0.01, 65'536), 655 + 163);
  EXPECT_EQ(kept_elements_max(0.00001, 65'536), 1);
  EXPECT_EQ(kept_elements_max(0.5, 65'536), 32'768 + 8'192);
  EXPECT_EQ(kept_elements_max(1, 65'536), 65'536);
}

TEST(TopKBytesTest, ExpectedIsTheExactSelectionAndAllAreWithinTheMaximum) {
  for (const int64_t elements : {1000, 65'535, 65'536, 200'000, 5'000'000}) {
    const CodecSpec spec{.kind = CodecKind::kTopK, .bits = 4, .density = 0.01};
    const int64_t kept = kept_elements(spec.density, elements);
    const auto bytes = [&](int64_t k) {
      return bytes_for_bits(position_bits_max(elements, k)) + top_k_value_bytes(spec, k);
    };
    EXPECT_EQ(payload_bytes_expected(spec, flat(elements)), bytes(kept));
    for (int64_t k = 0; k <= kept_elements_max(spec.density, elements); k += 1 + kept / 50) {
      EXPECT_LE(bytes(k), payload_bytes_max(spec, flat(elements))) << k << " of " << elements;
    }
  }
}

TEST(TopKValueBytesTest, CountsGroupsOfTwoHundredFiftySix) {
  const CodecSpec log_levels{.kind = CodecKind::kTopK, .bits = 4, .density = 0.01};
  EXPECT_EQ(top_k_value_bytes(log_levels, 0), 0);
  EXPECT_EQ(top_k_value_bytes(log_levels, 256), 4 + 128);
  EXPECT_EQ(top_k_value_bytes(log_levels, 257), 2 * 4 + 129);
  EXPECT_EQ(top_k_scale_bytes(log_levels, 257), 2 * 4);
  const CodecSpec floats{.kind = CodecKind::kTopK, .bits = 32, .density = 0.01};
  EXPECT_EQ(top_k_value_bytes(floats, 257), 4 * 257);
  EXPECT_EQ(top_k_scale_bytes(floats, 257), 0);
}

TEST(TopKValueBytesTest, ExponentialLevelsAreThoseOfAllValuesTogether) {
  for (const int bits : {4, 3, 2}) {
    const CodecSpec spec{
        .kind = CodecKind::kTopK, .bits = bits, .density = 0.01, .exponential = true};
    EXPECT_EQ(top_k_value_bytes(spec, 0), 0);
    EXPECT_EQ(top_k_scale_bytes(spec, 0), 0);
    EXPECT_EQ(top_k_value_bytes(spec, 1), (1 << bits) + 1);
    EXPECT_EQ(top_k_value_bytes(spec, 257), (1 << bits) + bytes_for_bits(257 * bits));
  }
}

// That payload_bytes_max() is the largest of all counts rests on this.
TEST(ChunkCodeTest, BitsDoNotShrinkWithTheCount) {
  for (const int64_t n : {1, 2, 17, 251, 4096, 65'535, 65'536}) {
    for (int64_t c = 0; c < n; ++c) {
      ASSERT_LE(chunk_code(n, c).bits, chunk_code(n, c + 1).bits) << c << " of " << n;
    }
  }
}

TEST(ChunkCodeTest, EmptyChunkTakesNoBits) {
  EXPECT_EQ(chunk_code(kTopKChunk, 0).bits, 0);
}

TEST(ChunkCodeTest, OneKeptOfAFullChunkTakesSixteenLowBits) {
  const ChunkCode code = chunk_code(kTopKChunk, 1);
  EXPECT_FALSE(code.bitmap);
  EXPECT_EQ(code.low_bits, 16);
  EXPECT_EQ(code.bits, 16 + 1 + 1);
}

TEST(ChunkCodeTest, NeverTakesMoreThanTheBitmap) {
  for (const int64_t n : {1, 2, 15, 16, 17, 251, 65535, 65536}) {
    for (int64_t c = 1; c <= n; c += 1 + c / 50) {
      EXPECT_LE(chunk_code(n, c).bits, n + (c == 1 ? 1 : 0)) << c << " of " << n;
    }
  }
}

TEST(ChunkCodeTest, AllKeptOfAChunkFitTheCount) {
  EXPECT_TRUE(chunk_code(kTopKChunk, kTopKChunk).bitmap);
  EXPECT_EQ(chunk_code(kTopKChunk, kTopKChunk).bits, kTopKChunk);
  EXPECT_EQ(count_bits(kTopKChunk), 17);
  EXPECT_EQ(count_bits(1), 1);
}

// even_bits() in payload_size.cc rests on this.
TEST(ChunkCodeTest, BitsOfAFullChunkAreConcaveInTheCount) {
  for (int64_t c = 1; c < kTopKChunk; ++c) {
    const int64_t step = chunk_code(kTopKChunk, c + 1).bits - chunk_code(kTopKChunk, c).bits;
    const int64_t before = chunk_code(kTopKChunk, c).bits - chunk_code(kTopKChunk, c - 1).bits;
    ASSERT_LE(step, before) << c;
  }
}

TEST(PositionBitsMaxTest, IsTheLargestOverEverySplitOfTwoChunks) {
  const int64_t rest = 300;
  const int64_t elements = kTopKChunk + rest;
  for (const int64_t kept : {1, 2, 7, 100, 299, 300, 301, 655, 5000}) {
    int64_t most = 0;
    for (int64_t c = 0; c <= std::min(rest, kept); ++c) {
      most = std::max(most, chunk_code(rest, c).bits + chunk_code(kTopKChunk, kept - c).bits);
    }
    EXPECT_EQ(position_bits_max(elements, kept), 17 + 9 + most) << kept;
  }
}

}  // namespace
}  // namespace laconic::core
