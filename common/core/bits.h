// Little-endian bit streams in bytes: the first bit is the lowest bit of the first byte, and a
// field's lowest bit comes first.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace laconic::core {

// Payloads hold float32 and 64-bit loads in memory order.
static_assert(std::endian::native == std::endian::little, "laconic needs a little-endian machine");

inline uint16_t load_u16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

inline void store_u16(uint16_t value, uint8_t* bytes) {
  std::memcpy(bytes, &value, sizeof value);
}

// Bytes that hold `bits` bits.
inline constexpr int64_t bytes_for_bits(int64_t bits) {
  return bits / 8 + (bits % 8 != 0 ? 1 : 0);
}

// Appends fields to a byte vector, which must outlive it. Call finish() once, at the end.
class BitWriter {
 public:
  explicit BitWriter(std::vector<uint8_t>& out) : out_(out) {}

  // bits: 0..32; value < 2^bits.
  void put(uint32_t value, int bits) {
    pending_ |= uint64_t{value} << pending_bits_;
    pending_bits_ += bits;
    if (pending_bits_ >= 32) {
      append(4);
    }
  }

  void put_zeros(int64_t bits) {
    for (; bits > 32; bits -= 32) {
      put(0, 32);
    }
    put(0, static_cast<int>(bits));
  }

  // Fills the last byte with zero bits.
  void finish() { append(static_cast<int>(bytes_for_bits(pending_bits_))); }

 private:
  void append(int bytes) {
    for (int i = 0; i < bytes; ++i) {
      out_.push_back(static_cast<uint8_t>(pending_));
      pending_ >>= 8;
    }
    pending_bits_ = std::max(0, pending_bits_ - 8 * bytes);
  }

  std::vector<uint8_t>& out_;
  uint64_t pending_ = 0;
  int pending_bits_ = 0;
};

// Reads fields of bytes that may come from a peer. Reading past the end gives zeros and sets
// overrun(); nothing outside the bytes is touched.
class BitReader {
 public:
  explicit BitReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  int64_t bits_left() const { return static_cast<int64_t>(bytes_.size()) * 8 - position_; }
  int64_t position() const { return position_; }
  bool overrun() const { return overrun_; }

  // bits: 0..32.
  uint32_t get(int bits) {
    if (bits == 0 || bits > bits_left()) {
      skip(bits);
      return 0;
    }
    const auto offset = static_cast<size_t>(position_ / 8);
    uint64_t word = 0;
    // 32 bits at any bit offset lie in 5 bytes; where there are 8, one fixed-size load is faster.
    if (bytes_.size() - offset >= sizeof word) {
      std::memcpy(&word, bytes_.data() + offset, sizeof word);
    } else {
      std::memcpy(&word, bytes_.data() + offset, bytes_.size() - offset);
    }
    word >>= position_ % 8;
    position_ += bits;
    return static_cast<uint32_t>(word & ((uint64_t{1} << bits) - 1));
  }

  // bits >= 0.
  void skip(int64_t bits) {
    overrun_ = overrun_ || bits > bits_left();
    position_ += std::min(bits, bits_left());
  }

  // True if all bits from here to the end are zero; moves to the end.
  bool rest_is_zero() {
    bool zero = true;
    while (bits_left() > 0) {
      zero = get(static_cast<int>(std::min<int64_t>(32, bits_left()))) == 0 && zero;
    }
    return zero;
  }

 private:
  std::span<const uint8_t> bytes_;
  int64_t position_ = 0;  // in bits, at most 8 bytes_.size()
  bool overrun_ = false;
};

}  // namespace laconic::core
