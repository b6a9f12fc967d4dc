#include "common/compress/cuda/device_codec.h"

#include "absl/strings/str_cat.h"
#include "common/compress/codec.h"
#include "common/compress/cuda/payload_bits.h"
#include "common/compress/cuda/quantize_device_codec.h"
#include "common/compress/cuda/top_k_device_codec.h"
#include "common/core/status_macros.h"

namespace laconic::compress::cuda {
namespace {

const char* fault_text(PayloadFault fault) {
  switch (fault) {
    case PayloadFault::kScales:
      return "a scale is out of range";
    case PayloadFault::kCode:
      return "the reserved code";
    case PayloadFault::kUnusedBits:
      return "bits are set behind the last value";
    case PayloadFault::kPositions:
      return "wrong positions";
    case PayloadFault::kValue:
      return "a value is not finite";
  }
  return "unknown";
}

}  // namespace

int64_t DeviceCodec::capacity_bytes() const {
  return payload_capacity(payload_bytes_max());
}

absl::Status encode_status(uint64_t fault) {
  if (fault == kNoFault) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("codec: element ", fault,
                   " is not finite, only finite numbers can be sent; the loss may have diverged, "
                   "try a smaller learning rate"));
}

absl::Status decode_status(uint64_t fault) {
  if (fault == kNoFault) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("payload ", fault / kPayloadFaults, ": ",
                   fault_text(static_cast<PayloadFault>(fault % kPayloadFaults))));
}

absl::StatusOr<std::unique_ptr<DeviceCodec>> make_device_codec(const core::CodecSpec& spec,
                                                               const core::Layout& layout,
                                                               Machine& machine) {
  LACONIC_RETURN_IF_ERROR(make_codec(spec, layout).status());
  if (spec.kind == core::CodecKind::kQuantize && !spec.stochastic && !spec.entropy) {
    return QuantizeDeviceCodec::make(spec, layout, machine);
  }
  if (spec.kind == core::CodecKind::kTopK && !spec.exponential && !spec.entropy) {
    return TopKDeviceCodec::make(spec, layout, machine);
  }
  return absl::UnimplementedError(
      absl::StrCat("codec: no kernels for kind ", static_cast<int>(spec.kind),
                   spec.stochastic ? " with stochastic rounding" : "",
                   spec.exponential ? " with exponential levels" : "",
                   spec.entropy ? " with an entropy stage" : "", "; use the codec of the CPU"));
}

}  // namespace laconic::compress::cuda
