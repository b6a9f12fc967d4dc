// The codec top-k on a device: TopKCodec's payloads (top_k_codec.h), its reuse of thresholds
// included. Payloads vary in size: encode() writes theirs to EncodeCall::payload_bytes.
#pragma once

#include <memory>

#include "common/compress/cuda/device_codec.h"
#include "common/compress/cuda/top_k_args.h"

namespace laconic::compress::cuda {

class TopKDeviceCodec final : public DeviceCodec {
 public:
  // spec: kTopK, checked by make_codec(). Device memory: some 36 bytes per kept element, and 8 per
  // kept element of each payload that a decode() adds up, which grows when first needed.
  static absl::StatusOr<std::unique_ptr<DeviceCodec>> make(const core::CodecSpec& spec,
                                                           const core::Layout& layout,
                                                           Machine& machine);

  int64_t elements() const override { return shape_.elements; }
  int64_t payload_bytes_max() const override { return payload_bytes_max_; }
  bool fixed_size() const override { return false; }
  int64_t state_bytes() const override { return sizeof(TopKState); }
  absl::Status encode(const EncodeCall& call, Stream stream) override;
  // Waits for the device and allocates if `count` is larger than ever before.
  absl::Status decode(const DecodeCall& call, Stream stream) override;

 private:
  TopKDeviceCodec(Machine& machine, const TopKShape& shape, int64_t payload_bytes_max);
  absl::Status allocate();
  absl::Status reserve_payloads(int count);

  Machine& machine_;
  const TopKShape shape_;
  const int64_t payload_bytes_max_;
  const uint32_t candidates_max_;
  DeviceMemory positions_;
  DeviceMemory values_;
  DeviceMemory ranked_;
  DeviceMemory slices_;
  DeviceMemory counts_;
  DeviceMemory chunks_;
  DeviceMemory control_;
  // Of the payloads of a decode().
  int payloads_max_ = 0;
  DeviceMemory infos_;
  DeviceMemory payload_chunks_;
  DeviceMemory payload_positions_;
  DeviceMemory payload_values_;
};

}  // namespace laconic::compress::cuda
