// Error feedback (common/compress/error_feedback.h) whose vector stays in device memory. The same
// transaction: encode(), then commit() when the round is complete or rollback() when it was
// aborted; nothing that was to be sent is lost, without a second copy. Norms are not computed here:
// in the lanes of the scalar code they would be one chain of additions over the whole vector.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/compress/cuda/device_codec.h"

namespace laconic::compress::cuda {

// Owned by one thread; its calls are in order on one stream, and none waits for the device but
// check() and set_residual().
class DeviceErrorFeedback {
 public:
  // codec, machine: outlive this object. decay: 0..1. enabled = false: the residual stays zero.
  // Device memory: 4 d bytes and two states of the codec.
  static absl::StatusOr<std::unique_ptr<DeviceErrorFeedback>> make(DeviceCodec& codec,
                                                                   Machine& machine, bool enabled,
                                                                   double decay);

  // Adds v [d] to what is owed and encodes it; after rollback() v is in it already and is not added
  // again, and the payload has the same bytes. payload, payload_bytes: as in EncodeCall; the
  // payload stays as it is until commit() or rollback(). Errors: FailedPrecondition if an exchange
  // is open; those of DeviceCodec::encode, and no exchange is open then. What is not finite is
  // found by check().
  absl::Status encode(const float* v, uint8_t* payload, uint64_t* payload_bytes, Stream stream);

  // Close the exchange. commit: residual() is a - D(payload). rollback: residual() is a, which
  // still is owed. Without an open one they do nothing.
  absl::Status commit(Stream stream);
  void rollback();

  // Waits for the device. Errors: InvalidArgument that names the first element that was not finite
  // in any encode() so far; the residual is unspecified then. Internal if our own payload did not
  // decode.
  absl::Status check(Stream stream);

  // What the codec remembers of the last committed round: a copy of its state_bytes(), which waits
  // for the device; or back to that of a new sender. Not while an exchange is open.
  absl::Status copy_state(void* to, size_t bytes, Stream stream);
  absl::Status reset_state(Stream stream);

  // [d], device memory: e, or a while an exchange is open or after a rollback.
  float* residual() const { return residual_.as<float>(); }
  // From host memory, [d]; waits for the device.
  // Errors: FailedPrecondition if an exchange is open.
  absl::Status set_residual(const float* residual, Stream stream);

 private:
  DeviceErrorFeedback(DeviceCodec& codec, Machine& machine, bool enabled, double decay);

  DeviceCodec& codec_;
  Machine& machine_;
  const bool enabled_;
  const float decay_;
  DeviceMemory residual_;
  DeviceMemory faults_;     // of encode(), of commit()
  DeviceMemory states_[2];  // empty where the codec has none
  int current_ = 0;         // the state after the last commit
  const uint8_t* payload_ = nullptr;
  bool open_ = false;
  bool owed_ = false;  // residual_ holds a of an aborted exchange
};

}  // namespace laconic::compress::cuda
