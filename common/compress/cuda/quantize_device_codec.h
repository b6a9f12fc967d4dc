// The codec `quantize` on a device: DenseCodec's payloads (dense_codec.h).
#pragma once

#include <memory>

#include "common/compress/cuda/device_codec.h"

namespace laconic::compress::cuda {

class QuantizeDeviceCodec final : public DeviceCodec {
 public:
  // spec: kQuantize, checked by make_codec(). Device memory: 32 bytes per run of equal rows.
  static absl::StatusOr<std::unique_ptr<DeviceCodec>> make(const core::CodecSpec& spec,
                                                           const core::Layout& layout,
                                                           Machine& machine);

  int64_t elements() const override { return shape_.values; }
  int64_t payload_bytes_max() const override { return payload_bytes_; }
  bool fixed_size() const override { return true; }
  absl::Status encode(const EncodeCall& call, Stream stream) override;
  absl::Status decode(const DecodeCall& call, Stream stream) override;

 private:
  QuantizeDeviceCodec(Machine& machine, const QuantizeShape& shape, DeviceMemory stretches,
                      int64_t payload_bytes);

  Machine& machine_;
  const QuantizeShape shape_;
  const DeviceMemory stretches_;
  const int64_t payload_bytes_;
};

}  // namespace laconic::compress::cuda
