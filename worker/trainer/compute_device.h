// Where a rank's model and batches lie.
#pragma once

#include <torch/types.h>

#include "absl/status/statusor.h"
#include "laconic/v1/job.pb.h"

namespace laconic::trainer {

// CUDA devices that this process can use: 0 where libtorch was built without CUDA, too.
int visible_gpus();

// asked: AUTO, CPU or CUDA. gpus: of this node. Ranks of one node take different GPUs where they
// have consecutive numbers and there are enough.
// Errors: FailedPrecondition, reason NO_DEVICE, for CUDA without a GPU.
absl::StatusOr<torch::Device> choose_device(v1::Workers::Device asked, int gpus, int rank);

}  // namespace laconic::trainer
