// The checks every device codec makes of its caller's pointers.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/compress/cuda/device_codec.h"

namespace laconic::compress::cuda {

// Device pointers that vector loads and words of 32 bits may use.
bool is_aligned(const void* pointer, uintptr_t bytes);

// Errors: InvalidArgument that names the argument.
absl::Status check_encode_call(const EncodeCall& call, bool needs_state);
absl::Status check_decode_call(const DecodeCall& call, int64_t capacity_bytes);

}  // namespace laconic::compress::cuda
