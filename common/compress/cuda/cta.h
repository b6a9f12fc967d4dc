// What a kernel of this directory may use of the machine that runs it. A kernel is a function
// template over `Cta`, one thread's view of its block ("cooperative thread array"), and there are
// two of those: DeviceCta (device_cta.cuh) on a GPU, and EmulatedCta of tests/testing, which runs
// the same source on a CPU. A Cta has
//
//   thread() threads() block() blocks()   who we are: 0.. and of how many; threads() is a multiple
//                                         of 32; 32 consecutive threads are a warp
//   sync()                                barrier of the block; orders shared and global memory
//   grid_sync()                           barrier of all blocks, where the launch is cooperative
//   warp_sync()                           barrier of the warp, likewise
//   ballot(bool) -> bits                  bit i is the argument of lane i of the warp
//   shuffle(uint32, lane)                 the argument of that lane
//   shuffle_xor(uint32, bits)             the argument of lane (own lane xor bits)
//   atomic_add(uint32*, v) -> before      also atomic_or and atomic_max, of global or shared memory
//   atomic_min(uint64*, v)
//
// All threads of a block, warp or grid reach such a barrier, ballot or shuffle at the same place of
// the source; a thread that has returned is missing there. Nothing else orders memory.
#pragma once

#include <bit>
#include <cstdint>

#if defined(__CUDACC__)
#define LACONIC_DEVICE __device__
#else
#define LACONIC_DEVICE
#endif

namespace laconic::compress::cuda {

inline constexpr uint32_t kWarp = 32;
inline constexpr uint32_t kBlockThreads = 256;  // of every kernel here
inline constexpr uint32_t kBlockWarps = kBlockThreads / kWarp;

// Magnitude bits: those of a float32 without its sign; infinities and NaNs are above all numbers.
inline constexpr uint32_t kMagnitudeBits = 0x7FFFFFFFU;
inline constexpr uint32_t kInfinity = 0x7F800000U;

template <typename Cta>
LACONIC_DEVICE uint32_t lane_of(const Cta& cta) {
  return cta.thread() % kWarp;
}

template <typename Cta>
LACONIC_DEVICE uint32_t warp_of(const Cta& cta) {
  return cta.thread() / kWarp;
}

template <typename Cta>
LACONIC_DEVICE double shuffle_double(Cta& cta, double value, uint32_t lane) {
  const auto bits = std::bit_cast<uint64_t>(value);
  const uint64_t low = cta.shuffle(static_cast<uint32_t>(bits), lane);
  const uint64_t high = cta.shuffle(static_cast<uint32_t>(bits >> 32), lane);
  return std::bit_cast<double>(low | (high << 32));
}

// The sum over the lanes before ours.
template <typename Cta>
LACONIC_DEVICE uint32_t warp_sum_before(Cta& cta, uint32_t value) {
  uint32_t sum = value;
  for (uint32_t step = 1; step < kWarp; step *= 2) {
    const uint32_t lane = lane_of(cta);
    const uint32_t before = cta.shuffle(sum, lane >= step ? lane - step : lane);
    sum += lane >= step ? before : 0;
  }
  return sum - value;
}

// Threads that work on one group of values together: a warp.
template <typename Cta>
class WarpTeam {
 public:
  LACONIC_DEVICE explicit WarpTeam(Cta& cta) : cta_(cta) {}
  LACONIC_DEVICE Cta& cta() const { return cta_; }
  LACONIC_DEVICE uint32_t index() const { return lane_of(cta_); }
  LACONIC_DEVICE uint32_t size() const { return kWarp; }
  LACONIC_DEVICE void sync() const { cta_.warp_sync(); }
  LACONIC_DEVICE uint32_t largest(uint32_t value) const {
    for (uint32_t step = 1; step < kWarp; step *= 2) {
      const uint32_t other = cta_.shuffle_xor(value, step);
      value = other > value ? other : value;
    }
    return value;
  }
  // That of the first warp, which is the only one.
  LACONIC_DEVICE uint32_t from_first_warp(uint32_t value) const { return value; }

 private:
  Cta& cta_;
};

struct TeamShared {
  uint32_t values[kBlockWarps];
};

// Likewise: all threads of a block.
template <typename Cta>
class BlockTeam {
 public:
  LACONIC_DEVICE BlockTeam(Cta& cta, TeamShared& shared) : cta_(cta), shared_(shared) {}
  LACONIC_DEVICE Cta& cta() const { return cta_; }
  LACONIC_DEVICE uint32_t index() const { return cta_.thread(); }
  LACONIC_DEVICE uint32_t size() const { return cta_.threads(); }
  LACONIC_DEVICE void sync() const { cta_.sync(); }
  LACONIC_DEVICE uint32_t largest(uint32_t value) const {
    value = WarpTeam<Cta>(cta_).largest(value);
    cta_.sync();
    if (lane_of(cta_) == 0) {
      shared_.values[warp_of(cta_)] = value;
    }
    cta_.sync();
    for (uint32_t warp = 0; warp < cta_.threads() / kWarp; ++warp) {
      value = shared_.values[warp] > value ? shared_.values[warp] : value;
    }
    return value;
  }
  // What thread 0 gave.
  LACONIC_DEVICE uint32_t from_first_warp(uint32_t value) const {
    cta_.sync();
    if (cta_.thread() == 0) {
      shared_.values[0] = value;
    }
    cta_.sync();
    return shared_.values[0];
  }

 private:
  Cta& cta_;
  TeamShared& shared_;
};

}  // namespace laconic::compress::cuda
