// The device exchange over real gRPC on loopback.
#include "tests/collective/world.h"
#include "tests/collective_cuda/device_world.h"

namespace laconic::collective::cuda {
namespace {

TEST(GrpcMeanTest, BytesOfDevicesTravelOverGrpcAndComeToTheSameBits) {
  std::string why;
  const auto machine = compress::cuda::make_test_machine(0, why);
  ASSERT_NE(machine, nullptr) << why;
  for (const Case& test_case : {Case{"", core::Schedule::kAllGather, kTopK, 3, 1009},
                                Case{"", core::Schedule::kSharded, kInt4, 3, 1009},
                                Case{"", core::Schedule::kHierarchical, kInt8, 4, 1009, 2}}) {
    DeviceWorld over_grpc(*machine, test_case);
    DeviceWorld in_process(*machine, test_case);
    for (int round = 0; round < 2; ++round) {
      Transports transports =
          testing::grpc_world(test_case.world_size, static_cast<uint64_t>(round) + 1);
      ASSERT_EQ(over_grpc.round_over(transports, round), 0);
      testing::finish_all(transports);
      ASSERT_EQ(in_process.round(round), 0);
      EXPECT_TRUE(compress::cuda::same_bits(over_grpc.mean(), in_process.mean()));
    }
  }
}

}  // namespace
}  // namespace laconic::collective::cuda
