#include "tests/fuzz/input.h"

#include <algorithm>

namespace laconic::fuzz {

uint64_t Input::take(int count) {
  uint64_t number = 0;
  int shift = 0;
  for (const uint8_t byte : take_bytes(static_cast<size_t>(count))) {
    number |= uint64_t{byte} << shift;
    shift += 8;
  }
  return number;
}

std::span<const uint8_t> Input::take_bytes(size_t count) {
  const std::span<const uint8_t> taken = bytes_.first(std::min(count, bytes_.size()));
  bytes_ = bytes_.subspan(taken.size());
  return taken;
}

std::string to_text(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace laconic::fuzz
