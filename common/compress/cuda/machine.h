// What the codecs ask of a GPU. Two machines exist: a CUDA device (cuda_machine.h), and the block
// emulator of tests/testing, which runs the same kernels on a CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/compress/cuda/combine_kernel.h"
#include "common/compress/cuda/quantize_args.h"
#include "common/compress/cuda/top_k_args.h"

struct CUstream_st;

namespace laconic::compress::cuda {

// A cudaStream_t; nullptr is the default stream.
using Stream = CUstream_st*;

// Work of one stream is done in order; run(), fill() and copy_on_device() return before it is done.
// Errors: Internal, with what the driver says; ResourceExhausted if memory is short.
class Machine {
 public:
  virtual ~Machine() = default;

  // Device memory, aligned to 256 bytes, contents unspecified. bytes: > 0.
  virtual absl::StatusOr<void*> allocate(size_t bytes) = 0;
  // Waits for the device. memory: of allocate().
  virtual void release(void* memory) = 0;
  // These two follow the stream's work and wait until the bytes are there.
  virtual absl::Status copy_to_device(void* to, const void* from, size_t bytes, Stream stream) = 0;
  virtual absl::Status copy_to_host(void* to, const void* from, size_t bytes, Stream stream) = 0;
  // From device memory to device memory that does not overlap it.
  virtual absl::Status copy_on_device(void* to, const void* from, size_t bytes, Stream stream) = 0;
  virtual absl::Status fill(void* at, uint8_t byte, size_t bytes, Stream stream) = 0;

  // One kernel each.
  virtual absl::Status run(const QuantizeEncodeArgs& args, Stream stream) = 0;
  virtual absl::Status run(const QuantizeDecodeArgs& args, Stream stream) = 0;
  virtual absl::Status run(const TopKEncodeArgs& args, Stream stream) = 0;
  virtual absl::Status run(const TopKDecodeArgs& args, Stream stream) = 0;
  virtual absl::Status run(const CombineArgs& args, Stream stream) = 0;
};

// Device memory that goes back to its machine.
class DeviceMemory {
 public:
  static absl::StatusOr<DeviceMemory> make(Machine& machine, size_t bytes);
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();

  template <typename T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  size_t bytes() const { return bytes_; }

 private:
  Machine* machine_ = nullptr;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace laconic::compress::cuda
