#include "common/compress/cuda/device_error_feedback.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::compress::cuda {
namespace {

absl::Status open_error() {
  return absl::FailedPreconditionError(
      "error feedback: an exchange is open; call commit() or rollback() first");
}

}  // namespace

DeviceErrorFeedback::DeviceErrorFeedback(DeviceCodec& codec, Machine& machine, bool enabled,
                                         double decay)
    : codec_(codec), machine_(machine), enabled_(enabled), decay_(static_cast<float>(decay)) {}

absl::StatusOr<std::unique_ptr<DeviceErrorFeedback>> DeviceErrorFeedback::make(DeviceCodec& codec,
                                                                               Machine& machine,
                                                                               bool enabled,
                                                                               double decay) {
  std::unique_ptr<DeviceErrorFeedback> feedback(
      new DeviceErrorFeedback(codec, machine, enabled, decay));
  const auto make_filled = [&](DeviceMemory& memory, int64_t bytes, uint8_t byte) -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(DeviceMemory made,
                             DeviceMemory::make(machine, static_cast<size_t>(bytes)));
    memory = std::move(made);
    return machine.fill(memory.as<void>(), byte, memory.bytes(), nullptr);
  };
  LACONIC_RETURN_IF_ERROR(make_filled(feedback->residual_, 4 * codec.elements(), 0));
  LACONIC_RETURN_IF_ERROR(make_filled(feedback->faults_, 2 * sizeof(uint64_t), 0xFF));
  for (DeviceMemory& state : feedback->states_) {
    if (codec.state_bytes() > 0) {
      LACONIC_RETURN_IF_ERROR(make_filled(state, codec.state_bytes(), 0));
    }
  }
  // The fills are over before work of other streams begins.
  LACONIC_RETURN_IF_ERROR(feedback->check(nullptr));
  return feedback;
}

absl::Status DeviceErrorFeedback::encode(const float* v, uint8_t* payload, uint64_t* payload_bytes,
                                         Stream stream) {
  if (open_) {
    return open_error();
  }
  LACONIC_RETURN_IF_ERROR(codec_.encode({.v = owed_ ? nullptr : v,
                                         .a = residual(),
                                         .decay = decay_,
                                         .payload = payload,
                                         .payload_bytes = payload_bytes,
                                         .state = states_[current_].as<void>(),
                                         .next_state = states_[1 - current_].as<void>(),
                                         .fault = faults_.as<uint64_t>()},
                                        stream));
  owed_ = false;
  open_ = true;
  payload_ = payload;
  return absl::OkStatus();
}

absl::Status DeviceErrorFeedback::commit(Stream stream) {
  if (!open_) {
    return absl::OkStatus();
  }
  open_ = false;
  current_ = 1 - current_;
  if (!enabled_) {
    return machine_.fill(residual(), 0, residual_.bytes(), stream);
  }
  // The bytes themselves are decoded: the residual is exactly what receivers will not see.
  return codec_.decode({.payloads = payload_,
                        .sign = -1,
                        .add = true,
                        .out = residual(),
                        .fault = faults_.as<uint64_t>() + 1},
                       stream);
}

void DeviceErrorFeedback::rollback() {
  owed_ = owed_ || open_;
  open_ = false;
}

absl::Status DeviceErrorFeedback::check(Stream stream) {
  std::array<uint64_t, 2> faults{};
  LACONIC_RETURN_IF_ERROR(
      machine_.copy_to_host(faults.data(), faults_.as<void>(), sizeof faults, stream));
  LACONIC_RETURN_IF_ERROR(encode_status(faults[0]));
  const absl::Status status = decode_status(faults[1]);
  return status.ok() ? status
                     : absl::InternalError(absl::StrCat(
                           "error feedback: our own payload does not decode: ", status.message()));
}

absl::Status DeviceErrorFeedback::copy_state(void* to, size_t bytes, Stream stream) {
  const DeviceMemory& state = states_[current_];
  if (open_) {
    return open_error();
  }
  if (bytes != state.bytes()) {
    return absl::InvalidArgumentError(absl::StrCat("error feedback: a state of ", bytes,
                                                   " bytes, the codec's has ", state.bytes()));
  }
  return machine_.copy_to_host(to, state.as<void>(), bytes, stream);
}

absl::Status DeviceErrorFeedback::reset_state(Stream stream) {
  if (open_) {
    return open_error();
  }
  const DeviceMemory& state = states_[current_];
  return state.bytes() == 0 ? absl::OkStatus()
                            : machine_.fill(state.as<void>(), 0, state.bytes(), stream);
}

absl::Status DeviceErrorFeedback::set_residual(const float* residual, Stream stream) {
  if (open_) {
    return open_error();
  }
  LACONIC_RETURN_IF_ERROR(check(stream));
  owed_ = false;
  return machine_.copy_to_device(residual_.as<void>(), residual, residual_.bytes(), stream);
}

}  // namespace laconic::compress::cuda
