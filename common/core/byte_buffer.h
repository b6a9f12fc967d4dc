// Bytes that are not cleared when they are made: for 100 MB that costs as much as encoding them.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace laconic::core {

class ByteBuffer {
 public:
  ByteBuffer() = default;
  explicit ByteBuffer(size_t bytes) { resize(bytes); }

  // Keeps what fits; what is new is unspecified. Shrinking keeps the memory for the next growth.
  void resize(size_t bytes) {
    if (bytes > capacity_) {
      std::unique_ptr<uint8_t[]> larger(new uint8_t[bytes]);
      if (size_ > 0) {
        std::memcpy(larger.get(), data_.get(), size_);
      }
      data_ = std::move(larger);
      capacity_ = bytes;
    }
    size_ = bytes;
  }

  size_t size() const { return size_; }
  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  std::span<uint8_t> bytes() { return {data_.get(), size_}; }
  std::span<const uint8_t> bytes() const { return {data_.get(), size_}; }

 private:
  std::unique_ptr<uint8_t[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace laconic::core
