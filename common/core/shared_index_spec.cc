#include "common/core/shared_index_spec.h"

#include <algorithm>

#include "common/core/bits.h"
#include "common/core/payload_size.h"
#include "common/core/schedule_choice.h"

namespace laconic::core {

int64_t sketch_blocks(const SharedIndexSpec& spec, int64_t elements) {
  return (elements + spec.block - 1) / spec.block;
}

int64_t sketch_blocks_sent(const SharedIndexSpec& spec, int64_t elements) {
  return kept_elements(spec.density, sketch_blocks(spec, elements));
}

int64_t shared_values(const SharedIndexSpec& spec, int64_t elements) {
  if (spec.agreement == Agreement::kLeader) {
    return kept_elements(spec.density, elements);
  }
  return sketch_blocks(spec, elements) == 1 ? elements
                                            : sketch_blocks_sent(spec, elements) * spec.block;
}

CodecSpec shared_value_codec(const SharedIndexSpec& spec) {
  if (spec.value_bits == 32) {
    return {};
  }
  return {.kind = CodecKind::kQuantize,
          .bits = spec.value_bits,
          .block = spec.value_bits == 8 ? 256 : 64};
}

CodecSpec sketch_codec() {
  return {.kind = CodecKind::kQuantize, .bits = 8, .block = 256};
}

Layout flat_layout(int64_t elements) {
  return {.tensors = {{.name = "values", .rows = 1, .columns = elements}}};
}

CodecSpec own_index_codec(const SharedIndexSpec& spec) {
  return {.kind = CodecKind::kTopK, .bits = spec.value_bits, .density = spec.density};
}

double overlap_wanted(const SharedIndexSpec& spec, const Layout& layout, int world_size) {
  constexpr double kNever = 2;
  if (world_size == 1) {
    return kNever;
  }
  const int64_t own = sent_bytes_expected(Schedule::kAllGather, own_index_codec(spec), layout,
                                          world_size, /*ranks_per_site=*/1);
  const int64_t shared = shared_index_sent_bytes(spec, Schedule::kSharded, layout, world_size);
  return (world_size * static_cast<double>(shared) / static_cast<double>(own) - 1) /
         (world_size - 1);
}

int64_t leader_bytes_max(const SharedIndexSpec& spec, int64_t elements) {
  return bytes_for_bits(position_bits_max(elements, kept_elements(spec.density, elements)));
}

int64_t shared_index_sent_bytes(const SharedIndexSpec& spec, Schedule schedule,
                                const Layout& layout, int world_size) {
  if (world_size == 1) {
    return 0;
  }
  const int64_t elements = layout.elements();
  const int64_t values = sent_bytes_max(schedule, shared_value_codec(spec),
                                        flat_layout(shared_values(spec, elements)), world_size);
  if (spec.agreement == Agreement::kSketch) {
    return values + sent_bytes_max(Schedule::kSharded, sketch_codec(),
                                   flat_layout(sketch_blocks(spec, elements)), world_size);
  }
  // A piece to every rank, then its own piece to all.
  const int64_t piece = (leader_bytes_max(spec, elements) + world_size - 1) / world_size;
  return values + int64_t{2} * (world_size - 1) * framed_bytes(piece);
}

int64_t shared_index_payload_bytes(const SharedIndexSpec& spec, const Layout& layout) {
  const int64_t elements = layout.elements();
  const int64_t agreement =
      spec.agreement == Agreement::kSketch
          ? payload_bytes_max(sketch_codec(), flat_layout(sketch_blocks(spec, elements)))
          : leader_bytes_max(spec, elements);
  return agreement +
         payload_bytes_max(shared_value_codec(spec), flat_layout(shared_values(spec, elements)));
}

}  // namespace laconic::core
