// Payloads on their way between a GPU and the host.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/transport.h"
#include "common/compress/buffer_pool.h"
#include "common/compress/cuda/device_codec.h"
#include "common/compress/cuda/device_error_feedback.h"
#include "common/compress/cuda/machine.h"

namespace laconic::collective::cuda {

using compress::cuda::DeviceCodec;
using compress::cuda::DeviceMemory;
using compress::cuda::Machine;
using compress::cuda::Stream;

// Where the numbers lie. All work of an exchange is put on `stream`.
struct DevicePlace {
  Machine* machine = nullptr;  // Outlives who is given it.
  Stream stream = nullptr;
};

// One vector's error feedback, and the payload that is under way. Owned by one thread.
class DeviceEncoder {
 public:
  // codec: outlives this object. Errors: those of Machine.
  static absl::StatusOr<std::unique_ptr<DeviceEncoder>> make(DeviceCodec& codec,
                                                             const DevicePlace& place, bool enabled,
                                                             double decay);

  // Encodes v ([d], device memory) and what is owed into payload(); waits, so that what is not
  // finite is never sent. Errors: those of DeviceErrorFeedback; an exchange may be open then.
  absl::Status encode(const float* v);
  // Of the last encode(): its bytes alone, on the host.
  absl::StatusOr<Payload> download();
  // [capacity_bytes()] device memory.
  const uint8_t* payload() const { return payload_.as<uint8_t>(); }

  // Close the exchange; commit does not wait.
  absl::Status commit() { return feedback_->commit(place_.stream); }
  void rollback() { feedback_->rollback(); }

 private:
  DeviceEncoder(DeviceCodec& codec, const DevicePlace& place) : codec_(codec), place_(place) {}

  DeviceCodec& codec_;
  const DevicePlace place_;
  std::unique_ptr<compress::cuda::DeviceErrorFeedback> feedback_;
  DeviceMemory payload_;
  DeviceMemory size_;                // one uint64; empty where sizes are fixed
  compress::BufferPool buffers_{2};  // of the host
};

// Received payloads, brought to the device in one copy. Owned by one thread.
class PayloadStage {
 public:
  // For up to `payloads` of up to `capacity_bytes` each; 16 divides the capacity.
  static absl::StatusOr<PayloadStage> make(const DevicePlace& place, int payloads,
                                           int64_t capacity_bytes);

  // Puts them one after the other at `stride_bytes`, which is at most the capacity, and clears the
  // faults. No payload is longer than the stride.
  absl::Status upload(std::span<const std::span<const uint8_t>> payloads, int64_t stride_bytes);

  // Of payload `index` and those behind it.
  const uint8_t* payloads(int index) const;
  const uint64_t* sizes(int index) const;
  // The fault word of a decode() that begins with payload `index`.
  uint64_t* fault(int index) const;

  // Waits. `first`: of the decode(), which may have met a wrong payload.
  // Errors: DataLoss; failed() is the payload, as an index of upload().
  absl::Status check(int first);
  int failed() const { return failed_; }

 private:
  PayloadStage(const DevicePlace& place, int payloads) : place_(place), payloads_max_(payloads) {}

  DevicePlace place_;
  int payloads_max_;
  int64_t stride_bytes_ = 0;
  int count_ = 0;
  int failed_ = -1;
  DeviceMemory memory_;  // payloads, then their sizes, then fault words
  core::ByteBuffer host_;
};

}  // namespace laconic::collective::cuda
