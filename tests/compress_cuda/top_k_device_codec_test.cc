// Payloads, states and sums of the device codec are those of the scalar code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/compress/codec.h"
#include "common/compress/cuda/top_k_args.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "tests/compress/test_vectors.h"
#include "tests/compress_cuda/test_machine.h"

namespace laconic::compress::cuda {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;
using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;

// Two chunks, the second one short: long enough to reuse thresholds.
constexpr int64_t kTwoChunks = core::kTopKChunk + 1111;

TEST(DeviceChunkCodeTest, ChunkCodesAreThoseOfTheSizeEquation) {
  for (const int64_t size :
       {int64_t{1}, int64_t{2}, int64_t{17}, int64_t{4097}, core::kTopKChunk}) {
    const auto n = static_cast<uint32_t>(size);
    ASSERT_EQ(device_count_bits(n), static_cast<uint32_t>(core::count_bits(size)));
    for (int64_t kept = 0; kept <= size; ++kept) {
      const core::ChunkCode code = core::chunk_code(size, kept);
      const DeviceChunkCode device = device_chunk_code(n, static_cast<uint32_t>(kept));
      ASSERT_EQ(device.bitmap, code.bitmap);
      ASSERT_EQ(device.low_bits, static_cast<uint32_t>(code.low_bits));
      ASSERT_EQ(device.upper_bits, static_cast<uint32_t>(code.upper_bits));
      ASSERT_EQ(device.bits, static_cast<uint32_t>(code.bits));
    }
  }
}

// A sender on the device beside one of the scalar code.
class TopKDeviceCodecTest : public DeviceTest {
 protected:
  void make(int bits, double density, int64_t elements) {
    const core::CodecSpec spec = top_k(bits, density);
    auto scalar = make_codec(spec, flat(elements));
    ASSERT_OK(scalar.status());
    scalar_ = *std::move(scalar);
    auto device = make_device_codec(spec, flat(elements), *machine_);
    ASSERT_OK(device.status());
    device_ = *std::move(device);
    state_ = EncodeState{};
    device_state_ = scratch(sizeof(TopKState), 0);
  }

  // What the device sends of v alone; the state goes on.
  Bytes encoded(std::span<const float> v) {
    const DeviceMemory in = upload(v);
    return encoded({.v = in.as<float>()});
  }

  Bytes encoded(EncodeCall call) {
    const DeviceMemory payload = scratch(static_cast<size_t>(device_->capacity_bytes()));
    const DeviceMemory size = scratch(sizeof(uint64_t));
    const DeviceMemory fault = no_fault();
    call.payload = payload.as<uint8_t>();
    call.payload_bytes = size.as<uint64_t>();
    call.state = device_state_.as<void>();
    call.next_state = device_state_.as<void>();
    call.fault = fault.as<uint64_t>();
    EXPECT_OK(device_->encode(call, nullptr));
    const absl::Status status = encode_status(read_fault(fault));
    EXPECT_OK(status);
    const auto bytes = download<uint64_t>(size, 1)[0];
    if (!status.ok() || bytes > static_cast<uint64_t>(device_->payload_bytes_max())) {
      ADD_FAILURE() << bytes << " bytes";
      return {};
    }
    return download<uint8_t>(payload, bytes);
  }

  Bytes expected(std::span<const float> v) {
    Bytes payload(static_cast<size_t>(scalar_->payload_bytes_max()));
    const auto bytes = scalar_->encode(v, state_, payload);
    EXPECT_OK(bytes.status());
    payload.resize(bytes.value_or(0));
    return payload;
  }

  void expect_equal_states() {
    const TopKState state = download<TopKState>(device_state_, 1)[0];
    EXPECT_EQ(state.threshold, std::bit_cast<uint32_t>(state_.threshold));
    EXPECT_EQ(state.age, state_.threshold_age);
  }

  std::unique_ptr<Codec> scalar_;
  std::unique_ptr<DeviceCodec> device_;
  EncodeState state_;
  DeviceMemory device_state_;
};
LACONIC_ON_EACH_MACHINE(TopKDeviceCodecTest);

TEST_P(TopKDeviceCodecTest, MakesTheBytesOfTheScalarCode) {
  for (const int64_t elements : {1, 7, 257, 4095, 4096, 4097, 9001}) {
    for (const int bits : {32, 8, 4, 2, 1}) {
      for (const double density : {0.001, 1.0 / 64, 0.5}) {
        SCOPED_TRACE(describe(top_k(bits, density)) + ", " + std::to_string(elements));
        make(bits, density, elements);
        const Floats v = gauss(static_cast<uint64_t>(elements), elements);
        ASSERT_EQ(encoded(v), expected(v));
        expect_equal_states();
      }
    }
  }
}

TEST_P(TopKDeviceCodecTest, MakesTheDocumentedBytes) {
  make(2, 0.25, 16);
  Floats v(16);
  v[2] = 4;
  v[3] = -4;
  v[9] = 8;
  v[15] = -8;
  EXPECT_EQ(encoded(v), (Bytes{0xC4, 0x7B, 0x0A, 0x80, 0x40, 0x00, 0x41, 0xD8}));
}

TEST_P(TopKDeviceCodecTest, ReusesAndRenewsThresholdsAsTheScalarCode) {
  constexpr float kDecay = 0.95F;
  make(4, 0.01, kTwoChunks);
  Floats a(kTwoChunks);
  const DeviceMemory a_memory = upload<float>(a);
  // Growing inputs exceed 1.25 k with the old threshold; shrinking ones stay below 0.8 k.
  for (const float scale : {1.0F, 1.05F, 3.0F, 0.9F, 0.2F, 1.0F}) {
    Floats v = gauss(static_cast<uint64_t>(100 * scale), kTwoChunks);
    for (float& x : v) {
      x *= scale;
    }
    Bytes payload(static_cast<size_t>(scalar_->payload_bytes_max()));
    ASSERT_OK_AND_ASSIGN(const size_t bytes, scalar_->encode_sum(v, kDecay, a, state_, payload));
    payload.resize(bytes);
    const DeviceMemory v_memory = upload<float>(v);
    ASSERT_TRUE(encoded({.v = v_memory.as<float>(), .a = a_memory.as<float>(), .decay = kDecay}) ==
                payload)
        << scale;
    expect_equal_states();
    // Committed on both sides.
    const DeviceMemory sent = upload_payloads(*device_, {payload});
    const DeviceMemory fault = no_fault();
    ASSERT_OK(device_->decode({.payloads = sent.as<uint8_t>(),
                               .sign = -1,
                               .add = true,
                               .out = a_memory.as<float>(),
                               .fault = fault.as<uint64_t>()},
                              nullptr));
    ASSERT_OK(scalar_->decode_add(payload, -1, a));
    ASSERT_TRUE(same_bits(download<float>(a_memory, a.size()), a));
  }
}

TEST_P(TopKDeviceCodecTest, OldThresholdIsRenewedAfterThirtyTwoRounds) {
  make(32, 0.01, kTwoChunks);
  const Floats v = gauss(1, kTwoChunks);
  ASSERT_TRUE(encoded(v) == expected(v));
  state_.threshold_age = kRoundsPerExact - 1;
  const TopKState old{.threshold = std::bit_cast<uint32_t>(state_.threshold),
                      .age = state_.threshold_age};
  ASSERT_OK(machine_->copy_to_device(device_state_.as<void>(), &old, sizeof old, nullptr));
  ASSERT_TRUE(encoded(v) == expected(v));
  expect_equal_states();
  EXPECT_EQ(state_.threshold_age, 0);
}

// Ties go to the lower index: within a tile, across tiles and chunks, more than the list can hold.
TEST_P(TopKDeviceCodecTest, TiesGoToTheLowerIndex) {
  for (const int64_t elements : {int64_t{5000}, kTwoChunks}) {
    make(8, 0.3, elements);
    Floats equal(static_cast<size_t>(elements), 2.0F);
    ASSERT_TRUE(encoded(equal) == expected(equal));
    Floats few(static_cast<size_t>(elements));
    for (size_t i = 0; i < few.size(); ++i) {
      few[i] = static_cast<float>(i % 7) - 3;
    }
    state_ = {};
    device_state_ = scratch(sizeof(TopKState), 0);
    ASSERT_TRUE(encoded(few) == expected(few));
    expect_equal_states();
  }
}

TEST_P(TopKDeviceCodecTest, VectorsOfZerosAndOfOneLargeLayerAreEncoded) {
  make(2, 0.02, kTwoChunks);
  const Floats zeros(kTwoChunks);
  ASSERT_TRUE(encoded(zeros) == expected(zeros));
  expect_equal_states();
  Floats layer(kTwoChunks);
  for (size_t i = 3000; i < 4100; ++i) {
    layer[i] = 1 + static_cast<float>(i);
  }
  ASSERT_TRUE(encoded(layer) == expected(layer));
  // The list of candidates cannot hold all that share the leading bits of the k-th.
  Floats flat_tail = gauss(3, kTwoChunks);
  for (float& x : flat_tail) {
    x = 1 + std::abs(x) * 0x1p-10F;
  }
  state_ = {};
  device_state_ = scratch(sizeof(TopKState), 0);
  ASSERT_TRUE(encoded(flat_tail) == expected(flat_tail));
  expect_equal_states();
}

TEST_P(TopKDeviceCodecTest, LargeVectorsMakeTheBytesOfTheScalarCode) {
  const int64_t elements = test_machine_is_fast() ? (int64_t{1} << 26) + 12345 : 2 * kTwoChunks;
  for (const int bits : {4, 2}) {
    make(bits, 0.01, elements);
    Floats v = gauss(9, elements);
    ASSERT_TRUE(encoded(v) == expected(v));
    for (size_t i = 0; i < v.size(); i += 3) {
      v[i] *= 1.02F;
    }
    ASSERT_TRUE(encoded(v) == expected(v));
    expect_equal_states();
  }
}

TEST_P(TopKDeviceCodecTest, MeanOfVirtualRanksIsThatOfTheScalarCodeInRankOrder) {
  for (const int64_t elements : {int64_t{2003}, kTwoChunks}) {
    for (const size_t ranks : {1, 2, 3, 7}) {
      make(ranks == 2 ? 32 : 8, 0.02, elements);
      std::vector<Bytes> payloads;
      std::vector<uint64_t> sizes;
      Floats mean(static_cast<size_t>(elements));
      for (size_t rank = 0; rank < ranks; ++rank) {
        state_ = {};
        const Bytes payload = expected(gauss(rank, elements));
        ASSERT_OK(rank == 0 ? scalar_->decode(payload, mean)
                            : scalar_->decode_add(payload, 1, mean));
        sizes.push_back(payload.size());
        payloads.push_back(payload);
      }
      const auto divisor = static_cast<float>(ranks);
      for (float& x : mean) {
        x /= divisor;
      }
      const DeviceMemory memory = upload_payloads(*device_, payloads);
      const DeviceMemory size_memory = upload<uint64_t>(sizes);
      const DeviceMemory out = scratch(mean.size() * sizeof(float));
      const DeviceMemory fault = no_fault();
      for (const uint64_t* bytes : {static_cast<const uint64_t*>(nullptr),
                                    static_cast<const uint64_t*>(size_memory.as<uint64_t>())}) {
        ASSERT_OK(device_->decode({.payloads = memory.as<uint8_t>(),
                                   .stride_bytes = device_->capacity_bytes(),
                                   .payload_bytes = bytes,
                                   .count = static_cast<int>(ranks),
                                   .divisor = divisor,
                                   .out = out.as<float>(),
                                   .fault = fault.as<uint64_t>()},
                                  nullptr));
        ASSERT_EQ(read_fault(fault), kNoFault);
        ASSERT_TRUE(same_bits(download<float>(out, mean.size()), mean));
      }
    }
  }
}

TEST_P(TopKDeviceCodecTest, FirstElementThatIsNotFiniteIsNamed) {
  make(8, 0.01, kTwoChunks);
  Floats v = gauss(1, kTwoChunks);
  v[66000] = std::numeric_limits<float>::quiet_NaN();
  v[60001] = -std::numeric_limits<float>::infinity();
  const DeviceMemory in = upload<float>(v);
  const DeviceMemory payload = scratch(static_cast<size_t>(device_->capacity_bytes()));
  const DeviceMemory fault = no_fault();
  EncodeCall call{.v = in.as<float>(),
                  .payload = payload.as<uint8_t>(),
                  .state = device_state_.as<void>(),
                  .next_state = device_state_.as<void>(),
                  .fault = fault.as<uint64_t>()};
  ASSERT_OK(device_->encode(call, nullptr));
  EXPECT_THAT(encode_status(read_fault(fault)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 60001 ")));
  call.next_state = nullptr;
  EXPECT_THAT(device_->encode(call, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("next_state")));
}

// Any bytes: refused if and only if the scalar decoder refuses them, else equal.
TEST_P(TopKDeviceCodecTest, HostilePayloadsAreRefusedAsTheScalarCodeRefusesThem) {
  core::Random random(4);
  for (const int bits : {32, 8, 4, 2, 1}) {
    for (const double density : {0.02, 0.4}) {  // 0.4: a bitmap
      constexpr int64_t kElements = 3001;
      make(bits, density, kElements);
      const Bytes good = expected(gauss(1, kElements));
      int refused = 0;
      for (int attempt = 0; attempt < 40; ++attempt) {
        Bytes bad = good;
        if (attempt % 8 == 0) {
          for (uint8_t& byte : bad) {
            byte = static_cast<uint8_t>(random());
          }
        } else if (attempt % 8 == 1) {
          bad.resize(random.below(bad.size()));
        } else {
          const size_t at = attempt % 2 == 0 ? random.below(bad.size()) : random.below(12);
          bad[at] ^= static_cast<uint8_t>(1U << random.below(8));
        }
        Floats decoded(kElements);
        const absl::Status verdict = scalar_->decode(bad, decoded);
        const DeviceMemory memory = upload_payloads(*device_, {good, bad});
        const std::vector<uint64_t> sizes{good.size(), bad.size()};
        const DeviceMemory size_memory = upload<uint64_t>(sizes);
        const DeviceMemory out = scratch(kElements * sizeof(float));
        const DeviceMemory fault = no_fault();
        ASSERT_OK(device_->decode({.payloads = memory.as<uint8_t>() + device_->capacity_bytes(),
                                   .payload_bytes = size_memory.as<uint64_t>() + 1,
                                   .out = out.as<float>(),
                                   .fault = fault.as<uint64_t>()},
                                  nullptr));
        ASSERT_EQ(decode_status(read_fault(fault)).ok(), verdict.ok()) << verdict;
        if (verdict.ok()) {
          ASSERT_TRUE(same_bits(download<float>(out, kElements), decoded));
          continue;
        }
        ++refused;
        const DeviceMemory both = no_fault();
        ASSERT_OK(device_->decode({.payloads = memory.as<uint8_t>(),
                                   .stride_bytes = device_->capacity_bytes(),
                                   .payload_bytes = size_memory.as<uint64_t>(),
                                   .count = 2,
                                   .out = out.as<float>(),
                                   .fault = both.as<uint64_t>()},
                                  nullptr));
        EXPECT_THAT(decode_status(read_fault(both)),
                    StatusIs(absl::StatusCode::kDataLoss, HasSubstr("payload 1: ")));
      }
      EXPECT_GT(refused, 10);
    }
  }
}

TEST_P(TopKDeviceCodecTest, SizeAboveTheBufferIsRefused) {
  make(8, 0.02, 3001);
  const DeviceMemory memory = upload_payloads(*device_, {expected(gauss(1, 3001))});
  const std::vector<uint64_t> sizes{static_cast<uint64_t>(device_->capacity_bytes()) + 1};
  const DeviceMemory size_memory = upload<uint64_t>(sizes);
  const DeviceMemory out = scratch(3001 * sizeof(float));
  const DeviceMemory fault = no_fault();
  ASSERT_OK(device_->decode({.payloads = memory.as<uint8_t>(),
                             .payload_bytes = size_memory.as<uint64_t>(),
                             .out = out.as<float>(),
                             .fault = fault.as<uint64_t>()},
                            nullptr));
  EXPECT_THAT(decode_status(read_fault(fault)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("payload 0: wrong positions")));
}

}  // namespace
}  // namespace laconic::compress::cuda
