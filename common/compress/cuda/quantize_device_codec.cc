#include "common/compress/cuda/quantize_device_codec.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "common/compress/cuda/call_check.h"
#include "common/compress/cuda/payload_bits.h"
#include "common/compress/cuda/quantize_launch.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::compress::cuda {
namespace {

// Groups in order, neighbours of equal length together.
std::vector<GroupStretch> stretches_of(const core::CodecSpec& spec, const core::Layout& layout) {
  std::vector<GroupStretch> stretches;
  GroupStretch next;
  const auto append = [&](int64_t groups, int64_t length) {
    if (groups == 0 || length == 0) {
      return;
    }
    if (!stretches.empty() && stretches.back().length == length) {
      stretches.back().groups += groups;
    } else {
      next.groups = groups;
      next.length = length;
      stretches.push_back(next);
    }
    next.first_group += groups;
    next.first_value += groups * length;
  };
  if (spec.rows) {
    for (const core::TensorShape& tensor : layout.tensors) {
      append(tensor.rows, tensor.columns);
    }
  } else {
    append(layout.elements() / spec.block, spec.block);
    append(1, layout.elements() % spec.block);
  }
  return stretches;
}

QuantizeShape shape_of(const core::CodecSpec& spec, const std::vector<GroupStretch>& stretches) {
  QuantizeShape shape;
  shape.code = core::value_code(spec);
  shape.bits = static_cast<uint32_t>(core::value_bits(shape.code));
  shape.scales_per_group = static_cast<uint32_t>(core::scales_per_group(shape.code));
  int64_t longest = 0;
  for (const GroupStretch& stretch : stretches) {
    shape.groups += stretch.groups;
    shape.values += stretch.groups * stretch.length;
    longest = std::max(longest, stretch.length);
  }
  shape.code_bytes_at = 2 * shape.groups * shape.scales_per_group;
  shape.stretch_count = static_cast<int32_t>(stretches.size());
  shape.long_groups = longest > kWarpGroupMax;
  const bool linear =
      shape.code == core::ValueCode::kLinear8 || shape.code == core::ValueCode::kLinear4;
  if (linear && !spec.rows && spec.block <= kOnePassBlockMax) {
    shape.log2_block = static_cast<uint32_t>(std::countr_zero(static_cast<uint64_t>(spec.block)));
  }
  return shape;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceCodec>> QuantizeDeviceCodec::make(const core::CodecSpec& spec,
                                                                       const core::Layout& layout,
                                                                       Machine& machine) {
  const std::vector<GroupStretch> stretches = stretches_of(spec, layout);
  const size_t bytes = stretches.size() * sizeof(GroupStretch);
  LACONIC_ASSIGN_OR_RETURN(DeviceMemory memory, DeviceMemory::make(machine, bytes));
  LACONIC_RETURN_IF_ERROR(
      machine.copy_to_device(memory.as<void>(), stretches.data(), bytes, nullptr));
  return std::unique_ptr<DeviceCodec>(
      new QuantizeDeviceCodec(machine, shape_of(spec, stretches), std::move(memory),
                              core::payload_bytes_max(spec, layout)));
}

QuantizeDeviceCodec::QuantizeDeviceCodec(Machine& machine, const QuantizeShape& shape,
                                         DeviceMemory stretches, int64_t payload_bytes)
    : machine_(machine),
      shape_([&] {
        QuantizeShape placed = shape;
        placed.stretches = stretches.as<GroupStretch>();
        return placed;
      }()),
      stretches_(std::move(stretches)),
      payload_bytes_(payload_bytes) {}

absl::Status QuantizeDeviceCodec::encode(const EncodeCall& call, Stream stream) {
  LACONIC_RETURN_IF_ERROR(check_encode_call(call, /*needs_state=*/false));
  if (shape_.log2_block == 0) {
    LACONIC_RETURN_IF_ERROR(
        machine_.fill(call.payload, 0, static_cast<size_t>(capacity_bytes()), stream));
  }
  LACONIC_RETURN_IF_ERROR(
      machine_.run(QuantizeEncodeArgs{.shape = shape_,
                                      .v = call.v,
                                      .a = call.a,
                                      .decay = call.decay,
                                      .aligned = is_aligned(call.v, 16) && is_aligned(call.a, 16),
                                      .payload = reinterpret_cast<uint32_t*>(call.payload),
                                      .fault = call.fault},
                   stream));
  return absl::OkStatus();
}

absl::Status QuantizeDeviceCodec::decode(const DecodeCall& call, Stream stream) {
  LACONIC_RETURN_IF_ERROR(check_decode_call(call, capacity_bytes()));
  return machine_.run(
      QuantizeDecodeArgs{.shape = shape_,
                         .payloads = reinterpret_cast<const uint32_t*>(call.payloads),
                         .stride_words = call.stride_bytes / 4,
                         .count = call.count,
                         .sign = call.sign,
                         .add = call.add,
                         .divisor = call.divisor,
                         .aligned = is_aligned(call.out, 16),
                         .out = call.out,
                         .fault = call.fault},
      stream);
}

}  // namespace laconic::compress::cuda
