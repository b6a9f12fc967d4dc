#include "common/compress/positions.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/core/bits.h"
#include "common/core/payload_size.h"

namespace laconic::compress {
namespace {

using core::BitReader;
using core::ChunkCode;

int64_t chunk_size(int64_t elements, int64_t begin) {
  return std::min(core::kTopKChunk, elements - begin);
}

// A bit stream in words of 64 bits.
class WordWriter {
 public:
  explicit WordWriter(std::span<uint8_t> out) : out_(out) {}

  // bits: 0..64; value < 2^bits.
  void put(uint64_t value, int bits) {
    word_ |= value << fill_;
    const int total = fill_ + bits;
    if (total < 64) {
      fill_ = total;
      return;
    }
    flush();
    // Two shifts, because 64 - fill_ can be 64.
    word_ = (value >> 1) >> (63 - fill_);
    fill_ = total - 64;
  }

  // Writes `size` bits that are zero but for those at one(0) < one(1) < ... < one(count - 1).
  template <typename One>
  void put_ones(size_t count, int64_t size, One one) {
    // Bits counted from the start of the current word.
    const int64_t start = fill_;
    int64_t end_of_word = 64;
    for (size_t j = 0; j < count; ++j) {
      const int64_t at = start + one(j);
      for (; at >= end_of_word; end_of_word += 64) {
        flush();
        word_ = 0;
      }
      word_ |= uint64_t{1} << (at & 63);
    }
    for (; start + size >= end_of_word; end_of_word += 64) {
      flush();
      word_ = 0;
    }
    fill_ = static_cast<int>((start + size) & 63);
  }

  // Fills the last byte with zero bits. Returns the bytes written.
  size_t finish() {
    const auto bytes = static_cast<size_t>(core::bytes_for_bits(fill_));
    std::memcpy(out_.data() + at_, &word_, bytes);
    return at_ + bytes;
  }

 private:
  void flush() {
    std::memcpy(out_.data() + at_, &word_, sizeof word_);
    at_ += sizeof word_;
  }

  std::span<uint8_t> out_;
  size_t at_ = 0;      // bytes written
  uint64_t word_ = 0;  // bits that follow, `fill_` of them, 0..63
  int fill_ = 0;
};

// The low bits of all positions, a word at a time. Chunks begin at multiples of 65,536, so their
// begin has none.
void put_low_bits(std::span<const uint32_t> positions, int low_bits, WordWriter& out) {
  if (low_bits == 0) {
    return;
  }
  const uint64_t mask = (uint64_t{1} << low_bits) - 1;
  const auto at_once = static_cast<size_t>(64 / low_bits);
  for (size_t first = 0; first < positions.size(); first += at_once) {
    const std::span<const uint32_t> some =
        positions.subspan(first, std::min(at_once, positions.size() - first));
    uint64_t word = 0;
    int bits = 0;
    for (const uint32_t position : some) {
      word |= (position & mask) << bits;
      bits += low_bits;
    }
    out.put(word, bits);
  }
}

void encode_chunk(std::span<const uint32_t> positions, uint32_t begin, const ChunkCode& code,
                  WordWriter& out) {
  if (code.bitmap) {
    out.put_ones(positions.size(), code.upper_bits,
                 [&](size_t j) { return static_cast<int64_t>(positions[j] - begin); });
    return;
  }
  put_low_bits(positions, code.low_bits, out);
  out.put_ones(positions.size(), code.upper_bits, [&](size_t j) {
    return static_cast<int64_t>(((positions[j] - begin) >> code.low_bits) + j);
  });
}

// Bits that load_bits() gives for sure.
constexpr int64_t kLoadBits = 56;

// At least kLoadBits + 1 bits from bit `at` on; zeros behind the end.
uint64_t load_bits(std::span<const uint8_t> bytes, int64_t at) {
  const auto offset = static_cast<size_t>(at / 8);
  uint64_t word = 0;
  if (offset + sizeof word <= bytes.size()) {
    std::memcpy(&word, bytes.data() + offset, sizeof word);
  } else if (offset < bytes.size()) {
    std::memcpy(&word, bytes.data() + offset, bytes.size() - offset);
  }
  return word >> (at % 8);
}

// Calls take(j, where) for the j-th one bit of the `size` bits from `at` on, at `where` of them.
// Returns false if there are more or fewer than `count`.
template <typename Take>
bool read_ones(std::span<const uint8_t> bytes, int64_t at, int64_t size, size_t count, Take take) {
  size_t found = 0;
  for (int64_t where = 0; where < size; where += kLoadBits) {
    const int64_t bits = std::min(kLoadBits, size - where);
    uint64_t word = load_bits(bytes, at + where) & ((uint64_t{1} << bits) - 1);
    if (static_cast<size_t>(std::popcount(word)) > count - found) {
      return false;
    }
    for (; word != 0; word &= word - 1) {
      take(found++, where + std::countr_zero(word));
    }
  }
  return found == count;
}

// `low` bits of every position from bit `at` on, as many to a load as it has.
void read_low_bits(std::span<const uint8_t> bytes, int64_t at, int low,
                   std::span<uint32_t> positions) {
  if (low == 0) {
    std::fill(positions.begin(), positions.end(), 0);
    return;
  }
  const uint64_t mask = (uint64_t{1} << low) - 1;
  const auto at_once = static_cast<size_t>(kLoadBits / low);
  for (size_t first = 0; first < positions.size(); first += at_once) {
    uint64_t word = load_bits(bytes, at + static_cast<int64_t>(first) * low);
    for (uint32_t& position :
         positions.subspan(first, std::min(at_once, positions.size() - first))) {
      position = static_cast<uint32_t>(word & mask);
      word >>= low;
    }
  }
}

// Decodes the chunk of `size` elements from bit `at` on to positions that count from `begin`.
// Returns false if they are not below `size` and strictly ascending, or their number is wrong.
bool decode_chunk(std::span<const uint8_t> bytes, int64_t at, const ChunkCode& code, int64_t size,
                  uint32_t begin, std::span<uint32_t> positions) {
  uint32_t* const out = positions.data();
  if (code.bitmap) {
    return read_ones(bytes, at, code.upper_bits, positions.size(), [&](size_t j, int64_t where) {
      out[j] = begin + static_cast<uint32_t>(where);
    });
  }
  const int low = code.low_bits;
  read_low_bits(bytes, at, low, positions);
  const int64_t upper = at + static_cast<int64_t>(positions.size()) * low;
  int64_t previous = -1;
  bool valid = true;
  const bool counted =
      read_ones(bytes, upper, code.upper_bits, positions.size(), [&](size_t j, int64_t where) {
        const int64_t position = ((where - static_cast<int64_t>(j)) << low) | int64_t{out[j]};
        valid = valid && position > previous;
        previous = position;
        out[j] = begin + static_cast<uint32_t>(position);
      });
  return counted && valid && previous < size;
}

}  // namespace

size_t encode_positions(std::span<const uint32_t> positions, int64_t elements,
                        std::span<uint8_t> out) {
  WordWriter bits(out);
  auto next = positions.begin();
  for (int64_t begin = 0; begin < elements; begin += core::kTopKChunk) {
    const int64_t size = chunk_size(elements, begin);
    const auto end = next + std::min<std::ptrdiff_t>(size, positions.end() - next);
    const auto last = std::lower_bound(next, end, begin + size);
    const auto count = static_cast<int64_t>(last - next);
    bits.put(static_cast<uint64_t>(count), core::count_bits(size));
    encode_chunk(std::span(next, last), static_cast<uint32_t>(begin), core::chunk_code(size, count),
                 bits);
    next = last;
  }
  return bits.finish();
}

absl::StatusOr<PositionSection> measure_positions(std::span<const uint8_t> payload,
                                                  int64_t elements, int64_t kept_max) {
  BitReader in(payload);
  int64_t kept = 0;
  for (int64_t begin = 0; begin < elements; begin += core::kTopKChunk) {
    const int64_t size = chunk_size(elements, begin);
    const int64_t count = in.get(core::count_bits(size));
    kept += count;
    if (count > size || kept > kept_max) {
      return absl::DataLossError(absl::StrCat("payload: ", count, " kept of ", size,
                                              " elements at ", begin, ", ", kept,
                                              " so far, at most ", kept_max, " are allowed"));
    }
    in.skip(core::chunk_code(size, count).bits);
    if (in.overrun()) {
      return absl::DataLossError(absl::StrCat("payload: ", payload.size(),
                                              " bytes, positions end within the chunk at ", begin));
    }
  }
  return PositionSection{.kept = kept,
                         .bytes = static_cast<size_t>(core::bytes_for_bits(in.position()))};
}

absl::Status decode_positions(std::span<const uint8_t> section, int64_t elements,
                              std::span<uint32_t> positions) {
  BitReader in(section);
  size_t done = 0;
  for (int64_t begin = 0; begin < elements; begin += core::kTopKChunk) {
    const int64_t size = chunk_size(elements, begin);
    const auto count = static_cast<size_t>(in.get(core::count_bits(size)));
    if (count > positions.size() - done) {
      return absl::DataLossError("payload: more positions than elements are kept");
    }
    const ChunkCode code = core::chunk_code(size, static_cast<int64_t>(count));
    if (!decode_chunk(section, in.position(), code, size, static_cast<uint32_t>(begin),
                      positions.subspan(done, count))) {
      return absl::DataLossError(absl::StrCat("payload: wrong positions in the chunk at ", begin));
    }
    in.skip(code.bits);
    done += count;
  }
  if (done != positions.size() || in.overrun() || !in.rest_is_zero()) {
    return absl::DataLossError("payload: bits are set behind the last position");
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
