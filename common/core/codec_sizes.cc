#include "common/core/codec_sizes.h"

#include "common/core/payload_size.h"

namespace laconic::core {
namespace {

constexpr int64_t kFloatBytes = 4;

}  // namespace

int64_t part_begin(int64_t elements, int64_t part, int64_t parts) {
  return elements / parts * part + elements % parts * part / parts;
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
  }
  return 0;
}

}  // namespace laconic::core
