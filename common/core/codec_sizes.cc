#include "common/core/codec_sizes.h"

#include <algorithm>
#include <bit>

#include "common/core/bits.h"
#include "common/core/payload_size.h"

namespace laconic::core {
namespace {

constexpr int64_t kFloatBytes = 4;

}  // namespace

int64_t part_begin(int64_t elements, int64_t part, int64_t parts) {
  return elements / parts * part + elements % parts * part / parts;
}

int64_t kept_of_chunk(const CodecSpec& spec, int64_t chunk_elements) {
  return std::max<int64_t>(1, (spec.per_chunk * chunk_elements + spec.chunk / 2) / spec.chunk);
}

int64_t kept_in_chunks(const CodecSpec& spec, int64_t elements) {
  const int64_t rest = elements % spec.chunk;
  return elements / spec.chunk * spec.per_chunk + (rest > 0 ? kept_of_chunk(spec, rest) : 0);
}

FixedChunkCode fixed_chunk_code(int64_t chunk_elements, int64_t kept) {
  const int low =
      static_cast<int>(std::bit_width(static_cast<uint64_t>(chunk_elements / kept))) - 1;
  return {.low_bits = low, .upper_bits = kept + ((chunk_elements - 1) >> low) + 1};
}

int64_t chunk_position_bytes(const CodecSpec& spec, int64_t elements) {
  const auto bits = [&spec](int64_t chunk_elements) {
    const int64_t kept = kept_of_chunk(spec, chunk_elements);
    const FixedChunkCode code = fixed_chunk_code(chunk_elements, kept);
    return kept * code.low_bits + code.upper_bits;
  };
  const int64_t rest = elements % spec.chunk;
  return bytes_for_bits(elements / spec.chunk * bits(spec.chunk) + (rest > 0 ? bits(rest) : 0));
}

int64_t other_payload_bytes_max(const CodecSpec& spec, const Layout& layout) {
  const int64_t elements = layout.elements();
  switch (spec.kind) {
    case CodecKind::kNone:
    case CodecKind::kQuantize:
    case CodecKind::kTopK:
      break;
    case CodecKind::kRandK:
      return kSeedBytes + kFloatBytes * kept_elements(spec.density, elements);
    case CodecKind::kPermK: {
      const int64_t largest_part = (elements + spec.world_size - 1) / spec.world_size;
      return kSeedBytes + kPartBytes + kFloatBytes * largest_part;
    }
    case CodecKind::kChunkedTopK: {
      const int64_t kept = kept_in_chunks(spec, elements);
      return chunk_position_bytes(spec, elements) +
             value_bytes(value_code(spec), kept, (kept + kTopKGroup - 1) / kTopKGroup);
    }
    case CodecKind::kNatural:
      return elements + bytes_for_bits(elements);
  }
  return 0;
}

}  // namespace laconic::core
