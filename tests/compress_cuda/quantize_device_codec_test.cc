// The bytes and sums of the device codec are those of the scalar code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/compress/codec.h"
#include "common/core/random.h"
#include "tests/compress/test_vectors.h"
#include "tests/compress_cuda/test_machine.h"

namespace laconic::compress::cuda {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;

std::vector<core::CodecSpec> specs() {
  std::vector<core::CodecSpec> all;
  for (const int bits : {8, 4, 2, 1}) {
    all.push_back(quantize_rows(bits));
    for (const int64_t block : {16, 64, 256, 512, 1024, 8192}) {
      all.push_back(quantize_blocks(bits, block));
    }
  }
  return all;
}

std::unique_ptr<Codec> scalar_codec(const core::CodecSpec& spec, const core::Layout& layout) {
  auto codec = make_codec(spec, layout);
  EXPECT_OK(codec.status());
  return *std::move(codec);
}

class QuantizeDeviceCodecTest : public DeviceTest {
 protected:
  std::unique_ptr<DeviceCodec> device_codec(const core::CodecSpec& spec,
                                            const core::Layout& layout) {
    auto codec = make_device_codec(spec, layout, *machine_);
    EXPECT_OK(codec.status());
    return *std::move(codec);
  }

  // Encodes v alone on the device.
  Bytes encoded(DeviceCodec& codec, std::span<const float> v) {
    const DeviceMemory in = upload(v);
    const DeviceMemory payload = scratch(static_cast<size_t>(codec.capacity_bytes()));
    const DeviceMemory fault = no_fault();
    EXPECT_OK(codec.encode(
        {.v = in.as<float>(), .payload = payload.as<uint8_t>(), .fault = fault.as<uint64_t>()},
        nullptr));
    EXPECT_OK(encode_status(read_fault(fault)));
    return download<uint8_t>(payload, static_cast<size_t>(codec.payload_bytes_max()));
  }
};
LACONIC_ON_EACH_MACHINE(QuantizeDeviceCodecTest);

TEST_P(QuantizeDeviceCodecTest, MakesTheBytesOfTheScalarCode) {
  // All sizes in one order of threads, the longest in the others.
  const std::vector<int64_t> sizes =
      GetParam() == 0 ? std::vector<int64_t>{1, 7, 15, 16, 17, 255, 257, 511, 1031, 4609}
                      : std::vector<int64_t>{4609};
  for (const int64_t elements : sizes) {
    for (const core::CodecSpec& spec : specs()) {
      SCOPED_TRACE(describe(spec) + ", " + std::to_string(elements));
      const core::Layout layout = rows_of_seven(elements);
      const Floats v = gauss(static_cast<uint64_t>(elements), elements);
      const auto device = device_codec(spec, layout);
      ASSERT_OK_AND_ASSIGN(const Bytes expected, scalar_codec(spec, layout)->encode(v));
      ASSERT_EQ(device->payload_bytes_max(), static_cast<int64_t>(expected.size()));
      ASSERT_EQ(encoded(*device, v), expected);
    }
  }
}

// Many blocks of threads; on a GPU more groups than there are threads.
TEST_P(QuantizeDeviceCodecTest, LargeVectorsMakeTheBytesOfTheScalarCode) {
  const int64_t elements = test_machine_is_fast() ? (int64_t{1} << 26) + 5 : 9001;
  const Floats v = gauss(5, elements);
  for (const core::CodecSpec& spec :
       {quantize_blocks(8, 256), quantize_blocks(4, 64), quantize_rows(2), quantize_rows(1)}) {
    SCOPED_TRACE(describe(spec));
    const core::Layout layout = rows_of_seven(elements);
    ASSERT_OK_AND_ASSIGN(const Bytes expected, scalar_codec(spec, layout)->encode(v));
    ASSERT_TRUE(encoded(*device_codec(spec, layout), v) == expected);
  }
}

TEST_P(QuantizeDeviceCodecTest, MakesTheDocumentedBytes) {
  const core::Layout rows{.tensors = {{"w", 2, 3}, {"b", 1, 2}}};
  const Floats v{1, -2, 3, -0.5F, 0.5F, 0.5F, 4, -4};
  EXPECT_EQ(encoded(*device_codec(quantize_rows(1), rows), v),
            (Bytes{0x00, 0x40, 0x00, 0x3F, 0x80, 0x40, 0x8A}));
  const Floats w{7, -3.5F, 1};
  EXPECT_EQ(encoded(*device_codec(quantize_blocks(4, 16), flat(3)), w),
            (Bytes{0x80, 0x3F, 0xC7, 0x01}));
}

TEST_P(QuantizeDeviceCodecTest, MatrixAndVectorShareALaunch) {
  const core::Layout layout{.tensors = {{"a", 3, 1}, {"b", 5, 4099}, {"c", 1, 1}, {"d", 40, 33}}};
  const Floats v = gauss(3, layout.elements());
  for (const int bits : {8, 4, 2, 1}) {
    const core::CodecSpec spec = quantize_rows(bits);
    SCOPED_TRACE(describe(spec));
    const auto scalar = scalar_codec(spec, layout);
    const auto device = device_codec(spec, layout);
    ASSERT_OK_AND_ASSIGN(const Bytes expected, scalar->encode(v));
    ASSERT_EQ(encoded(*device, v), expected);
    const DeviceMemory payload = upload_payloads(*device, {expected});
    const DeviceMemory out = scratch(v.size() * sizeof(float));
    const DeviceMemory fault = no_fault();
    ASSERT_OK(device->decode(
        {.payloads = payload.as<uint8_t>(), .out = out.as<float>(), .fault = fault.as<uint64_t>()},
        nullptr));
    Floats decoded(v.size());
    ASSERT_OK(scalar->decode(expected, decoded));
    EXPECT_TRUE(same_bits(download<float>(out, v.size()), decoded));
  }
}

// Zeros, one value, ties between codes, denormals, the largest numbers.
TEST_P(QuantizeDeviceCodecTest, UnusualNumbersMakeTheSameBytes) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  std::vector<Floats> vectors{Floats(300), Floats(300, -1), Floats(300, kMax), Floats(300, kTiny),
                              Floats(300, -0.0F)};
  Floats ties(300);
  Floats wide(300);
  Floats near_ties(300);
  for (size_t i = 0; i < ties.size(); ++i) {
    const auto x = static_cast<float>(i);
    ties[i] = 0.5F * (x - 150);
    near_ties[i] = (i % 2 == 0 ? 1.0F : -1.0F) * (x / 2) * (1 + (x - 150) * 0x1p-22F);
    wide[i] = std::ldexp(1 + x / 300, static_cast<int>(i) - 149);
  }
  wide.resize(270);
  near_ties[0] = 127.3F;
  vectors.insert(vectors.end(), {ties, near_ties, wide});
  for (const Floats& v : vectors) {
    for (const core::CodecSpec& spec : specs()) {
      SCOPED_TRACE(describe(spec) + ", first " + std::to_string(v[0]));
      const core::Layout layout = flat(static_cast<int64_t>(v.size()));
      ASSERT_OK_AND_ASSIGN(const Bytes expected, scalar_codec(spec, layout)->encode(v));
      ASSERT_EQ(encoded(*device_codec(spec, layout), v), expected);
    }
  }
}

// A product with the inverse of the scale is off by an ulp: at a tie, or next to one, that is a
// wrong code unless the kernel divides.
TEST_P(QuantizeDeviceCodecTest, CodesAtAndBesideTiesAreThoseOfADivision) {
  for (const int bits : {8, 4}) {
    const int largest = bits == 8 ? 127 : 7;
    const core::CodecSpec spec = quantize_blocks(bits, bits == 8 ? 512 : 64);
    for (int fraction = 1; fraction < 128; fraction += 6) {
      const float scale = 1 + static_cast<float>(fraction) / 128;  // a bfloat16
      Floats v{static_cast<float>(largest) * scale};
      for (int q = 0; q < largest; ++q) {
        const float tie = (static_cast<float>(q) + 0.5F) * scale;  // exact
        v.insert(v.end(), {tie, std::nextafter(tie, 0.0F), -std::nextafter(tie, 500.0F)});
      }
      const core::Layout layout = flat(static_cast<int64_t>(v.size()));
      ASSERT_OK_AND_ASSIGN(const Bytes expected, scalar_codec(spec, layout)->encode(v));
      ASSERT_EQ(encoded(*device_codec(spec, layout), v), expected) << bits << " bits, " << scale;
    }
  }
}

TEST_P(QuantizeDeviceCodecTest, ErrorFeedbackAddsInTheSamePass) {
  constexpr float kDecay = 0.95F;
  for (const size_t shift : {0, 1}) {  // 1: not aligned for vector loads
    const int64_t elements = shift == 0 ? 1103 : 257;
    for (const core::CodecSpec& spec : specs()) {
      SCOPED_TRACE(describe(spec) + ", " + std::to_string(elements));
      const core::Layout layout = rows_of_seven(elements);
      const auto scalar = scalar_codec(spec, layout);
      const auto device = device_codec(spec, layout);
      const Floats v = gauss(1, elements + static_cast<int64_t>(shift));
      Floats a = gauss(2, elements + static_cast<int64_t>(shift));
      const DeviceMemory v_memory = upload<float>(v);
      const DeviceMemory a_memory = upload<float>(a);
      const DeviceMemory payload = scratch(static_cast<size_t>(device->capacity_bytes()));
      const DeviceMemory fault = no_fault();
      EncodeCall call{.v = v_memory.as<float>() + shift,
                      .a = a_memory.as<float>() + shift,
                      .decay = kDecay,
                      .payload = payload.as<uint8_t>(),
                      .fault = fault.as<uint64_t>()};
      ASSERT_OK(device->encode(call, nullptr));
      EncodeState state;
      Bytes expected(static_cast<size_t>(scalar->payload_bytes_max()));
      ASSERT_OK(scalar->encode_sum(std::span(v).subspan(shift), kDecay, std::span(a).subspan(shift),
                                   state, expected));
      ASSERT_EQ(download<uint8_t>(payload, expected.size()), expected);
      ASSERT_TRUE(same_bits(download<float>(a_memory, a.size()), a));
      // Rolled back and tried again: the same bytes, and `a` stays.
      call.v = nullptr;
      ASSERT_OK(device->encode(call, nullptr));
      ASSERT_EQ(download<uint8_t>(payload, expected.size()), expected);
      // Committed: e' = a - D(Q(a)).
      ASSERT_OK(device->decode({.payloads = payload.as<uint8_t>(),
                                .sign = -1,
                                .add = true,
                                .out = a_memory.as<float>() + shift,
                                .fault = fault.as<uint64_t>()},
                               nullptr));
      ASSERT_OK(scalar->decode_add(expected, -1, std::span(a).subspan(shift)));
      ASSERT_TRUE(same_bits(download<float>(a_memory, a.size()), a));
      ASSERT_EQ(read_fault(fault), kNoFault);
    }
  }
}

TEST_P(QuantizeDeviceCodecTest, MeanOfVirtualRanksIsThatOfTheScalarCodeInRankOrder) {
  for (const size_t ranks : {1, 2, 3, 7}) {
    for (const core::CodecSpec& spec : specs()) {
      SCOPED_TRACE(describe(spec) + ", ranks " + std::to_string(ranks));
      constexpr int64_t kElements = 2003;
      const core::Layout layout = rows_of_seven(kElements);
      const auto scalar = scalar_codec(spec, layout);
      const auto device = device_codec(spec, layout);
      std::vector<Bytes> payloads;
      Floats expected(kElements);
      for (size_t rank = 0; rank < ranks; ++rank) {
        ASSERT_OK_AND_ASSIGN(Bytes payload, scalar->encode(gauss(rank, kElements)));
        ASSERT_OK(rank == 0 ? scalar->decode(payload, expected)
                            : scalar->decode_add(payload, 1, expected));
        payloads.push_back(std::move(payload));
      }
      const auto divisor = static_cast<float>(ranks);
      for (float& x : expected) {
        x /= divisor;
      }
      const DeviceMemory memory = upload_payloads(*device, payloads);
      const DeviceMemory out = scratch(kElements * sizeof(float));
      const DeviceMemory fault = no_fault();
      ASSERT_OK(device->decode({.payloads = memory.as<uint8_t>(),
                                .stride_bytes = device->capacity_bytes(),
                                .count = static_cast<int>(ranks),
                                .divisor = divisor,
                                .out = out.as<float>(),
                                .fault = fault.as<uint64_t>()},
                               nullptr));
      ASSERT_TRUE(same_bits(download<float>(out, kElements), expected));
      ASSERT_EQ(read_fault(fault), kNoFault);
    }
  }
}

TEST_P(QuantizeDeviceCodecTest, FirstElementThatIsNotFiniteIsNamed) {
  for (const core::CodecSpec& spec : specs()) {
    SCOPED_TRACE(describe(spec));
    constexpr int64_t kElements = 1500;
    const auto device = device_codec(spec, rows_of_seven(kElements));
    Floats v = gauss(1, kElements);
    v[1203] = std::numeric_limits<float>::quiet_NaN();
    v[1201] = -std::numeric_limits<float>::infinity();
    const DeviceMemory in = upload<float>(v);
    const DeviceMemory payload = scratch(static_cast<size_t>(device->capacity_bytes()));
    const DeviceMemory fault = no_fault();
    ASSERT_OK(device->encode(
        {.v = in.as<float>(), .payload = payload.as<uint8_t>(), .fault = fault.as<uint64_t>()},
        nullptr));
    EXPECT_THAT(encode_status(read_fault(fault)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 1201 ")));
  }
}

// Any bytes of the right size: refused if and only if the scalar decoder refuses them, else equal.
TEST_P(QuantizeDeviceCodecTest, HostilePayloadsAreRefusedAsTheScalarCodeRefusesThem) {
  core::Random random(9);
  for (const core::CodecSpec& spec : specs()) {
    SCOPED_TRACE(describe(spec));
    constexpr int64_t kElements = 603;
    const core::Layout layout = rows_of_seven(kElements);
    const auto scalar = scalar_codec(spec, layout);
    const auto device = device_codec(spec, layout);
    ASSERT_OK_AND_ASSIGN(const Bytes good, scalar->encode(gauss(1, kElements)));
    int refused = 0;
    for (int attempt = 0; attempt < 24; ++attempt) {
      Bytes bad = good;
      if (attempt == 0) {
        bad.back() = 0xFF;  // the unused bits, if there are any
      } else if (attempt % 4 == 0) {
        for (uint8_t& byte : bad) {
          byte = static_cast<uint8_t>(random());
        }
      } else {
        bad[random.below(bad.size())] ^= static_cast<uint8_t>(1U << random.below(8));
      }
      Floats expected(kElements);
      const absl::Status verdict = scalar->decode(bad, expected);
      const DeviceMemory memory = upload_payloads(*device, {good, bad});
      const DeviceMemory out = scratch(kElements * sizeof(float));
      const DeviceMemory fault = no_fault();
      const auto* second = memory.as<uint8_t>() + device->capacity_bytes();
      ASSERT_OK(device->decode(
          {.payloads = second, .out = out.as<float>(), .fault = fault.as<uint64_t>()}, nullptr));
      ASSERT_EQ(decode_status(read_fault(fault)).ok(), verdict.ok()) << verdict;
      if (verdict.ok()) {
        ASSERT_TRUE(same_bits(download<float>(out, kElements), expected));
        continue;
      }
      ++refused;
      const DeviceMemory both = no_fault();
      ASSERT_OK(device->decode({.payloads = memory.as<uint8_t>(),
                                .stride_bytes = device->capacity_bytes(),
                                .count = 2,
                                .out = out.as<float>(),
                                .fault = both.as<uint64_t>()},
                               nullptr));
      EXPECT_THAT(decode_status(read_fault(both)),
                  StatusIs(absl::StatusCode::kDataLoss, HasSubstr("payload 1: ")));
    }
    EXPECT_GT(refused, 0);
  }
}

TEST_P(QuantizeDeviceCodecTest, WrongCallsAreRefusedBeforeAnythingRuns) {
  const auto device = device_codec(quantize_blocks(4, 64), flat(100));
  const DeviceMemory memory = scratch(4096);
  auto* floats = memory.as<float>();
  auto* bytes = memory.as<uint8_t>();
  auto* fault = memory.as<uint64_t>();
  for (const EncodeCall& call : {
           EncodeCall{.payload = bytes, .fault = fault},                   // no vector
           EncodeCall{.v = floats, .fault = fault},                        // no payload
           EncodeCall{.v = floats, .payload = bytes + 4, .fault = fault},  // misaligned
           EncodeCall{.v = floats, .payload = bytes},                      // no fault word
       }) {
    EXPECT_THAT(device->encode(call, nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("encode: ")));
  }
  for (const DecodeCall& call : {
           DecodeCall{.out = floats, .fault = fault},
           DecodeCall{.payloads = bytes + 2, .out = floats, .fault = fault},
           DecodeCall{.payloads = bytes, .fault = fault},
           DecodeCall{.payloads = bytes, .count = 0, .out = floats, .fault = fault},
           DecodeCall{
               .payloads = bytes, .stride_bytes = 32, .count = 2, .out = floats, .fault = fault},
           DecodeCall{.payloads = bytes, .sign = -1, .out = floats, .fault = fault},
           DecodeCall{.payloads = bytes, .divisor = 0, .out = floats, .fault = fault},
       }) {
    EXPECT_THAT(device->decode(call, nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("decode: ")));
  }
}

TEST_P(QuantizeDeviceCodecTest, KindsWithoutKernelsAreNamed) {
  EXPECT_THAT(make_device_codec({.kind = core::CodecKind::kNatural}, flat(10), *machine_).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("no kernels for kind 6")));
  EXPECT_THAT(make_device_codec(quantize_blocks(3, 64), flat(10), *machine_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bits")));
}

}  // namespace
}  // namespace laconic::compress::cuda
