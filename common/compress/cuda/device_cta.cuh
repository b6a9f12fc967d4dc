// A thread's view of its block on a GPU: cta.h says what these do.
#pragma once

#include <cooperative_groups.h>

#include <cstdint>

namespace laconic::compress::cuda {

class DeviceCta {
 public:
  __device__ uint32_t thread() const { return threadIdx.x; }
  __device__ uint32_t threads() const { return blockDim.x; }
  __device__ uint32_t block() const { return blockIdx.x; }
  __device__ uint32_t blocks() const { return gridDim.x; }

  __device__ void sync() const { __syncthreads(); }
  __device__ void grid_sync() const { cooperative_groups::this_grid().sync(); }
  __device__ void warp_sync() const { __syncwarp(); }
  __device__ uint32_t ballot(bool value) const { return __ballot_sync(kAll, value ? 1 : 0); }
  __device__ uint32_t shuffle(uint32_t value, uint32_t lane) const {
    return __shfl_sync(kAll, value, static_cast<int>(lane));
  }
  __device__ uint32_t shuffle_xor(uint32_t value, uint32_t bits) const {
    return __shfl_xor_sync(kAll, value, static_cast<int>(bits));
  }

  __device__ uint32_t atomic_add(uint32_t* at, uint32_t value) const {
    return atomicAdd(at, value);
  }
  __device__ uint32_t atomic_or(uint32_t* at, uint32_t value) const { return atomicOr(at, value); }
  __device__ uint32_t atomic_max(uint32_t* at, uint32_t value) const {
    return atomicMax(at, value);
  }
  __device__ void atomic_min(uint64_t* at, uint64_t value) const {
    atomicMin(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value));
  }

 private:
  static constexpr unsigned kAll = 0xFFFFFFFFU;
};

}  // namespace laconic::compress::cuda
