// Takes the bytes of a fuzzer's input apart. Behind the end there are zeros.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace laconic::fuzz {

class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  // The next `count` bytes as one number, little-endian; count <= 8.
  uint64_t take(int count);
  uint8_t take_byte() { return static_cast<uint8_t>(take(1)); }
  // At most `count` bytes.
  std::span<const uint8_t> take_bytes(size_t count);
  std::span<const uint8_t> rest() { return take_bytes(bytes_.size()); }

 private:
  std::span<const uint8_t> bytes_;
};

std::string to_text(std::span<const uint8_t> bytes);

}  // namespace laconic::fuzz
