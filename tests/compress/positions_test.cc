#include "common/compress/positions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "common/core/bits.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Positions = std::vector<uint32_t>;

Positions random_positions(uint64_t seed, int64_t elements, int64_t kept) {
  core::Random random(seed);
  std::vector<bool> taken(static_cast<size_t>(elements));
  for (int64_t i = 0; i < kept;) {
    const uint64_t at = random.below(static_cast<uint64_t>(elements));
    i += taken[at] ? 0 : 1;
    taken[at] = true;
  }
  Positions positions;
  for (size_t at = 0; at < taken.size(); ++at) {
    if (taken[at]) {
      positions.push_back(static_cast<uint32_t>(at));
    }
  }
  return positions;
}

// In memory of exactly the largest size, so that the sanitizer sees a write behind it.
Bytes encoded(const Positions& positions, int64_t elements) {
  const auto kept = static_cast<int64_t>(positions.size());
  Bytes bytes(static_cast<size_t>(core::bytes_for_bits(core::position_bits_max(elements, kept))));
  bytes.resize(encode_positions(positions, elements, bytes));
  return bytes;
}

void expect_round_trip(const Positions& positions, int64_t elements) {
  const Bytes bytes = encoded(positions, elements);
  const auto kept = static_cast<int64_t>(positions.size());
  EXPECT_LE(static_cast<int64_t>(bytes.size()) * 8, core::position_bits_max(elements, kept) + 7);
  ASSERT_OK_AND_ASSIGN(const PositionSection section, measure_positions(bytes, elements, kept));
  ASSERT_EQ(section.kept, kept);
  ASSERT_EQ(section.bytes, bytes.size());
  Positions out(positions.size());
  ASSERT_OK(decode_positions(bytes, elements, out));
  EXPECT_EQ(out, positions);
}

TEST(PositionsTest, SurviveTheRoundTripInEveryDensity) {
  for (const int64_t elements : {1, 2, 15, 16, 17, 251, 65535, 65536, 65537, 200'000}) {
    for (int64_t kept = 0; kept <= elements; kept += 1 + kept * 2) {
      SCOPED_TRACE(::testing::Message() << kept << " of " << elements);
      expect_round_trip(random_positions(static_cast<uint64_t>(kept), elements, kept), elements);
    }
  }
}

TEST(PositionsTest, SurviveWhenAWholeChunkIsKept) {
  const int64_t elements = 3 * core::kTopKChunk;
  Positions second(static_cast<size_t>(core::kTopKChunk));
  std::iota(second.begin(), second.end(), static_cast<uint32_t>(core::kTopKChunk));
  expect_round_trip(second, elements);
  EXPECT_EQ(encoded(second, elements).size(), (3 * 17 + 65536 + 7) / 8);
}

TEST(PositionsTest, SurviveAtTheEndsOfChunks) {
  expect_round_trip({0}, 200'000);
  expect_round_trip({199'999}, 200'000);
  expect_round_trip({65'535}, 65'536);
  expect_round_trip({0, 65'535, 65'536, 131'071, 131'072, 199'999}, 200'000);
}

// Bounds with counts and padding, for positions at random; the bodies alone are 7.99, 8.56
// and 11.92 bits (Elias-Fano, geometric gaps).
struct DensityCase {
  double density;
  double bits_max;
};
class PositionBitsTest : public ::testing::TestWithParam<DensityCase> {};

TEST_P(PositionBitsTest, RandomPositionsTakeAtMost) {
  constexpr int64_t kElements = 4 << 20;
  const int64_t kept = core::kept_elements(GetParam().density, kElements);
  const Bytes bytes = encoded(random_positions(9, kElements, kept), kElements);
  EXPECT_LE(8.0 * static_cast<double>(bytes.size()) / static_cast<double>(kept),
            GetParam().bits_max);
}

INSTANTIATE_TEST_SUITE_P(Densities, PositionBitsTest,
                         ::testing::Values(DensityCase{1.0 / 64, 8.2}, DensityCase{0.01, 8.7},
                                           DensityCase{0.001, 12.3}));

TEST(MeasurePositionsTest, RefusesACountAboveItsChunk) {
  Bytes bytes = encoded({1, 2, 3}, 17);
  bytes[0] |= 0x1F;  // 31 kept of 17
  EXPECT_THAT(measure_positions(bytes, 17, 100),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("31 kept of 17")));
}

TEST(MeasurePositionsTest, RefusesMoreThanAreAllowedInAll) {
  const Bytes bytes = encoded({1, 70'000}, 100'000);
  EXPECT_OK(measure_positions(bytes, 100'000, 2));
  EXPECT_THAT(measure_positions(bytes, 100'000, 1),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("at most 1 are allowed")));
}

TEST(MeasurePositionsTest, RefusesTruncatedSections) {
  const Bytes bytes = encoded({1, 70'000}, 100'000);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THAT(measure_positions(std::span(bytes).first(length), 100'000, 2),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("positions end within")));
  }
}

TEST(MeasurePositionsTest, FindsTheEndOfTheSectionInALongerPayload) {
  Bytes bytes = encoded({1, 70'000}, 100'000);
  const size_t length = bytes.size();
  bytes.insert(bytes.end(), 100, 0xFF);
  ASSERT_OK_AND_ASSIGN(const PositionSection section, measure_positions(bytes, 100'000, 2));
  EXPECT_EQ(section.kept, 2);
  EXPECT_EQ(section.bytes, length);
}

// d = 17, k = 2: count in bits 0..4, l = 3, low bits 5..10, upper bits 11..15 (2 ones, 3 zeros).
TEST(DecodePositionsTest, RefusesAPositionBehindTheVector) {
  Bytes bytes = encoded({3, 16}, 17);
  ASSERT_EQ(bytes.size(), 2u);
  bytes[1] |= 1;  // Low bits of the second: 0 -> 1, so 16 -> 17.
  Positions out(2);
  EXPECT_THAT(decode_positions(bytes, 17, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("wrong positions")));
}

TEST(DecodePositionsTest, RefusesEqualAndDescendingPositions) {
  for (const uint8_t second : Bytes{3, 2}) {
    Bytes bytes = encoded({3, 4}, 17);
    bytes[1] = static_cast<uint8_t>((bytes[1] & ~0x07) | second);
    Positions out(2);
    EXPECT_THAT(decode_positions(bytes, 17, out),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("wrong positions")));
  }
}

TEST(DecodePositionsTest, RefusesAWrongNumberOfOneBits) {
  for (const uint8_t upper : Bytes{0x00, 0xF8}) {
    Bytes bytes = encoded({3, 4}, 17);
    bytes[1] = static_cast<uint8_t>((bytes[1] & 0x07) | upper);
    Positions out(2);
    EXPECT_THAT(decode_positions(bytes, 17, out),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("wrong positions")));
  }
}

TEST(DecodePositionsTest, RefusesBitsBehindTheLastChunk) {
  Bytes bytes = encoded({3}, 8);
  bytes.back() |= 0x80;
  Positions out(1);
  EXPECT_THAT(decode_positions(bytes, 8, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("behind the last")));
}

TEST(DecodePositionsTest, RandomBytesGiveDataLossOrAscendingPositions) {
  core::Random random(6);
  int decoded = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto elements = static_cast<int64_t>(1 + random.below(i % 10 == 0 ? 150'000 : 200));
    Bytes bytes(random.below(i % 10 == 0 ? 4000 : 30));
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(random());
    }
    const auto section = measure_positions(bytes, elements, elements);
    if (!section.ok()) {
      ASSERT_TRUE(absl::IsDataLoss(section.status()));
      continue;
    }
    ASSERT_LE(section->bytes, bytes.size());
    Positions out(static_cast<size_t>(section->kept));
    const absl::Status status =
        decode_positions(std::span(bytes).first(section->bytes), elements, out);
    if (!status.ok()) {
      ASSERT_TRUE(absl::IsDataLoss(status));
      continue;
    }
    ++decoded;
    ASSERT_EQ(encoded(out, elements),
              Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(section->bytes)));
  }
  EXPECT_GT(decoded, 100);
}

}  // namespace
}  // namespace laconic::compress
