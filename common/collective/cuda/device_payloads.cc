#include "common/collective/cuda/device_payloads.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/compress/cuda/payload_bits.h"
#include "common/core/status_macros.h"

namespace laconic::collective::cuda {

using compress::cuda::kNoFault;
using compress::cuda::kPayloadFaults;

absl::StatusOr<std::unique_ptr<DeviceEncoder>> DeviceEncoder::make(DeviceCodec& codec,
                                                                   const DevicePlace& place,
                                                                   bool enabled, double decay) {
  std::unique_ptr<DeviceEncoder> made(new DeviceEncoder(codec, place));
  LACONIC_ASSIGN_OR_RETURN(made->feedback_, compress::cuda::DeviceErrorFeedback::make(
                                                codec, *place.machine, enabled, decay));
  LACONIC_ASSIGN_OR_RETURN(
      made->payload_,
      DeviceMemory::make(*place.machine, static_cast<size_t>(codec.capacity_bytes())));
  if (!codec.fixed_size()) {
    LACONIC_ASSIGN_OR_RETURN(made->size_, DeviceMemory::make(*place.machine, sizeof(uint64_t)));
  }
  return made;
}

absl::Status DeviceEncoder::encode(const float* v) {
  LACONIC_RETURN_IF_ERROR(
      feedback_->encode(v, payload_.as<uint8_t>(), size_.as<uint64_t>(), place_.stream));
  return feedback_->check(place_.stream);
}

absl::StatusOr<Payload> DeviceEncoder::download() {
  auto bytes = static_cast<uint64_t>(codec_.payload_bytes_max());
  if (!codec_.fixed_size()) {
    LACONIC_RETURN_IF_ERROR(
        place_.machine->copy_to_host(&bytes, size_.as<void>(), sizeof bytes, place_.stream));
  }
  const std::shared_ptr<core::ByteBuffer> buffer = buffers_.take();
  buffer->resize(bytes);
  LACONIC_RETURN_IF_ERROR(
      place_.machine->copy_to_host(buffer->data(), payload_.as<void>(), bytes, place_.stream));
  return Payload(std::shared_ptr<const core::ByteBuffer>(buffer));
}

absl::StatusOr<PayloadStage> PayloadStage::make(const DevicePlace& place, int payloads,
                                                int64_t capacity_bytes) {
  PayloadStage made(place, payloads);
  const auto each = static_cast<size_t>(capacity_bytes) + 2 * sizeof(uint64_t);
  LACONIC_ASSIGN_OR_RETURN(
      made.memory_, DeviceMemory::make(*place.machine, static_cast<size_t>(payloads) * each));
  return made;
}

absl::Status PayloadStage::upload(std::span<const std::span<const uint8_t>> payloads,
                                  int64_t stride_bytes) {
  count_ = static_cast<int>(payloads.size());
  stride_bytes_ = stride_bytes;
  failed_ = -1;
  const auto stride = static_cast<size_t>(stride_bytes);
  host_.resize(payloads.size() * (stride + 2 * sizeof(uint64_t)));
  uint8_t* const sizes = host_.data() + payloads.size() * stride;
  uint8_t* const faults = sizes + payloads.size() * sizeof(uint64_t);
  for (size_t i = 0; i < payloads.size(); ++i) {
    const uint64_t size = payloads[i].size();
    uint8_t* const at = host_.data() + i * stride;
    std::copy(payloads[i].begin(), payloads[i].end(), at);  // may be empty, from nowhere
    std::memset(at + size, 0, stride - size);
    std::memcpy(sizes + i * sizeof size, &size, sizeof size);
    std::memcpy(faults + i * sizeof kNoFault, &kNoFault, sizeof kNoFault);
  }
  return place_.machine->copy_to_device(memory_.as<void>(), host_.data(), host_.size(),
                                        place_.stream);
}

const uint8_t* PayloadStage::payloads(int index) const {
  return memory_.as<uint8_t>() + index * stride_bytes_;
}

const uint64_t* PayloadStage::sizes(int index) const {
  return reinterpret_cast<const uint64_t*>(payloads(count_)) + index;
}

uint64_t* PayloadStage::fault(int index) const {
  return reinterpret_cast<uint64_t*>(memory_.as<uint8_t>() + count_ * stride_bytes_) + count_ +
         index;
}

absl::Status PayloadStage::check(int first) {
  uint64_t found = kNoFault;
  LACONIC_RETURN_IF_ERROR(
      place_.machine->copy_to_host(&found, fault(first), sizeof found, place_.stream));
  if (found != kNoFault) {
    failed_ = first + static_cast<int>(found / kPayloadFaults);
  }
  return compress::cuda::decode_status(found);
}

}  // namespace laconic::collective::cuda
