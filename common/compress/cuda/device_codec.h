// Codecs whose vectors and payloads stay in device memory. Raw pointers and streams: nothing here
// allocates after construction, waits for the device, or knows of tensors.
//
//   d  elements    a  what is owed: decay a + v    Q  encode    D  decode    P  payloads
//
// Payloads are those of the scalar codecs (codec.h), byte for byte, for the same input and state;
// docs/wire-format.md has the layout. All tensors of a layout are handled in one launch.
//
// One exchange of a bucket is encode(), a transfer of capacity_bytes() per rank, decode(), and the
// commit of the error feedback: three kernels (one or two fills with zeros precede encode() for all
// but linear codes in blocks of 16..512).
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/compress/cuda/machine.h"
#include "common/core/codec_spec.h"
#include "common/core/layout.h"

namespace laconic::compress::cuda {

// What encode() does. All pointers are device memory.
struct EncodeCall {
  const float* v = nullptr;  // [d]
  // [d]; nullptr: v is encoded. With v: a <- decay a + v, and a is encoded. Without v: a as it is,
  // which repeats an encode that was rolled back.
  float* a = nullptr;
  float decay = 1;
  // [capacity_bytes()], aligned to 16. Bytes behind the payload are unspecified.
  uint8_t* payload = nullptr;
  uint64_t* payload_bytes = nullptr;  // [1], its size; nullptr where fixed_size() is known anyway
  void* state = nullptr;       // [state_bytes()] of the last round, set to zero before the first
  void* next_state = nullptr;  // [state_bytes()] becomes that of this round; may be `state`
  uint64_t* fault = nullptr;   // [1], lowered to what encode_status() explains
};

// out <- ([out +] sign D(payload 0) + sign D(payload 1) + ... + sign D(payload P-1)) / divisor, one
// rounding per sum, in this order: the bits of Codec::decode() and decode_add() in rank order.
struct DecodeCall {
  const uint8_t* payloads = nullptr;  // P of them, aligned to 16
  int64_t stride_bytes = 0;           // from one to the next; at least capacity_bytes(), 16 divides
  // [P], the sizes that their senders gave; nullptr: a payload says itself, by its counts. Without
  // meaning where fixed_size().
  const uint64_t* payload_bytes = nullptr;
  int count = 1;     // P >= 1
  float sign = 1;    // 1, or -1 with `add`
  bool add = false;  // false: out is overwritten
  float divisor = 1;
  float* out = nullptr;       // [d]; unspecified where the fault word says that a payload is wrong
  uint64_t* fault = nullptr;  // [1], lowered to what decode_status() explains
};

// Calls of one codec must be in order on one stream: they share its scratch memory.
class DeviceCodec {
 public:
  virtual ~DeviceCodec() = default;

  virtual int64_t elements() const = 0;
  virtual int64_t payload_bytes_max() const = 0;
  virtual bool fixed_size() const = 0;
  // Of a payload buffer: payload_bytes_max() rounded up to 16.
  int64_t capacity_bytes() const;
  // Of what an encoder remembers between rounds; 0 for most codecs.
  virtual int64_t state_bytes() const { return 0; }

  // Errors: InvalidArgument for a missing or misaligned pointer; those of Machine.
  virtual absl::Status encode(const EncodeCall& call, Stream stream) = 0;
  // Payloads may be hostile: all but their size is checked on the device.
  virtual absl::Status decode(const DecodeCall& call, Stream stream) = 0;
};

// Fault words start as kNoFault (all bytes 0xFF) and keep the smallest of what is found, so one
// word serves all calls of a kind up to the copy that reads it.
//
// Errors: InvalidArgument that names the first element that is not finite.
absl::Status encode_status(uint64_t fault);
// Errors: DataLoss that names the payload, counted from 0, and what is wrong with it.
absl::Status decode_status(uint64_t fault);

// machine: outlives the codec. Errors: InvalidArgument for what make_codec() refuses; Unimplemented
// for kinds without kernels, which are all but top-k (of at most 2^31 elements) and quantize
// without stochastic rounding.
absl::StatusOr<std::unique_ptr<DeviceCodec>> make_device_codec(const core::CodecSpec& spec,
                                                               const core::Layout& layout,
                                                               Machine& machine);

}  // namespace laconic::compress::cuda
