#include "common/compress/top_k_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/compress/input_check.h"
#include "common/compress/positions.h"
#include "common/compress/select.h"
#include "tests/compress/each_simd_level.h"
#include "tests/compress/test_vectors.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;
using Positions = std::vector<uint32_t>;

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
    for (const uint32_t at : select_top_k(in, core::kept_elements(density, size))) {
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
  for (const int bits : {32, 8, 4, 2}) {  // one bit cannot say zero
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

// What a payload holds, read with the decoder's own parts.
PositionSection section_of(const Bytes& payload, const Codec& codec) {
  const auto section = measure_positions(payload, codec.elements(), codec.elements());
  EXPECT_OK(section.status());
  return section.value_or(PositionSection{});
}

// One sender that encodes vectors one after the other, as error feedback does without a residual.
class Sender {
 public:
  explicit Sender(const Codec& codec) : codec_(codec), a_(static_cast<size_t>(codec.elements())) {}

  Bytes send(const Floats& v) {
    Bytes payload(static_cast<size_t>(codec_.payload_bytes_max()));
    const auto bytes = codec_.encode_sum(v, /*decay=*/0, a_, state_, payload);
    EXPECT_OK(bytes.status());
    payload.resize(bytes.value_or(0));
    return payload;
  }
  int64_t send_and_count(const Floats& v) { return section_of(send(v), codec_).kept; }
  const EncodeState& state() const { return state_; }

 private:
  const Codec& codec_;
  Floats a_;
  EncodeState state_;
};

Floats scaled(Floats values, float factor) {
  for (float& x : values) {
    x *= factor;
  }
  return values;
}

constexpr int64_t kLong = core::kTopKChunk + 4321;  // long enough to reuse thresholds

TEST(TopKSizeTest, FollowsFromWhatThePayloadHolds) {
  core::Random random(21);
  for (int i = 0; i < 200; ++i) {
    const auto size = static_cast<int64_t>(1 + random.below(i % 4 == 0 ? 200'000 : 2000));
    const double density = 0.5 * std::pow(1e-4, random.uniform());
    const int bits = std::vector<int>{32, 8, 4, 2}[random.below(4)];
    SCOPED_TRACE(absl::StrCat(bits, " bits, density ", density, " of ", size));
    const TopKCodec codec(top_k(bits, density), flat(size));
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(gauss(random(), size)));
    const PositionSection section = section_of(payload, codec);
    EXPECT_EQ(section.kept, core::kept_elements(density, size));
    EXPECT_EQ(static_cast<int64_t>(payload.size()),
              static_cast<int64_t>(section.bytes) +
                  core::top_k_value_bytes(top_k(bits, density), section.kept));
    EXPECT_LE(static_cast<int64_t>(payload.size()), codec.payload_bytes_expected());
    EXPECT_LE(codec.payload_bytes_expected(), codec.payload_bytes_max());
  }
}

TEST(TopKReuseTest, SecondRoundSendsAllThatReachTheThresholdOfTheFirst) {
  const TopKCodec codec(top_k(32, 0.01), flat(kLong));
  Sender sender(codec);
  const Floats first = gauss(1, kLong);
  const int64_t k = core::kept_elements(0.01, kLong);
  EXPECT_EQ(sender.send_and_count(first), k);
  float smallest = std::numeric_limits<float>::max();
  for (const uint32_t at : select_top_k(first, k)) {
    smallest = std::min(smallest, std::abs(first[at]));
  }
  EXPECT_EQ(sender.state().threshold, smallest);
  const Floats second = gauss(2, kLong);
  const auto reach =
      std::count_if(second.begin(), second.end(), [&](float x) { return std::abs(x) >= smallest; });
  ASSERT_NE(reach, k);
  EXPECT_EQ(sender.send_and_count(second), reach);
  EXPECT_EQ(sender.state().threshold_age, 1);
}

TEST(TopKReuseTest, VectorsBelowOneChunkAreAlwaysExact) {
  const TopKCodec codec(top_k(4, 0.01), flat(core::kTopKChunk - 1));
  Sender sender(codec);
  for (uint64_t round = 0; round < 5; ++round) {
    EXPECT_EQ(sender.send_and_count(gauss(round, core::kTopKChunk - 1)), 655);
  }
}

TEST(TopKReuseTest, IsExactAgainAfterThirtyTwoRounds) {
  const TopKCodec codec(top_k(4, 0.05), flat(kLong));
  Sender sender(codec);
  std::vector<int> exact_rounds;
  for (int round = 0; round < 70; ++round) {
    sender.send(gauss(static_cast<uint64_t>(round), kLong));
    if (sender.state().threshold_age == 0) {
      exact_rounds.push_back(round);
    }
  }
  EXPECT_EQ(exact_rounds, (std::vector<int>{0, 32, 64}));
}

TEST(TopKReuseTest, JumpsOfTheScaleStayBelowTheCapAndAreForgottenInOneRound) {
  const TopKCodec codec(top_k(4, 0.01), flat(kLong));
  const int64_t k = core::kept_elements(0.01, kLong);
  const int64_t most = core::kept_elements_max(0.01, kLong);
  for (const float factor : {10.0F, 0.1F, 1.1F, 0.9F, 1e10F, 1e-10F}) {
    SCOPED_TRACE(factor);
    Sender sender(codec);
    EXPECT_EQ(sender.send_and_count(gauss(1, kLong)), k);
    const int64_t jump = sender.send_and_count(scaled(gauss(2, kLong), factor));
    EXPECT_LE(jump, most);
    if (factor > 1.2F) {
      EXPECT_EQ(jump, k);  // Too many: exactly k instead.
    }
    for (uint64_t round = 3; round < 6; ++round) {
      const int64_t kept = sender.send_and_count(scaled(gauss(round, kLong), factor));
      EXPECT_GE(5 * kept, 4 * k);
      EXPECT_LE(kept, most);
    }
  }
}

TEST(TopKReuseTest, NothingKeptIsAPayloadAndDecodesToZeros) {
  for (const int bits : {32, 8, 4, 2, 1}) {
    const TopKCodec codec(top_k(bits, 0.01), flat(kLong));
    Sender sender(codec);
    sender.send(gauss(1, kLong));
    const Bytes nothing = sender.send(Floats(static_cast<size_t>(kLong)));
    EXPECT_EQ(section_of(nothing, codec).kept, 0);
    EXPECT_EQ(nothing.size(), 4u);  // counts of 17 and 13 bits
    Floats out(static_cast<size_t>(kLong), 1.0F);
    ASSERT_OK(codec.decode(nothing, out));
    EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float x) { return x == 0; }));
    Floats sum(static_cast<size_t>(kLong), 1.0F);
    ASSERT_OK(codec.decode_add(nothing, -1, sum));
    EXPECT_TRUE(std::all_of(sum.begin(), sum.end(), [](float x) { return x == 1; }));
    // The next round selects exactly: k zeros, then what there is.
    EXPECT_EQ(sender.send_and_count(Floats(static_cast<size_t>(kLong))),
              core::kept_elements(0.01, kLong));
    EXPECT_EQ(sender.send_and_count(gauss(2, kLong)), core::kept_elements(0.01, kLong));
  }
}

TEST(TopKReuseTest, NansAndInfinitiesAreNamed) {
  const TopKCodec codec(top_k(4, 0.01), flat(kLong));
  Floats a(static_cast<size_t>(kLong));
  EncodeState state;
  Bytes out(static_cast<size_t>(codec.payload_bytes_max()));
  for (int round = 0; round < 2; ++round) {  // exact, then reused
    Floats v = gauss(1, kLong);
    ASSERT_OK(codec.encode_sum(v, 0, a, state, out));
    v[66'000] = -std::numeric_limits<float>::infinity();
    EncodeState next = state;
    EXPECT_THAT(codec.encode_sum(v, 0, a, next, out),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 66000 is -inf")));
    std::fill(a.begin(), a.end(), 0.0F);
  }
}

TEST(TopKReuseTest, RefusesSumsOfDifferentLengthsAndTooLittleRoom) {
  const TopKCodec codec(top_k(4, 0.01), flat(100));
  Floats a(100);
  EncodeState state;
  Bytes out(static_cast<size_t>(codec.payload_bytes_max()));
  EXPECT_THAT(codec.encode_sum(Floats(99), 1, a, state, out),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("99 elements")));
  EXPECT_THAT(codec.encode_sum(Floats(100), 1, a, state, std::span(out).first(out.size() - 1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("room for")));
}

TEST(TopKDecodeAddTest, AddsTheDecodedValuesAndLeavesTheRestAlone) {
  for (const int bits : {32, 8, 4, 2, 1}) {
    const TopKCodec codec(top_k(bits, 0.03), flat(kLong));
    ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(gauss(1, kLong)));
    Floats decoded(static_cast<size_t>(kLong));
    ASSERT_OK(codec.decode(payload, decoded));
    for (const float sign : {1.0F, -1.0F}) {
      Floats sum = gauss(2, kLong);
      Floats expected = sum;
      for (size_t i = 0; i < sum.size(); ++i) {
        expected[i] += sign * decoded[i];
      }
      ASSERT_OK(codec.decode_add(payload, sign, sum));
      EXPECT_EQ(sum, expected);
    }
  }
}

// All payloads of a sender over rounds in which its vectors change in every way.
std::vector<Bytes> payloads_of_a_run(const Codec& codec) {
  std::vector<Bytes> payloads;
  Floats e(static_cast<size_t>(codec.elements()));
  EncodeState state;
  for (uint64_t round = 0; round < 40; ++round) {
    const float factor = round % 7 == 5 ? 10.0F : round % 7 == 6 ? 0.0F : 1.0F;
    Bytes payload(static_cast<size_t>(codec.payload_bytes_max()));
    const Floats v = scaled(gauss(round, codec.elements()), factor);
    const auto bytes = codec.encode_sum(v, 0.95F, e, state, payload);
    EXPECT_OK(bytes.status());
    payload.resize(bytes.value_or(0));
    EXPECT_OK(codec.decode_add(payload, -1, e));
    payloads.push_back(payload);
  }
  return payloads;
}

class TopKLevelsTest : public EachSimdLevel {};
LACONIC_ON_EACH_SIMD_LEVEL(TopKLevelsTest);

TEST_P(TopKLevelsTest, RunWithReusedThresholdsMakesTheBytesOfTheScalarCode) {
  for (const double density : {0.001, 0.01, 0.3}) {
    const TopKCodec codec(top_k(4, density), flat(kLong));
    const std::vector<Bytes> fast = payloads_of_a_run(codec);
    force_simd_level(SimdLevel::kScalar);
    EXPECT_EQ(fast, payloads_of_a_run(codec)) << density;
    force_simd_level(GetParam());
  }
}

// Table 2.2 of the project's measurements: 0.277 of the squared norm against 0.084.
TEST(TopKEnergyTest, OneThresholdKeepsThreeTimesTheEnergyOfChunksOnUnequalLayers) {
  constexpr int64_t kSize = 4 << 20;
  constexpr size_t kLayer = 8192;
  constexpr size_t kChunk = 4096;
  constexpr int64_t kPerChunk = 41;  // 1 %
  Floats in = gauss(31, kSize);
  const Floats scales = gauss(32, kSize / static_cast<int64_t>(kLayer));
  for (size_t i = 0; i < in.size(); ++i) {
    in[i] *= std::exp(scales[i / kLayer]);
  }
  const auto energy = [](std::span<const float> values, const Positions& positions) {
    double sum = 0;
    for (const uint32_t at : positions) {
      sum += static_cast<double>(values[at]) * static_cast<double>(values[at]);
    }
    return sum;
  };
  double chunked = 0;
  for (size_t begin = 0; begin < in.size(); begin += kChunk) {
    const auto chunk = std::span(in).subspan(begin, kChunk);
    chunked += energy(chunk, select_top_k(chunk, kPerChunk));
  }
  const TopKCodec codec(top_k(32, 0.01), flat(kSize));
  ASSERT_OK_AND_ASSIGN(const Bytes payload, codec.encode(in));
  Floats out(in.size());
  ASSERT_OK(codec.decode(payload, out));
  Positions all(in.size());
  std::iota(all.begin(), all.end(), 0U);
  EXPECT_GE(energy(out, all), 3 * chunked);
}

TEST(HostileTopKPayloadTest, MoreThanTheCapIsDataLoss) {
  const TopKCodec sparse(top_k(4, 0.01), flat(kLong));
  for (const double density : {0.0124, 0.0126, 0.02, 0.5}) {
    const TopKCodec dense(top_k(4, density), flat(kLong));
    ASSERT_OK_AND_ASSIGN(const Bytes payload, dense.encode(gauss(1, kLong)));
    Floats out(static_cast<size_t>(kLong));
    const absl::Status status = sparse.decode(payload, out);
    if (density < 0.0125) {
      EXPECT_OK(status);
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("at most 873")));
    }
  }
}

TEST(HostileTopKPayloadTest, DamageAnywhereIsDataLossOrFiniteNumbers) {
  core::Random random(41);
  for (const double density : {0.0005, 0.01, 0.5}) {
    const TopKCodec codec(top_k(8, density), flat(kLong));
    Sender sender(codec);
    sender.send(gauss(1, kLong));
    const Bytes payload = sender.send(gauss(2, kLong));
    Floats sum(static_cast<size_t>(kLong));
    for (int i = 0; i < 300; ++i) {
      Bytes bytes = payload;
      for (uint64_t changes = 1 + random.below(4); changes > 0; --changes) {
        // The first bytes hold a count: damage there moves everything behind it.
        const uint64_t where = i % 3 == 0 ? random.below(3) : random.below(bytes.size());
        bytes[where] = static_cast<uint8_t>(random());
      }
      if (i % 5 == 0) {
        bytes.resize(random.below(bytes.size() + 1));
      }
      std::fill(sum.begin(), sum.end(), 0.0F);
      const absl::Status status = codec.decode_add(bytes, 1, sum);
      ASSERT_TRUE(absl::IsDataLoss(status) || (status.ok() && all_finite(sum)))
          << status.ToString();
    }
  }
}

}  // namespace
}  // namespace laconic::compress
