#include "common/core/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#endif

namespace laconic::core {
namespace {

constexpr uint32_t kReversedPolynomial = 0x82F63B78;

// crc times x, modulo the polynomial; bits are reversed, so the highest power is the lowest bit.
constexpr uint32_t times_x(uint32_t crc) {
  return (crc >> 1) ^ ((crc & 1) != 0 ? kReversedPolynomial : 0);
}

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[n][b]: what byte b does to the result when n more bytes follow it.
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = times_x(crc);
    }
    tables[0][i] = crc;
  }
  for (size_t n = 1; n < tables.size(); ++n) {
    for (size_t i = 0; i < 256; ++i) {
      const uint32_t crc = tables[n - 1][i];
      tables[n][i] = tables[0][crc & 0xFF] ^ (crc >> 8);
    }
  }
  return tables;
}

#if defined(__x86_64__)
// x^n modulo the polynomial.
constexpr uint32_t power_of_x(int64_t n) {
  uint32_t power = 0x80000000;
  for (int64_t i = 0; i < n; ++i) {
    power = times_x(power);
  }
  return power;
}

// The instruction takes 3 cycles but starts every cycle, so three streams go side by side; then the
// first two results are moved to where they belong.
// Source: Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel
// 2011.
// Short, so that memory is still read in order: 25 GB/s from memory, with streams of 2048 bytes 12.
constexpr int64_t kStreamBytes = 256;
// The carry-less product of two reversed numbers is one bit short of 64, and the instruction that
// reduces it multiplies by x^32.
constexpr uint32_t kShiftOne = power_of_x(8 * kStreamBytes - 33);
constexpr uint32_t kShiftTwo = power_of_x(16 * kStreamBytes - 33);

inline uint64_t load_word(const uint8_t* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

// The state after the zero bytes that `shift` stands for.
__attribute__((target("sse4.2,pclmul"))) inline uint64_t shifted(uint64_t crc, uint32_t shift) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(crc)),
                                               _mm_cvtsi64_si128(int64_t{shift}), 0);
  return _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(product)));
}

__attribute__((target("sse4.2,pclmul"))) uint32_t crc32c_by_instruction(
    std::span<const uint8_t> bytes) {
  const uint8_t* at = bytes.data();
  int64_t left = static_cast<int64_t>(bytes.size());
  uint64_t crc = 0xFFFFFFFF;
  for (; left >= 3 * kStreamBytes; left -= 3 * kStreamBytes, at += 3 * kStreamBytes) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (int64_t i = 0; i < kStreamBytes; i += 8) {
      crc = _mm_crc32_u64(crc, load_word(at + i));
      second = _mm_crc32_u64(second, load_word(at + kStreamBytes + i));
      third = _mm_crc32_u64(third, load_word(at + 2 * kStreamBytes + i));
    }
    crc = shifted(crc, kShiftTwo) ^ shifted(second, kShiftOne) ^ third;
  }
  for (; left >= 8; left -= 8, at += 8) {
    crc = _mm_crc32_u64(crc, load_word(at));
  }
  for (; left > 0; --left, ++at) {
    crc = _mm_crc32_u8(static_cast<uint32_t>(crc), *at);
  }
  return ~static_cast<uint32_t>(crc);
}
#endif

}  // namespace

uint32_t crc32c_by_table(std::span<const uint8_t> bytes) {
  static constexpr Tables kTables = make_tables();
  uint32_t crc = 0xFFFFFFFF;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, sizeof word);
    word ^= crc;
    crc = 0;
    for (size_t n = 0; n < 8; ++n) {
      crc ^= kTables[7 - n][(word >> (8 * n)) & 0xFF];
    }
  }
  for (; i < bytes.size(); ++i) {
    crc = kTables[0][(crc ^ bytes[i]) & 0xFF] ^ (crc >> 8);
  }
  return ~crc;
}

uint32_t crc32c(std::span<const uint8_t> bytes) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
    return crc32c_by_instruction(bytes);
  }
#endif
  return crc32c_by_table(bytes);
}

}  // namespace laconic::core
