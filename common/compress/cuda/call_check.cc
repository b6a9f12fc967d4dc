#include "common/compress/cuda/call_check.h"

#include "absl/strings/str_cat.h"

namespace laconic::compress::cuda {

bool is_aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

absl::Status check_encode_call(const EncodeCall& call, bool needs_state) {
  if (call.v == nullptr && call.a == nullptr) {
    return absl::InvalidArgumentError("encode: neither v nor a is given");
  }
  if (!is_aligned(call.v, sizeof(float)) || !is_aligned(call.a, sizeof(float))) {
    return absl::InvalidArgumentError("encode: v or a is not aligned to a float");
  }
  if (call.payload == nullptr || !is_aligned(call.payload, 16)) {
    return absl::InvalidArgumentError("encode: payload is null or not aligned to 16 bytes");
  }
  if (call.fault == nullptr) {
    return absl::InvalidArgumentError("encode: fault is null");
  }
  if (needs_state && (call.state == nullptr || call.next_state == nullptr)) {
    return absl::InvalidArgumentError("encode: this codec needs state and next_state");
  }
  return absl::OkStatus();
}

absl::Status check_decode_call(const DecodeCall& call, int64_t capacity_bytes) {
  if (call.payloads == nullptr || !is_aligned(call.payloads, 16)) {
    return absl::InvalidArgumentError("decode: payloads is null or not aligned to 16 bytes");
  }
  if (call.out == nullptr || call.fault == nullptr) {
    return absl::InvalidArgumentError("decode: out or fault is null");
  }
  if (call.count < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("decode: ", call.count, " payloads, at least 1"));
  }
  if (call.count > 1 && (call.stride_bytes < capacity_bytes || call.stride_bytes % 16 != 0)) {
    return absl::InvalidArgumentError(absl::StrCat("decode: stride ", call.stride_bytes,
                                                   ", must be a multiple of 16 and at least ",
                                                   capacity_bytes));
  }
  if (call.sign != 1 && !(call.sign == -1 && call.add)) {
    return absl::InvalidArgumentError(
        absl::StrCat("decode: sign ", call.sign, ", allowed: 1, or -1 with add"));
  }
  if (!(call.divisor > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("decode: divisor ", call.divisor, ", must be above 0"));
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress::cuda
