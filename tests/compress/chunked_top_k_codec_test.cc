#include "common/compress/chunked_top_k_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

core::CodecSpec chunked(int bits, int64_t per_chunk, int64_t chunk) {
  return {
      .kind = core::CodecKind::kChunkedTopK, .bits = bits, .chunk = chunk, .per_chunk = per_chunk};
}

Floats round_trip(const core::CodecSpec& spec, const Floats& in) {
  const auto codec = make_codec(spec, flat(static_cast<int64_t>(in.size())));
  EXPECT_OK(codec.status());
  const auto payload = (*codec)->encode(in);
  EXPECT_OK(payload.status());
  Floats out(in.size());
  EXPECT_OK((*codec)->decode(*payload, out));
  return out;
}

TEST(ChunkedTopKCodecTest, KeepsTheLargestOfEveryChunkWithTiesToTheLowerIndex) {
  Floats in(64 + 64 + 32);
  in[3] = -5;
  in[60] = 4;
  in[7] = 1;  // Third of its chunk: dropped.
  in[64 + 9] = in[64 + 20] = in[64 + 30] = 2;
  in[128 + 31] = 1e-30F;
  Floats expected = in;
  expected[7] = 0;
  expected[64 + 30] = 0;
  // The short chunk keeps its share, one.
  EXPECT_EQ(round_trip(chunked(32, 2, 64), in), expected);
}

TEST(ChunkedTopKCodecTest, WritesTheDocumentedBytes) {
  Floats in(64);
  in[17] = 1;
  in[40] = -2;
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(chunked(32, 2, 64), flat(64)));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(in));
  // l = 5; low bits 10001, 00010 (17 and 8), upper parts 0 and 1 set bits 0 and 2 of 4.
  EXPECT_THAT(payload, ElementsAre(0x11, 0x15, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0));
}

TEST(ChunkedTopKCodecTest, TakesTenBitsPerKeptElementInTheShapeOfSparseLoCo) {
  constexpr int64_t kElements = 4096 * 256;
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(chunked(2, 64, 4096), flat(kElements)));
  EXPECT_TRUE(codec->fixed_size());
  // 8 bits of position, 2 of value, 32 of scales per 256 values.
  EXPECT_DOUBLE_EQ(8.0 * static_cast<double>(codec->payload_bytes_max()) / kElements,
                   (10.0 + 32.0 / 256) / 64);
}

TEST(ChunkedTopKCodecTest, ShortLastChunksKeepTheirShareAndAtLeastOne) {
  const core::CodecSpec spec = chunked(2, 64, 4096);
  EXPECT_EQ(core::kept_of_chunk(spec, 4096), 64);
  EXPECT_EQ(core::kept_of_chunk(spec, 2048), 32);
  EXPECT_EQ(core::kept_of_chunk(spec, 96), 2);
  EXPECT_EQ(core::kept_of_chunk(spec, 95), 1);
  EXPECT_EQ(core::kept_of_chunk(spec, 1), 1);
  EXPECT_EQ(core::kept_in_chunks(spec, 3 * 4096 + 1), 193);
}

// The reason to prefer top-k over the whole vector.
TEST(ChunkedTopKCodecTest, KeepsLessThanTopKWhereChunksDifferInScale) {
  Floats in = gauss(1, 64 * 64);
  for (size_t i = 0; i < in.size(); ++i) {
    in[i] *= i < 256 ? 100.0F : 1.0F;
  }
  const auto kept = [](const Floats& out) {
    double sum = 0;
    for (const float x : out) {
      sum += static_cast<double>(x) * x;
    }
    return sum;
  };
  EXPECT_GT(kept(round_trip(top_k(32, 1.0 / 32), in)),
            3 * kept(round_trip(chunked(32, 2, 64), in)));
}

TEST(ChunkedTopKCodecTest, RefusesPositionsThatAreNotAscendingOrTooMany) {
  Floats in(64);
  in[17] = 1;
  in[40] = -2;
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(chunked(32, 2, 64), flat(64)));
  ASSERT_OK_AND_ASSIGN(const Bytes good, codec->encode(in));
  Floats out(64);
  for (const uint8_t upper : Bytes{0x01, 0x0D, 0x09, 0x0C}) {
    Bytes bad = good;
    bad[1] = static_cast<uint8_t>(0x01 + 4 * upper);
    const absl::Status status = codec->decode(bad, out);
    // 9: bits 0 and 3: upper parts 0 and 2: position 64 + 8. C: parts 2 and 2.
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("positions"))) << upper;
  }
  Bytes equal = good;
  equal[0] = 0x31;  // Low parts 17 and 17 with upper parts 0 and 0.
  equal[1] = 0x0E;
  EXPECT_THAT(codec->decode(equal, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("positions")));
}

TEST(ChunkedTopKCodecTest, SpecsOutsideTheirRangesAreRefused) {
  for (const core::CodecSpec& spec :
       {chunked(3, 2, 64), chunked(0, 2, 64), chunked(2, 0, 64), chunked(2, 17, 64),
        chunked(2, 1, 32), chunked(2, 1, 100), chunked(2, 1, 131072), chunked(2, 1, -64)}) {
    EXPECT_THAT(make_codec(spec, flat(10)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed")));
  }
}

}  // namespace
}  // namespace laconic::compress
