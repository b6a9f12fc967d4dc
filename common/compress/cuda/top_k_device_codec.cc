#include "common/compress/cuda/top_k_device_codec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/cuda/call_check.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::compress::cuda {
namespace {

// Candidates that an exact selection may list: what shares the leading bits of the k-th magnitude
// is seldom more than k, in long-tailed vectors 2 k.
uint32_t candidates_for(const TopKShape& shape) {
  return static_cast<uint32_t>(
      std::min(shape.elements, std::max(shape.kept_max, 3 * shape.kept + kTopKTile)));
}

TopKShape shape_of(const core::CodecSpec& spec, const core::Layout& layout) {
  TopKShape shape;
  shape.code = core::value_code(spec);
  shape.bits = static_cast<uint32_t>(core::value_bits(shape.code));
  shape.scales_per_group = static_cast<uint32_t>(core::scales_per_group(shape.code));
  shape.elements = layout.elements();
  shape.kept = core::kept_elements(spec.density, shape.elements);
  shape.kept_max = core::kept_elements_max(spec.density, shape.elements);
  shape.tiles = static_cast<uint32_t>((shape.elements + kTopKTile - 1) / kTopKTile);
  shape.chunks = static_cast<uint32_t>((shape.elements + core::kTopKChunk - 1) / core::kTopKChunk);
  return shape;
}

absl::Status make_room(Machine& machine, DeviceMemory& memory, size_t bytes) {
  LACONIC_ASSIGN_OR_RETURN(DeviceMemory made, DeviceMemory::make(machine, bytes));
  memory = std::move(made);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceCodec>> TopKDeviceCodec::make(const core::CodecSpec& spec,
                                                                   const core::Layout& layout,
                                                                   Machine& machine) {
  const TopKShape shape = shape_of(spec, layout);
  if (shape.elements > kTopKElementsMax) {
    return absl::UnimplementedError(absl::StrCat("codec: top-k of ", shape.elements,
                                                 " elements on a device, at most ",
                                                 kTopKElementsMax, "; cut the vector"));
  }
  std::unique_ptr<TopKDeviceCodec> codec(
      new TopKDeviceCodec(machine, shape, core::payload_bytes_max(spec, layout)));
  LACONIC_RETURN_IF_ERROR(codec->allocate());
  return std::unique_ptr<DeviceCodec>(std::move(codec));
}

TopKDeviceCodec::TopKDeviceCodec(Machine& machine, const TopKShape& shape,
                                 int64_t payload_bytes_max)
    : machine_(machine),
      shape_(shape),
      payload_bytes_max_(payload_bytes_max),
      candidates_max_(candidates_for(shape)) {}

absl::Status TopKDeviceCodec::allocate() {
  const auto kept = static_cast<size_t>(shape_.kept_max);
  LACONIC_RETURN_IF_ERROR(make_room(machine_, positions_, candidates_max_ * sizeof(uint32_t)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, values_, candidates_max_ * sizeof(float)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, ranked_, kept * sizeof(float)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, slices_, shape_.tiles * sizeof(TileSlice)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, counts_, shape_.tiles * sizeof(TileCounts)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, chunks_, shape_.chunks * sizeof(ChunkSlot)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, control_, sizeof(TopKControl)));
  return reserve_payloads(1);
}

absl::Status TopKDeviceCodec::reserve_payloads(int count) {
  if (count <= payloads_max_) {
    return absl::OkStatus();
  }
  const auto payloads = static_cast<size_t>(count);
  const size_t kept = payloads * static_cast<size_t>(shape_.kept_max);
  LACONIC_RETURN_IF_ERROR(make_room(machine_, infos_, payloads * sizeof(TopKPayload)));
  LACONIC_RETURN_IF_ERROR(
      make_room(machine_, payload_chunks_, payloads * shape_.chunks * sizeof(ChunkSlot)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, payload_positions_, kept * sizeof(uint32_t)));
  LACONIC_RETURN_IF_ERROR(make_room(machine_, payload_values_, kept * sizeof(float)));
  payloads_max_ = count;
  return absl::OkStatus();
}

absl::Status TopKDeviceCodec::encode(const EncodeCall& call, Stream stream) {
  LACONIC_RETURN_IF_ERROR(check_encode_call(call, /*needs_state=*/true));
  LACONIC_RETURN_IF_ERROR(
      machine_.fill(call.payload, 0, static_cast<size_t>(capacity_bytes()), stream));
  LACONIC_RETURN_IF_ERROR(machine_.fill(control_.as<void>(), 0, sizeof(TopKControl), stream));
  return machine_.run(TopKEncodeArgs{.shape = shape_,
                                     .v = call.v,
                                     .a = call.a,
                                     .decay = call.decay,
                                     .aligned = is_aligned(call.v, 16) && is_aligned(call.a, 16),
                                     .payload = reinterpret_cast<uint32_t*>(call.payload),
                                     .payload_bytes = call.payload_bytes,
                                     .state = static_cast<const TopKState*>(call.state),
                                     .next_state = static_cast<TopKState*>(call.next_state),
                                     .fault = call.fault,
                                     .candidates_max = candidates_max_,
                                     .positions = positions_.as<uint32_t>(),
                                     .values = values_.as<float>(),
                                     .ranked = ranked_.as<float>(),
                                     .slices = slices_.as<TileSlice>(),
                                     .counts = counts_.as<TileCounts>(),
                                     .chunks = chunks_.as<ChunkSlot>(),
                                     .control = control_.as<TopKControl>()},
                      stream);
}

absl::Status TopKDeviceCodec::decode(const DecodeCall& call, Stream stream) {
  LACONIC_RETURN_IF_ERROR(check_decode_call(call, capacity_bytes()));
  LACONIC_RETURN_IF_ERROR(reserve_payloads(call.count));
  return machine_.run(TopKDecodeArgs{.shape = shape_,
                                     .payloads = reinterpret_cast<const uint32_t*>(call.payloads),
                                     .payload_bytes = call.payload_bytes,
                                     .stride_words = call.stride_bytes / 4,
                                     .capacity_bytes = capacity_bytes(),
                                     .count = call.count,
                                     .sign = call.sign,
                                     .add = call.add,
                                     .divisor = call.divisor,
                                     .out = call.out,
                                     .fault = call.fault,
                                     .infos = infos_.as<TopKPayload>(),
                                     .chunks = payload_chunks_.as<ChunkSlot>(),
                                     .positions = payload_positions_.as<uint32_t>(),
                                     .values = payload_values_.as<float>()},
                      stream);
}

}  // namespace laconic::compress::cuda
