// The machine that runs kernels on a GPU. Only in builds with LACONIC_ENABLE_CUDA.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/compress/cuda/machine.h"

namespace laconic::compress::cuda {

// Devices that this process can use: 0 also where there is no driver.
int cuda_device_count();

// Its name and compute capability: "NVIDIA H200 (9.0)". Empty if there is no such device.
std::string cuda_device_name(int device);

// Runs on `device`, which becomes the calling thread's current device in each call.
// Errors: FailedPrecondition if there is no such device, with what the driver says.
absl::StatusOr<std::unique_ptr<Machine>> make_cuda_machine(int device);

}  // namespace laconic::compress::cuda
