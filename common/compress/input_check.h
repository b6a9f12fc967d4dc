// The checks every codec makes of its caller's vectors.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace laconic::compress {

// True if no value is a NaN or an infinity.
bool all_finite(std::span<const float> values);

// Errors: InvalidArgument if `in` does not have `elements` elements.
absl::Status check_input_size(std::span<const float> in, int64_t elements);

// InvalidArgument that names the first NaN or infinity. in: holds one.
absl::Status not_finite_error(std::span<const float> in);

// Errors: InvalidArgument if `in` does not have `elements` elements, or names the first NaN or
// infinity.
absl::Status check_input(std::span<const float> in, int64_t elements);

// Errors: InvalidArgument if `out` does not have `elements` elements.
absl::Status check_output(std::span<const float> out, int64_t elements);

// Errors: InvalidArgument if `out` is shorter than `bytes`.
absl::Status check_payload_room(std::span<const uint8_t> out, int64_t bytes);

// "payload from rank r: " before what is wrong with it.
absl::Status payload_error(size_t rank, const absl::Status& status);

}  // namespace laconic::compress
