// The kernels on a CPU.
#include <cstdlib>
#include <new>

#include "common/compress/cuda/quantize_launch.h"
#include "common/compress/cuda/top_k_decode.h"
#include "tests/compress_cuda/test_machine.h"
#include "tests/testing/block_emulator.h"

namespace laconic::compress::cuda {
namespace {

using core::ValueCode;
using testing::EmulatedCta;
using testing::EmulatedKernel;
using testing::EmulatedLaunch;

constexpr std::align_val_t kAlignment{256};
// Blocks of cooperative launches: more than one, and not a divisor of what they share.
constexpr uint32_t kResidentBlocks = 3;

class EmulatedMachine final : public Machine {
 public:
  explicit EmulatedMachine(testing::ThreadOrder order) : order_(order) {}

  absl::StatusOr<void*> allocate(size_t bytes) override {
    return ::operator new(bytes, kAlignment);
  }
  void release(void* memory) override { ::operator delete(memory, kAlignment); }

  absl::Status copy_to_device(void* to, const void* from, size_t bytes,
                              Stream /*stream*/) override {
    return copy(to, from, bytes);
  }
  absl::Status copy_to_host(void* to, const void* from, size_t bytes, Stream /*stream*/) override {
    return copy(to, from, bytes);
  }
  absl::Status copy_on_device(void* to, const void* from, size_t bytes,
                              Stream /*stream*/) override {
    return copy(to, from, bytes);
  }
  absl::Status fill(void* at, uint8_t byte, size_t bytes, Stream /*stream*/) override {
    std::memset(at, byte, bytes);
    return absl::OkStatus();
  }

  absl::Status run(const QuantizeEncodeArgs& args, Stream /*stream*/) override {
    return launch<TeamShared>(encode_blocks(args.shape), [&](EmulatedCta& cta, void* shared) {
      if (args.shape.log2_block == 0) {
        quantize_groups(cta, *static_cast<TeamShared*>(shared), args);
      } else if (args.shape.code == ValueCode::kLinear8) {
        quantize_blocks<ValueCode::kLinear8>(cta, args);
      } else {
        quantize_blocks<ValueCode::kLinear4>(cta, args);
      }
    });
  }

  absl::Status run(const QuantizeDecodeArgs& args, Stream /*stream*/) override {
    return launch<TeamShared>(decode_blocks_of(args.shape), [&](EmulatedCta& cta, void* shared) {
      if (args.shape.log2_block == 0) {
        decode_groups(cta, *static_cast<TeamShared*>(shared), args);
      } else if (args.shape.code == ValueCode::kLinear8) {
        decode_blocks<ValueCode::kLinear8>(cta, args);
      } else {
        decode_blocks<ValueCode::kLinear4>(cta, args);
      }
    });
  }

  absl::Status run(const TopKEncodeArgs& args, Stream /*stream*/) override {
    return launch<TopKShared>(
        std::min(kResidentBlocks, args.shape.tiles),
        [&](EmulatedCta& cta, void* shared) {
          top_k_encode(cta, *static_cast<TopKShared*>(shared), args);
        },
        /*cooperative=*/true);
  }

  absl::Status run(const TopKDecodeArgs& args, Stream /*stream*/) override {
    return launch<TopKDecodeShared>(
        std::min(kResidentBlocks, args.shape.tiles),
        [&](EmulatedCta& cta, void* shared) {
          top_k_decode(cta, *static_cast<TopKDecodeShared*>(shared), args);
        },
        /*cooperative=*/true);
  }

  absl::Status run(const CombineArgs& args, Stream /*stream*/) override {
    return launch<TeamShared>(combine_blocks(args),
                              [&](EmulatedCta& cta, void* /*shared*/) { combine(cta, args); });
  }

 private:
  static absl::Status copy(void* to, const void* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    return absl::OkStatus();
  }

  template <typename Shared>
  absl::Status launch(uint32_t blocks, const EmulatedKernel& kernel, bool cooperative = false) {
    return testing::run_emulated({.blocks = blocks,
                                  .threads = kBlockThreads,
                                  .shared_bytes = sizeof(Shared),
                                  .cooperative = cooperative,
                                  .order = order_},
                                 kernel);
  }

  const testing::ThreadOrder order_;
};

}  // namespace

std::unique_ptr<Machine> make_test_machine(int variant, std::string& /*why*/) {
  return std::make_unique<EmulatedMachine>(static_cast<testing::ThreadOrder>(variant));
}

int test_machine_variants() {
  return 3;
}

bool test_machine_is_fast() {
  return false;
}

}  // namespace laconic::compress::cuda
