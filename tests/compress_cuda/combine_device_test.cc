// Sums and means of vectors on the device, against the same operations on the host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/compress/test_vectors.h"
#include "tests/compress_cuda/test_machine.h"

namespace laconic::compress::cuda {
namespace {

class CombineDeviceTest : public DeviceTest {};
LACONIC_ON_EACH_MACHINE(CombineDeviceTest);

TEST_P(CombineDeviceTest, SumIsRoundedAndThenDividedAlsoInPlace) {
  for (const int64_t count : {1, 31, 255, 256, 257, 1009}) {
    const std::vector<float> x = gauss(1, count);
    const std::vector<float> y = gauss(2, count);
    for (const float divisor : {1.0F, 3.0F}) {
      std::vector<float> sum(x.size());
      std::vector<float> quotient(x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        sum[i] = (x[i] + y[i]) / divisor;
        quotient[i] = x[i] / divisor;
      }
      const DeviceMemory x_memory = upload<float>(x);
      const DeviceMemory y_memory = upload<float>(y);
      const DeviceMemory out = scratch(x.size() * sizeof(float));
      CombineArgs args = {
          .count = count, .x = x_memory.as<float>(), .divisor = divisor, .out = out.as<float>()};
      ASSERT_OK(machine_->run(args, nullptr));
      EXPECT_TRUE(same_bits(download<float>(out, x.size()), quotient)) << count;
      args.y = y_memory.as<float>();
      args.out = x_memory.as<float>();
      ASSERT_OK(machine_->run(args, nullptr));
      EXPECT_TRUE(same_bits(download<float>(x_memory, x.size()), sum)) << count;
      EXPECT_TRUE(same_bits(download<float>(y_memory, x.size()), y)) << count;
    }
  }
}

TEST_P(CombineDeviceTest, CopyOnTheDeviceMovesTheseBytesAndNoOthers) {
  const std::vector<uint8_t> bytes = {1, 2, 3, 4, 5};
  const DeviceMemory from = upload<uint8_t>(bytes);
  const DeviceMemory to = scratch(bytes.size());
  ASSERT_OK(machine_->copy_on_device(to.as<uint8_t>() + 1, from.as<void>(), 3, nullptr));
  EXPECT_EQ(download<uint8_t>(to, bytes.size()), (std::vector<uint8_t>{0xA5, 1, 2, 3, 0xA5}));
}

}  // namespace
}  // namespace laconic::compress::cuda
