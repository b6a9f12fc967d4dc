// NCCL and the CUDA runtime. Only in builds with LACONIC_ENABLE_CUDA.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/collective/nccl/nccl_api.h"

namespace laconic::collective::nccl {

// On one device; every method makes it the calling thread's current one.
// Errors: FailedPrecondition if there is no such device, or NCCL's version is too old to abort
// communicators that are being made.
absl::StatusOr<std::unique_ptr<Api>> open_nccl(int device);

}  // namespace laconic::collective::nccl
