// What a scheduled mean does with the numbers themselves: encodes them, adds them up, divides. They
// lie in host memory (host_parts.h) or on a GPU (cuda/device_parts.h); the messages between the
// ranks are the same (step_runner.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/frame_channel.h"
#include "common/collective/schedule.h"
#include "common/collective/transport.h"

namespace laconic::collective {

// A sum of one part that is to be added.
struct Term {
  int origin = 0;
  Form form = Form::kEncoded;
  // One, but for float32 longer than a frame. None: this rank's own values, as they are.
  std::vector<Payload> tiles;
};

struct Added {
  absl::Status status;
  int origin = -1;  // of the term that is to blame for the error; -1: none of them
};

// A rank's values of a part are those of its vector until add() or divide() has replaced them; the
// result is what they are after divide(). Owned by one thread.
class PartWork {
 public:
  virtual ~PartWork() = default;

  virtual int64_t elements(int part) const = 0;
  // Of its payload.
  virtual Expected expected(int part) const = 0;

  // This rank's values, encoded with the error feedback of stage 1. Errors: those of the codec.
  virtual absl::StatusOr<Payload> encode(int part, uint64_t seed) = 0;
  // A frame's stretch of them as float32.
  virtual absl::StatusOr<Payload> float_tile(int part, int tile) = 0;

  // The values become the sum of the terms, in their order; the first is copied. In float32.
  virtual Added add(int part, std::span<const Term> terms) = 0;
  // By the number of ranks.
  virtual absl::Status divide(int part) = 0;
  // Encodes the result with the error feedback of stage 2 and replaces it by what that decodes to.
  virtual absl::StatusOr<Payload> encode_result(int part, uint64_t seed) = 0;
  // The result as float32.
  virtual absl::StatusOr<Payload> float_result(int part) = 0;

  // The result as it comes from a peer.
  virtual absl::Status take_result(int part, const Payload& payload) = 0;
  // Of float32: payload has as many bytes as the tile.
  virtual absl::Status take_result_tile(int part, int tile, const Payload& payload) = 0;
};

}  // namespace laconic::collective
