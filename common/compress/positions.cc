#include "common/compress/positions.h"

#include <algorithm>
#include <bit>

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

// Writes one bit per element of [0, size) with the positions set: a bitmap. With size = upper bits
// and positions (p >> l) + rank it is the unary part of Elias-Fano.
class OneBits {
 public:
  explicit OneBits(core::BitWriter& out) : out_(out) {}
  void set(int64_t at) {
    out_.put_zeros(at - next_);
    out_.put(1, 1);
    next_ = at + 1;
  }
  void finish(int64_t size) { out_.put_zeros(size - next_); }

 private:
  core::BitWriter& out_;
  int64_t next_ = 0;
};

void encode_chunk(std::span<const uint32_t> positions, int64_t begin, const ChunkCode& code,
                  core::BitWriter& out) {
  for (const uint32_t position : positions) {
    out.put((position - static_cast<uint32_t>(begin)) & ((1U << code.low_bits) - 1), code.low_bits);
  }
  OneBits ones(out);
  int64_t rank = 0;
  for (const uint32_t position : positions) {
    const int64_t local = position - begin;
    ones.set(code.bitmap ? local : (local >> code.low_bits) + rank);
    ++rank;
  }
  ones.finish(code.upper_bits);
}

// Reads `size` bits and stores where the first ones.size() one bits are.
// Returns false if there are more or fewer.
bool read_ones(BitReader& in, int64_t size, std::span<uint32_t> ones) {
  size_t found = 0;
  for (int64_t at = 0; at < size; at += 32) {
    uint32_t word = in.get(static_cast<int>(std::min<int64_t>(32, size - at)));
    for (; word != 0; word &= word - 1) {
      if (found == ones.size()) {
        return false;
      }
      ones[found++] = static_cast<uint32_t>(at + std::countr_zero(word));
    }
  }
  return found == ones.size();
}

// Decodes one chunk to positions relative to its begin. Returns false if they are not below `size`
// and strictly ascending, or their number is wrong.
bool decode_chunk(BitReader& in, const ChunkCode& code, int64_t size,
                  std::span<uint32_t> positions) {
  BitReader low = in;
  in.skip(static_cast<int64_t>(positions.size()) * code.low_bits);
  if (!read_ones(in, code.upper_bits, positions)) {
    return false;
  }
  if (code.bitmap) {
    return true;
  }
  int64_t previous = -1;
  for (size_t i = 0; i < positions.size(); ++i) {
    const int64_t high = static_cast<int64_t>(positions[i]) - static_cast<int64_t>(i);
    const int64_t position = (high << code.low_bits) | int64_t{low.get(code.low_bits)};
    if (position <= previous || position >= size) {
      return false;
    }
    positions[i] = static_cast<uint32_t>(position);
    previous = position;
  }
  return true;
}

}  // namespace

void encode_positions(std::span<const uint32_t> positions, int64_t elements,
                      std::vector<uint8_t>& out) {
  core::BitWriter bits(out);
  auto next = positions.begin();
  for (int64_t begin = 0; begin < elements; begin += core::kTopKChunk) {
    const int64_t size = chunk_size(elements, begin);
    const auto last = std::lower_bound(next, positions.end(), begin + size);
    const auto count = static_cast<int64_t>(last - next);
    bits.put(static_cast<uint32_t>(count), core::count_bits(size));
    encode_chunk(std::span(next, last), begin, core::chunk_code(size, count), bits);
    next = last;
  }
  bits.finish();
}

absl::Status check_positions_size(std::span<const uint8_t> section, int64_t elements,
                                  int64_t kept) {
  BitReader in(section);
  int64_t total = 0;
  for (int64_t begin = 0; begin < elements; begin += core::kTopKChunk) {
    const int64_t size = chunk_size(elements, begin);
    const int64_t count = in.get(core::count_bits(size));
    total += count;
    if (count > size || total > kept) {
      return absl::DataLossError(absl::StrCat("payload: ", count, " kept of ", size,
                                              " elements at ", begin, ", ", total,
                                              " so far, must be ", kept, " in all"));
    }
    in.skip(core::chunk_code(size, count).bits);
    if (in.overrun()) {
      return absl::DataLossError(
          absl::StrCat("payload: positions end within the chunk at ", begin));
    }
  }
  if (total != kept ||
      core::bytes_for_bits(in.position()) != static_cast<int64_t>(section.size())) {
    return absl::DataLossError(absl::StrCat("payload: ", total, " kept in ",
                                            core::bytes_for_bits(in.position()), " bytes, must be ",
                                            kept, " in ", section.size()));
  }
  return absl::OkStatus();
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
    const std::span<uint32_t> chunk = positions.subspan(done, count);
    if (!decode_chunk(in, core::chunk_code(size, static_cast<int64_t>(count)), size, chunk)) {
      return absl::DataLossError(absl::StrCat("payload: wrong positions in the chunk at ", begin));
    }
    for (uint32_t& position : chunk) {
      position += static_cast<uint32_t>(begin);
    }
    done += count;
  }
  if (done != positions.size() || in.overrun() || !in.rest_is_zero()) {
    return absl::DataLossError("payload: bits are set behind the last position");
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
