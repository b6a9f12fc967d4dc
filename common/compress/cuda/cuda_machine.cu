#include "common/compress/cuda/cuda_machine.h"

#include <cuda_runtime.h>

#include "absl/strings/str_cat.h"
#include "common/compress/cuda/device_cta.cuh"
#include "common/compress/cuda/quantize_launch.h"
#include "common/compress/cuda/top_k_decode.h"
#include "common/core/status_macros.h"

namespace laconic::compress::cuda {
namespace {

using core::ValueCode;

template <ValueCode kCode>
__global__ void __launch_bounds__(kBlockThreads)
    quantize_blocks_kernel(const __grid_constant__ QuantizeEncodeArgs args) {
  DeviceCta cta;
  quantize_blocks<kCode>(cta, args);
}

__global__ void __launch_bounds__(kBlockThreads)
    quantize_groups_kernel(const __grid_constant__ QuantizeEncodeArgs args) {
  __shared__ TeamShared shared;
  DeviceCta cta;
  quantize_groups(cta, shared, args);
}

template <ValueCode kCode>
__global__ void __launch_bounds__(kBlockThreads)
    decode_blocks_kernel(const __grid_constant__ QuantizeDecodeArgs args) {
  DeviceCta cta;
  decode_blocks<kCode>(cta, args);
}

__global__ void __launch_bounds__(kBlockThreads)
    decode_groups_kernel(const __grid_constant__ QuantizeDecodeArgs args) {
  __shared__ TeamShared shared;
  DeviceCta cta;
  decode_groups(cta, shared, args);
}

__global__ void __launch_bounds__(kBlockThreads)
    top_k_encode_kernel(const __grid_constant__ TopKEncodeArgs args) {
  __shared__ TopKShared shared;
  DeviceCta cta;
  top_k_encode(cta, shared, args);
}

__global__ void __launch_bounds__(kBlockThreads)
    top_k_decode_kernel(const __grid_constant__ TopKDecodeArgs args) {
  __shared__ TopKDecodeShared shared;
  DeviceCta cta;
  top_k_decode(cta, shared, args);
}

__global__ void __launch_bounds__(kBlockThreads)
    combine_kernel(const __grid_constant__ CombineArgs args) {
  DeviceCta cta;
  combine(cta, args);
}

absl::Status to_status(cudaError_t error, const char* what) {
  if (error == cudaSuccess) {
    return absl::OkStatus();
  }
  const std::string text =
      absl::StrCat(what, ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error));
  return error == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(text)
                                            : absl::InternalError(text);
}

class CudaMachine final : public Machine {
 public:
  explicit CudaMachine(int device) : device_(device) {}

  absl::StatusOr<void*> allocate(size_t bytes) override {
    LACONIC_RETURN_IF_ERROR(use());
    void* memory = nullptr;
    LACONIC_RETURN_IF_ERROR(to_status(cudaMalloc(&memory, bytes), "cudaMalloc"));
    return memory;
  }

  void release(void* memory) override {
    // An error here is that of an earlier call, which its caller has seen.
    static_cast<void>(cudaSetDevice(device_));
    static_cast<void>(cudaFree(memory));
  }

  absl::Status copy_to_device(void* to, const void* from, size_t bytes, Stream stream) override {
    LACONIC_RETURN_IF_ERROR(use());
    LACONIC_RETURN_IF_ERROR(
        to_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream),
                  "cudaMemcpyAsync to device"));
    return to_status(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }

  absl::Status copy_to_host(void* to, const void* from, size_t bytes, Stream stream) override {
    LACONIC_RETURN_IF_ERROR(use());
    LACONIC_RETURN_IF_ERROR(
        to_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
                  "cudaMemcpyAsync to host"));
    return to_status(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }

  absl::Status copy_on_device(void* to, const void* from, size_t bytes, Stream stream) override {
    LACONIC_RETURN_IF_ERROR(use());
    return to_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream),
                     "cudaMemcpyAsync on the device");
  }

  absl::Status fill(void* at, uint8_t byte, size_t bytes, Stream stream) override {
    LACONIC_RETURN_IF_ERROR(use());
    return to_status(cudaMemsetAsync(at, byte, bytes, stream), "cudaMemsetAsync");
  }

  absl::Status run(const QuantizeEncodeArgs& args, Stream stream) override {
    LACONIC_RETURN_IF_ERROR(use());
    const uint32_t blocks = encode_blocks(args.shape);
    if (args.shape.log2_block == 0) {
      quantize_groups_kernel<<<blocks, kBlockThreads, 0, stream>>>(args);
    } else if (args.shape.code == ValueCode::kLinear8) {
      quantize_blocks_kernel<ValueCode::kLinear8><<<blocks, kBlockThreads, 0, stream>>>(args);
    } else {
      quantize_blocks_kernel<ValueCode::kLinear4><<<blocks, kBlockThreads, 0, stream>>>(args);
    }
    return to_status(cudaGetLastError(), "quantize kernel");
  }

  absl::Status run(const QuantizeDecodeArgs& args, Stream stream) override {
    LACONIC_RETURN_IF_ERROR(use());
    const uint32_t blocks = decode_blocks_of(args.shape);
    if (args.shape.log2_block == 0) {
      decode_groups_kernel<<<blocks, kBlockThreads, 0, stream>>>(args);
    } else if (args.shape.code == ValueCode::kLinear8) {
      decode_blocks_kernel<ValueCode::kLinear8><<<blocks, kBlockThreads, 0, stream>>>(args);
    } else {
      decode_blocks_kernel<ValueCode::kLinear4><<<blocks, kBlockThreads, 0, stream>>>(args);
    }
    return to_status(cudaGetLastError(), "dequantize kernel");
  }

  absl::Status run(const TopKEncodeArgs& args, Stream stream) override {
    return run_cooperative(top_k_encode_kernel, args, args.shape.tiles, stream, "top-k kernel");
  }

  absl::Status run(const TopKDecodeArgs& args, Stream stream) override {
    return run_cooperative(top_k_decode_kernel, args, args.shape.tiles, stream,
                           "top-k decode kernel");
  }

  absl::Status run(const CombineArgs& args, Stream stream) override {
    LACONIC_RETURN_IF_ERROR(use());
    combine_kernel<<<combine_blocks(args), kBlockThreads, 0, stream>>>(args);
    return to_status(cudaGetLastError(), "combine kernel");
  }

 private:
  // As many blocks as run at the same time, but at most `blocks_max`.
  template <typename Args>
  absl::Status run_cooperative(void (*kernel)(Args), const Args& args, uint32_t blocks_max,
                               Stream stream, const char* what) {
    LACONIC_RETURN_IF_ERROR(use());
    int processors = 0;
    int per_processor = 0;
    LACONIC_RETURN_IF_ERROR(to_status(
        cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device_), what));
    LACONIC_RETURN_IF_ERROR(to_status(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, kernel, kBlockThreads, 0),
        what));
    const auto resident = static_cast<uint32_t>(processors * per_processor);
    const uint32_t blocks = std::max(1U, std::min(resident, blocks_max));
    Args copy = args;
    void* arguments[] = {&copy};
    return to_status(cudaLaunchCooperativeKernel(kernel, dim3(blocks), dim3(kBlockThreads),
                                                 arguments, 0, stream),
                     what);
  }

  absl::Status use() const { return to_status(cudaSetDevice(device_), "cudaSetDevice"); }

  const int device_;
};

}  // namespace

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string cuda_device_name(int device) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
    return "";
  }
  return absl::StrCat(properties.name, " (", properties.major, ".", properties.minor, ")");
}

absl::StatusOr<std::unique_ptr<Machine>> make_cuda_machine(int device) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || device < 0 || device >= count) {
    return absl::FailedPreconditionError(absl::StrCat(
        "CUDA device ", device, " of ", error == cudaSuccess ? count : 0,
        error == cudaSuccess ? "" : ": ", error == cudaSuccess ? "" : cudaGetErrorString(error)));
  }
  return std::make_unique<CudaMachine>(device);
}

}  // namespace laconic::compress::cuda
