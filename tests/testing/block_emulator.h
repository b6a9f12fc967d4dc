// Runs the kernels of common/compress/cuda on a CPU, thread by thread, to compare their results
// with the scalar code and to find misuse of barriers. Each GPU thread is a fiber; a barrier,
// ballot or shuffle is where fibers change.
//
// Found: a barrier, ballot or shuffle that some threads do not reach, or reach at another place of
// the source; under AddressSanitizer any access outside an array; and, because whole warps run
// ahead of one another in three different orders, most accesses that miss a barrier between warps,
// and between lanes in the same way. Shared memory starts as 0xA5 bytes.
//
// Not shown: anything of the memory model (a fiber sees all that ran before it, so a ballot or a
// shuffle orders memory here and does not on a GPU), of time or of register use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>

#include "absl/status/status.h"

namespace laconic::testing {

// In which order warps of a block, and lanes of a warp, run between two barriers.
enum class ThreadOrder : uint8_t { kForward, kBackward, kShuffled };

class BlockEmulator;

// One thread's view of its block: the Cta of common/compress/cuda/cta.h.
class EmulatedCta {
 public:
  using Site = std::source_location;

  EmulatedCta(BlockEmulator& emulator, uint32_t block, uint32_t thread)
      : emulator_(emulator), block_(block), thread_(thread) {}

  uint32_t thread() const { return thread_; }
  uint32_t threads() const;
  uint32_t block() const { return block_; }
  uint32_t blocks() const;

  void sync(Site site = Site::current()) const;
  void grid_sync(Site site = Site::current()) const;
  void warp_sync(Site site = Site::current()) const;
  uint32_t ballot(bool value, Site site = Site::current()) const;
  uint32_t shuffle(uint32_t value, uint32_t lane, Site site = Site::current()) const;
  uint32_t shuffle_xor(uint32_t value, uint32_t bits, Site site = Site::current()) const;

  // Fibers change at barriers only, so plain code is atomic.
  uint32_t atomic_add(uint32_t* at, uint32_t value) const;
  uint32_t atomic_or(uint32_t* at, uint32_t value) const;
  uint32_t atomic_max(uint32_t* at, uint32_t value) const;
  void atomic_min(uint64_t* at, uint64_t value) const;

 private:
  BlockEmulator& emulator_;
  const uint32_t block_;
  const uint32_t thread_;
};

struct EmulatedLaunch {
  uint32_t blocks = 1;
  uint32_t threads = 256;  // a multiple of 32
  size_t shared_bytes = 0;
  bool cooperative = false;  // blocks run at the same time, so grid_sync() is allowed
  ThreadOrder order = ThreadOrder::kForward;
};

// One thread of the kernel. shared: of its block, aligned to 16 bytes.
using EmulatedKernel = std::function<void(EmulatedCta& cta, void* shared)>;

// Runs all threads. Errors: FailedPrecondition that names the place in the source and the threads
// if not all of a block, warp or grid reach a barrier, ballot or shuffle together. Memory then is
// as the threads left it.
absl::Status run_emulated(const EmulatedLaunch& launch, const EmulatedKernel& kernel);

}  // namespace laconic::testing
