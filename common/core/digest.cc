#include "common/core/digest.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"

namespace laconic::core {

uint64_t digest(std::span<const float> values) {
  return XXH3_64bits(values.data(), values.size_bytes());
}

uint64_t digest(std::span<const uint8_t> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string format_digest(uint64_t digest) {
  return absl::StrFormat("%016x", digest);
}

}  // namespace laconic::core
