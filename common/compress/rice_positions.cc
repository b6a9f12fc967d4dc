#include "common/compress/rice_positions.h"

#include <algorithm>
#include <bit>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/core/bits.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

using core::kTopKChunk;

// `values` are positions within the chunk.
void put_gaps(std::span<const uint32_t> values, int low, core::BitWriter& writer) {
  uint32_t next = 0;
  for (const uint32_t value : values) {
    const uint32_t gap = value - next;
    writer.put_zeros(gap >> low);
    writer.put(1, 1);
    writer.put(gap & ((1U << low) - 1), low);
    next = value + 1;
  }
}

void put_bitmap(std::span<const uint32_t> values, int64_t chunk_elements, core::BitWriter& writer) {
  uint32_t next = 0;
  for (const uint32_t value : values) {
    writer.put_zeros(value - next);
    writer.put(1, 1);
    next = value + 1;
  }
  writer.put_zeros(chunk_elements - next);
}

absl::Status outside(int64_t begin) {
  return absl::DataLossError(
      absl::StrCat("payload: a position outside the chunk that starts at ", begin));
}

// Appends the c positions of the chunk [begin, begin + n).
absl::Status take_gaps(core::BitReader& reader, int64_t begin, int64_t chunk_elements, int64_t kept,
                       std::vector<uint32_t>& positions) {
  const int low = rice_low_bits(chunk_elements, kept);
  int64_t next = 0;
  for (int64_t i = 0; i < kept; ++i) {
    int64_t high = 0;
    while (reader.get(1) == 0) {
      // Past the end there are only zeros.
      if (next + (++high << low) >= chunk_elements) {
        return outside(begin);
      }
    }
    const int64_t at = next + (high << low) + static_cast<int64_t>(reader.get(low));
    if (at >= chunk_elements) {
      return outside(begin);
    }
    positions.push_back(static_cast<uint32_t>(begin + at));
    next = at + 1;
  }
  return absl::OkStatus();
}

absl::Status take_bitmap(core::BitReader& reader, int64_t begin, int64_t chunk_elements,
                         int64_t kept, std::vector<uint32_t>& positions) {
  const size_t before = positions.size();
  for (int64_t at = 0; at < chunk_elements; ++at) {
    if (reader.get(1) == 1) {
      positions.push_back(static_cast<uint32_t>(begin + at));
    }
  }
  if (static_cast<int64_t>(positions.size() - before) != kept) {
    return absl::DataLossError(absl::StrCat("payload: the bitmap of the chunk at ", begin, " has ",
                                            positions.size() - before, " ones, its count is ",
                                            kept));
  }
  return absl::OkStatus();
}

absl::Status take_chunk(core::BitReader& reader, int64_t begin, int64_t chunk_elements,
                        int64_t kept, std::vector<uint32_t>& positions) {
  if (core::chunk_code(chunk_elements, kept).bitmap) {
    return take_bitmap(reader, begin, chunk_elements, kept, positions);
  }
  return kept > 0 ? take_gaps(reader, begin, chunk_elements, kept, positions) : absl::OkStatus();
}

}  // namespace

int rice_low_bits(int64_t chunk_elements, int64_t kept) {
  // ln((1 + sqrt 5) / 2) = 0.4812 times the mean gap, in 16 bits after the point: Kiely, "Selecting
  // the Golomb Parameter in Rice Coding", IPN 42-159, 2004.
  constexpr int64_t kLogOfGoldenRatio = 31537;
  const int64_t scaled = ((chunk_elements * kLogOfGoldenRatio) >> 16) / kept;
  return static_cast<int>(std::bit_width(static_cast<uint64_t>(scaled)));
}

std::vector<uint8_t> encode_rice_positions(std::span<const uint32_t> positions, int64_t elements) {
  std::vector<uint8_t> out;
  core::BitWriter writer(out);
  std::vector<uint32_t> chunk;
  size_t at = 0;
  for (int64_t begin = 0; begin < elements; begin += kTopKChunk) {
    const int64_t chunk_elements = std::min(kTopKChunk, elements - begin);
    chunk.clear();
    for (; at < positions.size() && int64_t{positions[at]} < begin + chunk_elements; ++at) {
      chunk.push_back(static_cast<uint32_t>(int64_t{positions[at]} - begin));
    }
    const auto kept = static_cast<int64_t>(chunk.size());
    writer.put(static_cast<uint32_t>(kept), core::count_bits(chunk_elements));
    if (core::chunk_code(chunk_elements, kept).bitmap) {
      put_bitmap(chunk, chunk_elements, writer);
    } else if (kept > 0) {
      put_gaps(chunk, rice_low_bits(chunk_elements, kept), writer);
    }
  }
  writer.finish();
  return out;
}

absl::StatusOr<RicePositions> decode_rice_positions(std::span<const uint8_t> payload,
                                                    int64_t elements, int64_t kept_max) {
  RicePositions found;
  core::BitReader reader(payload);
  for (int64_t begin = 0; begin < elements; begin += kTopKChunk) {
    const int64_t chunk_elements = std::min(kTopKChunk, elements - begin);
    const int64_t kept = reader.get(core::count_bits(chunk_elements));
    const auto before = static_cast<int64_t>(found.positions.size());
    if (kept > chunk_elements || kept > kept_max - before) {
      return absl::DataLossError(absl::StrCat("payload: ", kept, " kept of ", chunk_elements,
                                              " elements at ", begin, ", ", before,
                                              " before them, the limit is ", kept_max));
    }
    if (kept > reader.bits_left()) {  // Each takes a bit at least: nothing grows without bytes.
      return absl::DataLossError("payload: the positions end too early");
    }
    LACONIC_RETURN_IF_ERROR(take_chunk(reader, begin, chunk_elements, kept, found.positions));
  }
  const int64_t rest = (8 - reader.position() % 8) % 8;
  if (reader.overrun() || reader.get(static_cast<int>(rest)) != 0) {
    return absl::DataLossError("payload: the positions end too early or with bits set");
  }
  found.bytes = static_cast<size_t>(reader.position() / 8);
  return found;
}

}  // namespace laconic::compress
