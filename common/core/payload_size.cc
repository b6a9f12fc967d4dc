#include "common/core/payload_size.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/core/bits.h"
#include "common/core/codec_sizes.h"

namespace laconic::core {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

int64_t group_count(const CodecSpec& spec, const Layout& layout) {
  switch (spec.kind) {
    case CodecKind::kNone:
    case CodecKind::kRandK:
    case CodecKind::kPermK:
    case CodecKind::kChunkedTopK:
    case CodecKind::kNatural:
    case CodecKind::kExponential:
    case CodecKind::kLowRank:
      return 0;
    case CodecKind::kQuantize:
      return spec.rows ? layout.total_rows() : ceil_div(layout.elements(), spec.block);
    case CodecKind::kTopK:
      break;  // Follows from what is kept, not from the layout.
  }
  return 0;
}

// Bits of `kept` positions spread evenly over `chunks` full chunks. The bits of one chunk are
// concave in its count, so no other spread takes more.
int64_t even_bits(int64_t chunks, int64_t kept) {
  if (chunks == 0) {
    return 0;
  }
  const int64_t more = kept % chunks;
  const int64_t each = kept / chunks;
  const int64_t bits_more = more == 0 ? 0 : more * chunk_code(kTopKChunk, each + 1).bits;
  return bits_more + (chunks - more) * chunk_code(kTopKChunk, each).bits;
}

// Most bytes that `kept` positions and their values take.
int64_t top_k_bytes(const CodecSpec& spec, int64_t elements, int64_t kept) {
  return bytes_for_bits(position_bits_max(elements, kept)) + top_k_value_bytes(spec, kept);
}

}  // namespace

int64_t kept_elements(double density, int64_t elements) {
  const auto rounded = static_cast<int64_t>(std::llround(density * static_cast<double>(elements)));
  return std::min(std::max<int64_t>(1, rounded), elements);
}

int64_t kept_elements_max(double density, int64_t elements) {
  const int64_t kept = kept_elements(density, elements);
  return elements < kTopKChunk ? kept : std::min(kept + kept / 4, elements);
}

ValueCode value_code(const CodecSpec& spec) {
  if (spec.kind == CodecKind::kNone) {
    return ValueCode::kFloat32;
  }
  switch (spec.bits) {
    case 8:
      return ValueCode::kLinear8;
    case 4:
      return spec.kind != CodecKind::kQuantize ? ValueCode::kLog4 : ValueCode::kLinear4;
    case 2:
      return ValueCode::kTwoLevels;
    case 1:
      return ValueCode::kSign;
    default:
      return ValueCode::kFloat32;
  }
}

int value_bits(ValueCode code) {
  switch (code) {
    case ValueCode::kFloat32:
      return 32;
    case ValueCode::kLinear8:
      return 8;
    case ValueCode::kLinear4:
    case ValueCode::kLog4:
      return 4;
    case ValueCode::kTwoLevels:
      return 2;
    case ValueCode::kSign:
      return 1;
  }
  return 32;
}

int scales_per_group(ValueCode code) {
  switch (code) {
    case ValueCode::kFloat32:
      return 0;
    case ValueCode::kLinear8:
    case ValueCode::kLinear4:
    case ValueCode::kSign:
      return 1;
    case ValueCode::kLog4:
    case ValueCode::kTwoLevels:
      return 2;
  }
  return 0;
}

int64_t value_bytes(ValueCode code, int64_t values, int64_t groups) {
  return 2 * groups * scales_per_group(code) + bytes_for_bits(values * value_bits(code));
}

int64_t top_k_scale_bytes(const CodecSpec& spec, int64_t kept) {
  constexpr int64_t kScaleBytes = 2;
  if (kept == 0) {
    return 0;
  }
  if (spec.exponential) {
    return kScaleBytes << (spec.bits - 1);
  }
  return kScaleBytes * scales_per_group(value_code(spec)) * ceil_div(kept, kTopKGroup);
}

int64_t top_k_value_bytes(const CodecSpec& spec, int64_t kept) {
  return top_k_scale_bytes(spec, kept) + bytes_for_bits(kept * spec.bits);
}

double shrink_factor(const CodecSpec& spec, const Layout& layout) {
  switch (spec.kind) {
    case CodecKind::kRandK:
    case CodecKind::kTopK:
      return 1 / spec.density;
    case CodecKind::kPermK:
      return spec.world_size;
    default:
      return std::max(1.0, 4.0 * static_cast<double>(layout.elements()) /
                               static_cast<double>(payload_bytes_expected(spec, layout)));
  }
}

int64_t scale_count(const CodecSpec& spec, const Layout& layout) {
  if (spec.kind != CodecKind::kQuantize) {
    return 0;
  }
  return group_count(spec, layout) * scales_per_group(value_code(spec));
}

int count_bits(int64_t chunk_elements) {
  return static_cast<int>(std::bit_width(static_cast<uint64_t>(chunk_elements)));
}

ChunkCode chunk_code(int64_t chunk_elements, int64_t kept) {
  if (kept == 0) {
    return {};
  }
  // The logarithm of the mean gap, rounded down.
  const auto half_gap = static_cast<uint64_t>(chunk_elements / kept) / 2;
  const int low = static_cast<int>(std::bit_width(half_gap));
  const int64_t upper = kept + ((chunk_elements - 1) >> low) + 1;
  const int64_t bits = kept * low + upper;
  if (chunk_elements < bits) {
    return {.bitmap = true, .low_bits = 0, .upper_bits = chunk_elements, .bits = chunk_elements};
  }
  return {.bitmap = false, .low_bits = low, .upper_bits = upper, .bits = bits};
}

int64_t position_bits_max(int64_t elements, int64_t kept) {
  const int64_t chunks = elements / kTopKChunk;
  const int64_t rest = elements % kTopKChunk;
  int64_t most = 0;
  // Every count that the short last chunk can have.
  for (int64_t c = std::max<int64_t>(0, kept - chunks * kTopKChunk); c <= std::min(rest, kept);
       ++c) {
    most = std::max(most, chunk_code(rest, c).bits + even_bits(chunks, kept - c));
  }
  return chunks * count_bits(kTopKChunk) + (rest > 0 ? count_bits(rest) : 0) + most;
}

int64_t payload_bytes_max(const CodecSpec& spec, const Layout& layout) {
  if (spec.kind > CodecKind::kTopK || spec.entropy) {
    return other_payload_bytes_max(spec, layout);
  }
  const int64_t elements = layout.elements();
  if (spec.kind == CodecKind::kTopK) {
    return top_k_bytes(spec, elements, kept_elements_max(spec.density, elements));
  }
  return value_bytes(value_code(spec), elements, group_count(spec, layout));
}

int64_t payload_bytes_expected(const CodecSpec& spec, const Layout& layout) {
  if (spec.kind == CodecKind::kTopK) {
    const int64_t elements = layout.elements();
    // What the entropy stage saves depends on the data: docs/algorithms.md.
    return (spec.entropy ? kEntropyModeBytes : 0) +
           top_k_bytes(spec, elements, kept_elements(spec.density, elements));
  }
  return payload_bytes_max(spec, layout);
}

bool payload_size_varies(const CodecSpec& spec, const Layout& layout) {
  return spec.kind == CodecKind::kTopK || spec.entropy ||
         (spec.kind == CodecKind::kPermK && layout.elements() % spec.world_size != 0);
}

}  // namespace laconic::core
