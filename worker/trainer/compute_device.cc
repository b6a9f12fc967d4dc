#include "worker/trainer/compute_device.h"

#include <torch/cuda.h>

#include "absl/strings/str_cat.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {

int visible_gpus() {
  return torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
}

absl::StatusOr<torch::Device> choose_device(v1::Workers::Device asked, int gpus, int rank) {
  if (asked == v1::Workers::CPU || (asked == v1::Workers::AUTO && gpus == 0)) {
    return torch::Device(torch::kCPU);
  }
  if (gpus == 0) {
    return failure(absl::StatusCode::kFailedPrecondition, kNoDevice,
                   absl::StrCat("spec.workers.device is CUDA, but libtorch ", TORCH_VERSION,
                                " of this node finds no GPU: it was built without CUDA, or there "
                                "is no device or driver; take AUTO or CPU, or another node"));
  }
  return torch::Device(torch::kCUDA, static_cast<torch::DeviceIndex>(rank % gpus));
}

}  // namespace laconic::trainer
