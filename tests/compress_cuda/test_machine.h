// The machine that the tests of device codecs run on: the block emulator in compress_cuda_test, a
// GPU in gpu_test, which is made of the same test files.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "common/compress/cuda/device_codec.h"
#include "common/compress/cuda/machine.h"
#include "tests/testing/status_matchers.h"

namespace laconic::compress::cuda {

// A machine, with threads in another order for each variant. nullptr: the test cannot run here and
// must skip, with `why` as the reason.
std::unique_ptr<Machine> make_test_machine(int variant, std::string& why);

// Variants worth testing: those of the emulator differ.
int test_machine_variants();

// True where large vectors take no time.
bool test_machine_is_fast();

class DeviceTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    std::string why;
    machine_ = make_test_machine(GetParam(), why);
    if (machine_ == nullptr) {
      GTEST_SKIP() << "NO GPU: " << why;
    }
  }

  template <typename T>
  DeviceMemory upload(std::span<const T> values) {
    DeviceMemory memory = scratch(values.size_bytes());
    EXPECT_OK(
        machine_->copy_to_device(memory.as<void>(), values.data(), values.size_bytes(), nullptr));
    return memory;
  }

  DeviceMemory scratch(size_t bytes, uint8_t byte = 0xA5) {
    absl::StatusOr<DeviceMemory> memory = DeviceMemory::make(*machine_, bytes);
    EXPECT_OK(memory.status());
    EXPECT_OK(machine_->fill(memory->as<void>(), byte, bytes, nullptr));
    return *std::move(memory);
  }

  template <typename T>
  std::vector<T> download(const DeviceMemory& memory, size_t count) {
    std::vector<T> values(count);
    EXPECT_OK(machine_->copy_to_host(values.data(), memory.as<void>(), count * sizeof(T), nullptr));
    return values;
  }

  uint64_t read_fault(const DeviceMemory& fault) { return download<uint64_t>(fault, 1)[0]; }
  DeviceMemory no_fault() { return scratch(sizeof(uint64_t), 0xFF); }

  // One after the other at the codec's stride, with 0xA5 behind each.
  DeviceMemory upload_payloads(const DeviceCodec& codec,
                               const std::vector<std::vector<uint8_t>>& payloads) {
    const auto stride = static_cast<size_t>(codec.capacity_bytes());
    std::vector<uint8_t> all(stride * payloads.size(), 0xA5);
    for (size_t p = 0; p < payloads.size(); ++p) {
      std::memcpy(all.data() + p * stride, payloads[p].data(), payloads[p].size());
    }
    return upload<uint8_t>(all);
  }

  std::unique_ptr<Machine> machine_;
};

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace laconic::compress::cuda

#define LACONIC_ON_EACH_MACHINE(suite) \
  INSTANTIATE_TEST_SUITE_P(Machines, suite, ::testing::Range(0, test_machine_variants()))
