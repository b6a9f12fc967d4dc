#include "common/core/codec_sizes.h"

#include <algorithm>
#include <bit>

#include "common/core/bits.h"
#include "common/core/payload_size.h"

namespace laconic::core {
namespace {

constexpr int64_t kFloatBytes = 4;
constexpr int64_t kBf16Bytes = 2;

int64_t low_rank_floats(const CodecSpec& spec, const Layout& layout) {
  int64_t floats = 0;
  for (const TensorShape& tensor : layout.tensors) {
    floats += is_factored(spec, tensor) ? spec.factors * (tensor.rows + tensor.columns)
                                        : tensor.elements();
  }
  return floats;
}

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

int64_t exponential_level_bytes(const CodecSpec& spec, const Layout& layout) {
  return static_cast<int64_t>(layout.tensors.size()) * kBf16Bytes * (int64_t{1} << (spec.bits - 1));
}

bool is_factored(const CodecSpec& spec, const TensorShape& tensor) {
  return tensor.rows > 1 && tensor.columns > 1 &&
         spec.factors * (tensor.rows + tensor.columns) < tensor.elements();
}

CodeRange code_range(const CodecSpec& spec, const Layout& layout) {
  const int64_t elements = layout.elements();
  switch (spec.kind) {
    case CodecKind::kNone:
    case CodecKind::kTopK:
    case CodecKind::kRandK:
    case CodecKind::kPermK:
    case CodecKind::kLowRank:
      break;
    case CodecKind::kQuantize:
      if (spec.bits == 8 || spec.bits == 4) {
        return {.begin = kBf16Bytes * scale_count(spec, layout),
                .bytes = bytes_for_bits(elements * spec.bits),
                .expected_share = spec.bits == 8 ? 0.93 : 0.875};
      }
      break;
    case CodecKind::kChunkedTopK:
      if (spec.bits == 8 || spec.bits == 4) {
        const int64_t kept = kept_in_chunks(spec, elements);
        const int64_t groups = (kept + kTopKGroup - 1) / kTopKGroup;
        const int64_t scales = kBf16Bytes * groups * scales_per_group(value_code(spec));
        return {.begin = chunk_position_bytes(spec, elements) + scales,
                .bytes = bytes_for_bits(kept * spec.bits),
                .expected_share = 0.84};
      }
      break;
    case CodecKind::kNatural:
      return {.begin = 0, .bytes = elements, .expected_share = 0.324};
    case CodecKind::kExponential:
      return {.begin = exponential_level_bytes(spec, layout),
              .bytes = bytes_for_bits(elements * spec.bits),
              .expected_share = 0.97};
  }
  return {};
}

int64_t other_payload_bytes_max(const CodecSpec& spec, const Layout& layout) {
  if (spec.entropy) {
    CodecSpec inner = spec;
    inner.entropy = false;
    return kEntropyModeBytes + payload_bytes_max(inner, layout);
  }
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
    case CodecKind::kExponential:
      return exponential_level_bytes(spec, layout) + bytes_for_bits(elements * spec.bits);
    case CodecKind::kLowRank:
      return kFloatBytes * low_rank_floats(spec, layout);
  }
  return 0;
}

}  // namespace laconic::core
