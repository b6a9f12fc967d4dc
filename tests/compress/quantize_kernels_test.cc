// Every vector set against the scalar code, which is the specification: the same bytes, the same
// float32, the same refusals.
#include "common/compress/quantize_kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/compress/codec.h"
#include "common/compress/levels.h"
#include "common/compress/ordered_mean.h"
#include "common/compress/squared_norm.h"
#include "common/compress/value_coder.h"
#include "tests/compress/each_simd_level.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kDenormal = std::numeric_limits<float>::denorm_min();

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// What a codec makes of one vector, in every way it can.
struct Outcome {
  Bytes payload;
  Bytes sum_payload;
  Floats sum;      // after encode_sum
  Floats decoded;  // of payload
  Floats added;    // other + D
  Floats taken;    // other - D
};

Outcome outcome_of(const Codec& codec, const Floats& in, const Floats& other, float decay) {
  Outcome outcome;
  const auto payload = codec.encode(in);
  EXPECT_OK(payload.status());
  outcome.payload = payload.value_or(Bytes{});
  outcome.sum = other;
  outcome.sum_payload.resize(static_cast<size_t>(codec.payload_bytes_max()));
  EncodeState state;
  EXPECT_OK(codec.encode_sum(in, decay, outcome.sum, state, outcome.sum_payload).status());
  outcome.decoded.resize(in.size());
  EXPECT_OK(codec.decode(outcome.payload, outcome.decoded));
  outcome.added = other;
  EXPECT_OK(codec.decode_add(outcome.payload, 1.0F, outcome.added));
  outcome.taken = other;
  EXPECT_OK(codec.decode_add(outcome.payload, -1.0F, outcome.taken));
  return outcome;
}

std::vector<core::CodecSpec> block_specs() {
  std::vector<core::CodecSpec> specs{core::CodecSpec{}};
  for (const int bits : {8, 4, 2, 1}) {
    for (const int64_t block : {16, 32, 64, 128, 256, 1024, 8192, 65536}) {
      specs.push_back(quantize_blocks(bits, block));
    }
  }
  return specs;
}

std::vector<core::CodecSpec> row_specs() {
  return {quantize_rows(8), quantize_rows(4), quantize_rows(2), quantize_rows(1)};
}

// Rows of many lengths, so that they begin at every bit of a byte and every lane.
core::Layout awkward_rows() {
  core::Layout layout;
  for (const int64_t length : {1, 3, 7, 15, 16, 17, 63, 64, 65, 1000, 4097}) {
    layout.tensors.push_back({"w", 3, length});
    layout.tensors.push_back({"b", 1, 1});
  }
  layout.tensors.push_back({"many", 150, 33});
  return layout;
}

// Numbers where roundings and comparisons may go wrong, for vectors of any length.
std::vector<Floats> awkward_patterns() {
  return {
      {0.0F},
      {-0.0F, 0.0F},
      {kDenormal},
      {kDenormal, -kDenormal, 0, 3 * kDenormal},
      {1e-39F, -3e-41F, 2e-40F},
      {kMax},
      {-kMax, kMax, kMax / 2, -kMax / 254},
      {kMax, kDenormal, -1.0F},
      {1e38F, -1e-38F, 3e38F},
      {0.3F},
      {-1.0F, 1.0F},
      {1.0F, -1.0F, 1.0F, -8.0F, 8.0F},
      // Ties at half a step, where the scale is 1 at 8 and at 4 bits.
      {127.0F, 0.5F, 1.5F, -2.5F, -126.5F, 3.5F},
      {7.0F, 0.5F, 1.5F, -2.5F, -6.5F, 3.5F},
      // Ties between two levels: low 1, high 3, and 2 in the middle.
      {1.0F, 3.0F, -2.0F, 1.0F, -3.0F},
  };
}

Floats repeated(const Floats& pattern, int64_t count) {
  Floats values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = pattern[i % pattern.size()];
  }
  return values;
}

// Bits drawn evenly: all exponents, also denormals; no infinities and NaNs.
Floats random_bits(uint64_t seed, int64_t count) {
  core::Random random(seed);
  Floats values(static_cast<size_t>(count));
  for (float& value : values) {
    do {
      value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    } while (!std::isfinite(value));
  }
  return values;
}

// The order of docs/wire-format.md: 1 and 1 meet in the tree before the large number swallows them.
TEST(LaneSumsTest, AddsUpSixteenLanesInATree) {
  LaneSums sums;
  sums.add(0, 0x1p53);
  sums.add(1, 1.0);
  sums.add(9, 1.0);
  EXPECT_EQ(sums.total(), 0x1p53 + 2);
  // In one lane each is swallowed alone.
  LaneSums one_lane;
  one_lane.add(0, 0x1p53);
  one_lane.add(16, 1.0);
  one_lane.add(32, 1.0);
  EXPECT_EQ(one_lane.total(), 0x1p53);
}

class VectorSetTest : public EachSimdLevel {
 protected:
  void use_scalar() { force_simd_level(SimdLevel::kScalar); }
  void use_vectors() { ASSERT_EQ(force_simd_level(GetParam()), GetParam()); }

  // Compares all that a codec can do with `in`.
  void expect_same(const core::CodecSpec& spec, const core::Layout& layout, const Floats& in,
                   float decay = 0.75F) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, layout));
    const Floats other = gauss(7, static_cast<int64_t>(in.size()));
    use_scalar();
    const Outcome expected = outcome_of(*codec, in, other, decay);
    use_vectors();
    const Outcome outcome = outcome_of(*codec, in, other, decay);
    EXPECT_EQ(outcome.payload, expected.payload);
    EXPECT_EQ(outcome.sum_payload, expected.sum_payload);
    EXPECT_TRUE(same_bits(outcome.sum, expected.sum));
    EXPECT_TRUE(same_bits(outcome.decoded, expected.decoded));
    EXPECT_TRUE(same_bits(outcome.added, expected.added));
    EXPECT_TRUE(same_bits(outcome.taken, expected.taken));
  }
};

TEST_P(VectorSetTest, MakesTheScalarBytesAtEveryLengthUpToTwoHundred) {
  for (int64_t length = 1; length <= 200; ++length) {
    for (const int bits : {8, 4, 2, 1}) {
      SCOPED_TRACE(absl::StrCat(bits, " bits, length ", length));
      expect_same(quantize_rows(bits), flat(length), gauss(static_cast<uint64_t>(length), length));
      expect_same(quantize_blocks(bits, 16), flat(length),
                  random_bits(static_cast<uint64_t>(length), length), 0.0F);
      if (HasFailure()) {
        return;
      }
    }
    expect_same(core::CodecSpec{}, flat(length), gauss(static_cast<uint64_t>(length), length));
  }
}

TEST_P(VectorSetTest, MakesTheScalarBytesForEveryBlockSize) {
  for (const core::CodecSpec& spec : block_specs()) {
    // More than one tile of 4096 values, and more than one block; not a multiple of either.
    const int64_t length = std::max<int64_t>(5001, spec.block + 17);
    SCOPED_TRACE(absl::StrCat(describe(spec), ", length ", length));
    expect_same(spec, flat(length), gauss(2, length));
  }
}

TEST_P(VectorSetTest, MakesTheScalarBytesForRowsThatBeginAnywhere) {
  const core::Layout layout = awkward_rows();
  for (const core::CodecSpec& spec : row_specs()) {
    SCOPED_TRACE(describe(spec));
    expect_same(spec, layout, gauss(3, layout.elements()));
    expect_same(spec, layout, random_bits(4, layout.elements()), 0.0F);
  }
}

TEST_P(VectorSetTest, MakesTheScalarBytesOfAwkwardNumbers) {
  for (const Floats& pattern : awkward_patterns()) {
    for (const int bits : {8, 4, 2, 1}) {
      for (const int64_t length : {5, 16, 97, 300}) {
        SCOPED_TRACE(absl::StrCat(bits, " bits, length ", length, ", pattern of ", pattern[0]));
        const Floats in = repeated(pattern, length);
        expect_same(quantize_blocks(bits, 64), flat(length), in, 0.0F);
        expect_same(quantize_rows(bits), rows_of_seven(length), in, 0.0F);
      }
    }
  }
}

// Each bfloat16 that a scale can be, reached from both sides: one ulp of the largest magnitude
// around 127 s and 7 s.
TEST_P(VectorSetTest, RoundsScalesUpAsTheScalarCodeDoes) {
  for (const int bits : {8, 4}) {
    const float most = bits == 8 ? 127.0F : 7.0F;
    Floats in;
    for (uint32_t scale = 0; scale < 0x7E13; scale += 5) {
      const float reached = most * std::bit_cast<float>(scale << 16);
      for (const float largest :
           {std::nextafter(reached, 0.0F), reached, std::nextafter(reached, kMax)}) {
        const float finite = std::min(largest, kMax);
        in.insert(in.end(), {finite, -finite / 3, finite / 2});
      }
    }
    const auto elements = static_cast<int64_t>(in.size());
    expect_same(quantize_rows(bits), {.tensors = {{"w", elements / 3, 3}}}, in, 0.0F);
  }
}

// The scalar code compares in float64; vectors compare float32 with the threshold rounded down.
// Here the float32 nearest to the first threshold, which may be above it, is in the group.
TEST_P(VectorSetTest, SplitsAtThresholdsBetweenTwoFloats) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Floats in = gauss(seed, 16);
    for (int step = 0; step < 20; ++step) {
      LaneSums sums;
      for (size_t i = 0; i < in.size(); ++i) {
        sums.add(static_cast<int64_t>(i), std::abs(static_cast<double>(in[i])));
      }
      in[3] = static_cast<float>(1.23 * (sums.total() / 16));
    }
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    expect_same(quantize_blocks(2, 16), flat(16), in, 0.0F);
  }
}

// Low 96 and high 2^30: the middle, 2^29 + 48, lies between two float32, and the nearest is above.
TEST_P(VectorSetTest, ChoosesBetweenLevelsWhoseMiddleIsNoFloat) {
  Floats in(2001, 96.0F);
  std::fill(in.begin(), in.begin() + 400, 0x1p30F);
  in[1000] = 0x1p29F + 64.0F;
  expect_same(quantize_rows(2), flat(2001), in, 0.0F);
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(quantize_rows(2), flat(2001)));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec->encode(in));
  Floats out(in.size());
  ASSERT_OK(codec->decode(payload, out));
  EXPECT_EQ(out[1000], 0x1p30F);
  EXPECT_EQ(out[1001], 96.0F);
}

TEST_P(VectorSetTest, NamesTheFirstElementThatIsNotFinite) {
  constexpr int64_t kElements = 10'000;
  for (const core::CodecSpec& spec :
       {core::CodecSpec{}, quantize_blocks(8, 64), quantize_blocks(4, 64), quantize_blocks(2, 64),
        quantize_blocks(1, 64), quantize_rows(8), quantize_rows(4), quantize_rows(2),
        quantize_rows(1)}) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, flat(kElements)));
    for (const size_t bad : std::vector<size_t>{0, 17, 63, 64, 4095, 4096, 8191, 9999}) {
      for (const float value :
           {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
            -std::numeric_limits<float>::infinity()}) {
        SCOPED_TRACE(absl::StrCat(describe(spec), ", element ", bad));
        Floats in(kElements, 1.0F);
        in[bad] = value;
        in.back() = std::numeric_limits<float>::infinity();
        use_vectors();
        EXPECT_THAT(codec->encode(in), StatusIs(absl::StatusCode::kInvalidArgument,
                                                HasSubstr(absl::StrCat("element ", bad, " is"))));
        Bytes out(static_cast<size_t>(codec->payload_bytes_max()));
        Floats sum(kElements, 0.5F);
        EncodeState state;
        EXPECT_THAT(codec->encode_sum(in, 1.0F, sum, state, out),
                    StatusIs(absl::StatusCode::kInvalidArgument,
                             HasSubstr(absl::StrCat("element ", bad, " is"))));
      }
    }
  }
}

TEST_P(VectorSetTest, NamesTheFirstElementWhoseSumOverflows) {
  ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(quantize_blocks(4, 64), flat(1000)));
  Floats in(1000, 1.0F);
  in[700] = kMax;
  Floats sum = in;
  Bytes out(static_cast<size_t>(codec->payload_bytes_max()));
  EncodeState state;
  use_vectors();
  EXPECT_THAT(codec->encode_sum(in, 1.0F, sum, state, out),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 700 is inf")));
}

TEST_P(VectorSetTest, RefusesWhatTheScalarCodeRefuses) {
  core::Random random(5);
  const core::Layout layout = {.tensors = {{"w", 3, 71}, {"b", 1, 5}}};
  std::vector<core::CodecSpec> specs = row_specs();
  specs.push_back(core::CodecSpec{});
  for (const core::CodecSpec& spec : specs) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, layout));
    ASSERT_OK_AND_ASSIGN(const Bytes good, codec->encode(gauss(6, layout.elements())));
    for (int i = 0; i < 1000; ++i) {
      Bytes bytes = good;
      for (uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
        bytes[random.below(bytes.size())] = static_cast<uint8_t>(random());
      }
      const Floats start = gauss(8, layout.elements());
      Floats expected = start;
      use_scalar();
      const absl::Status scalar = codec->decode_add(bytes, -1.0F, expected);
      Floats out = start;
      use_vectors();
      const absl::Status vector = codec->decode_add(bytes, -1.0F, out);
      ASSERT_EQ(vector, scalar) << describe(spec);
      ASSERT_TRUE(!scalar.ok() || same_bits(out, expected)) << describe(spec);
    }
  }
}

TEST_P(VectorSetTest, FindsAReservedCodeAtEveryPlace) {
  constexpr int64_t kElements = 100;
  for (const int bits : {8, 4}) {
    ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(quantize_rows(bits), flat(kElements)));
    ASSERT_OK_AND_ASSIGN(const Bytes good, codec->encode(gauss(6, kElements)));
    use_vectors();
    for (size_t at = 0; at < kElements; ++at) {
      Bytes bytes = good;
      uint8_t& byte = bytes[2 + at * static_cast<size_t>(bits) / 8];
      if (bits == 8) {
        byte = 0x80;
      } else {
        byte = static_cast<uint8_t>(at % 2 == 0 ? (byte & 0xF0) | 0x08 : (byte & 0x0F) | 0x80);
      }
      Floats out(kElements);
      EXPECT_THAT(codec->decode(bytes, out),
                  StatusIs(absl::StatusCode::kDataLoss,
                           HasSubstr(absl::StrCat("reserved code at value ", at))));
      EXPECT_THAT(codec->decode_add(bytes, 1.0F, out),
                  StatusIs(absl::StatusCode::kDataLoss, HasSubstr("reserved code")));
    }
  }
}

TEST_P(VectorSetTest, WritesNothingBehindThePayload) {
  constexpr uint8_t kCanary = 0xA5;
  for (const core::CodecSpec& spec : row_specs()) {
    for (int64_t length = 1; length <= 70; ++length) {
      ASSERT_OK_AND_ASSIGN(const auto codec, make_codec(spec, flat(length)));
      const auto bytes = static_cast<size_t>(codec->payload_bytes_max());
      Bytes out(bytes + 64, kCanary);
      EncodeState state;
      use_vectors();
      ASSERT_OK(codec->encode(gauss(9, length), state, out).status());
      EXPECT_EQ(std::count(out.begin() + static_cast<std::ptrdiff_t>(bytes), out.end(), kCanary),
                64)
          << describe(spec) << ", length " << length;
      Floats decoded(static_cast<size_t>(length) + 32, 0.125F);
      ASSERT_OK(codec->decode(std::span(out).first(bytes),
                              std::span(decoded).first(static_cast<size_t>(length))));
      EXPECT_EQ(std::count(decoded.begin() + length, decoded.end(), 0.125F), 32);
    }
  }
}

// No dense codec has log levels, so the coder itself.
TEST_P(VectorSetTest, MakesTheScalarBytesOfLogLevels) {
  std::vector<Floats> inputs{gauss(11, 4097), random_bits(12, 3000)};
  for (int64_t length = 1; length <= 200; ++length) {
    inputs.push_back(gauss(static_cast<uint64_t>(length), length));
    for (float& value : inputs.back()) {
      value += value < 0 ? -0.5F : 0.5F;  // The smallest magnitude is sent, not 0.
    }
  }
  for (const Floats& pattern : awkward_patterns()) {
    inputs.push_back(repeated(pattern, 300));
  }
  for (const Floats& in : inputs) {
    const auto length = static_cast<int64_t>(in.size());
    for (const int64_t group : {7, 64, 256}) {
      SCOPED_TRACE(absl::StrCat("length ", length, ", groups of ", group, ", first ", in[0]));
      const ValueCoder coder(core::ValueCode::kLog4, even_groups(length, group));
      Bytes expected(static_cast<size_t>(coder.bytes()));
      use_scalar();
      ASSERT_TRUE(coder.encode(in, std::span(expected)));
      const Floats other = gauss(13, length);
      Floats expected_sum = other;
      ASSERT_OK(coder.decode_add(expected, -1.0F, expected_sum));
      use_vectors();
      Bytes payload(expected.size());
      ASSERT_TRUE(coder.encode(in, std::span(payload)));
      ASSERT_EQ(payload, expected);
      Floats sum = other;
      ASSERT_OK(coder.decode_add(payload, -1.0F, sum));
      ASSERT_TRUE(same_bits(sum, expected_sum));
    }
  }
}

TEST_P(VectorSetTest, EveryLogCodeDecodesToItsScalarValue) {
  const ValueCoder coder(core::ValueCode::kLog4, even_groups(16, 16));
  const Bytes payload{0x80, 0x3F, 0x80, 0x41, 0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
  Floats expected(16);
  use_scalar();
  ASSERT_OK(coder.decode(payload, expected));
  use_vectors();
  Floats out(16);
  ASSERT_OK(coder.decode(payload, out));
  EXPECT_TRUE(same_bits(out, expected));
  EXPECT_EQ(out[7], 16.0F);
  EXPECT_EQ(out[15], -16.0F);
}

TEST_P(VectorSetTest, RefusesLogScalesOutOfRange) {
  const ValueCoder coder(core::ValueCode::kLog4, even_groups(16, 16));
  use_vectors();
  for (const Bytes& scales : {Bytes{0x80, 0x41, 0x80, 0x3F},     // 16, 1
                              Bytes{0x80, 0x3F, 0x80, 0x7F},     // infinite
                              Bytes{0x80, 0x3F, 0x80, 0x49}}) {  // more than 256 times as large
    Bytes payload = scales;
    payload.resize(static_cast<size_t>(coder.bytes()));
    Floats out(16);
    EXPECT_THAT(coder.decode(payload, out),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("out of range")));
  }
}

TEST_P(VectorSetTest, SumsSquaresToTheScalarBits) {
  for (const int64_t length : {0, 1, 15, 16, 17, 31, 47, 48, 49, 63, 64, 65, 1000, 4097}) {
    const Floats values = gauss(10, length);
    use_scalar();
    const double expected = squared_norm(values);
    use_vectors();
    EXPECT_EQ(squared_norm(values), expected) << length;
  }
}

TEST_P(VectorSetTest, MeansInOrderAreTheScalarBitsAtEveryAlignment) {
  for (const int64_t length : {0, 1, 15, 16, 17, 997, 4097}) {
    for (const size_t ranks : {1, 2, 3, 7}) {
      for (const size_t offset : {0, 1}) {
        const size_t bytes = 4 * static_cast<size_t>(length);
        std::vector<Bytes> held;
        std::vector<const uint8_t*> terms;
        for (size_t r = 0; r < ranks; ++r) {
          Floats values = gauss(30 + r, length);
          if (length > 2) {
            values[2] = r % 2 == 0 ? kMax : -kMax;  // The order of the additions shows here.
          }
          Bytes& term = held.emplace_back(bytes + offset);
          if (bytes > 0) {
            std::memcpy(term.data() + offset, values.data(), bytes);
          }
          terms.push_back(term.data() + offset);
        }
        Bytes expected(bytes + offset);
        Bytes got(bytes + offset);
        use_scalar();
        ordered_mean(terms, std::span(expected).subspan(offset));
        use_vectors();
        ordered_mean(terms, std::span(got).subspan(offset));
        EXPECT_EQ(got, expected) << length << " elements of " << ranks;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, VectorSetTest,
                         ::testing::Values(SimdLevel::kAvx2, SimdLevel::kAvx512), level_name);

}  // namespace
}  // namespace laconic::compress
