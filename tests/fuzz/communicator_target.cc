// Input: byte 0, bits 0 and 1: whether the first and the second operation is all_reduce_mean (else
// all_gather, or with bit 2 a broadcast from rank 1); byte 1: elements; then frames, each
//
//   flags   1: from rank 2, else from rank 1    2: an edit follows    4: the checksum is wrong
//           8: nothing follows on this lane   16: the payload is 32 times as long, of one byte
//           32: on lane 1, else on lane 0
//   place   bits 0..1: kind - 1    bits 2..3: operation
//   length  2 bytes
//   edit    where flag 2 is set: a byte that names a field of the header, 8 bytes of its value; the
//           highest bit of the first says that one more edit follows
//   payload
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "common/collective/communicator.h"
#include "common/collective/peer_queues.h"
#include "common/core/crc32c.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/targets.h"

namespace laconic::fuzz {
namespace {

using collective::Communicator;
using collective::Frame;
using collective::FrameHeader;
using collective::PeerQueues;

constexpr int kWorld = 3;
constexpr int kLanes = 2;
constexpr uint64_t kGeneration = 7;
constexpr collective::OpTag kTag = {.round = 3, .previous_digest = 5};
constexpr int64_t kPayloadBytesMax = 3 << 20;  // Three tiles.
constexpr int kFramesMax = 64;

// What GrpcTransport is around PeerQueues, without the streams.
class QueuedTransport final : public collective::Transport {
 public:
  explicit QueuedTransport(PeerQueues& queues) : queues_(queues) {}
  int rank() const override { return queues_.rank(); }
  int world_size() const override { return queues_.world_size(); }
  absl::Status send(int to_rank, Frame frame, absl::Time deadline) override {
    return queues_.send(to_rank, std::move(frame), deadline).status();
  }
  absl::StatusOr<Frame> receive(int from_rank, absl::Time deadline) override {
    return queues_.receive(from_rank, deadline);
  }
  absl::Status finish(absl::Time deadline) override { return queues_.wait_ended(deadline); }
  int lost_rank() const override { return queues_.lost_rank(); }
  collective::ByteCounts bytes() const override { return queues_.bytes(); }
  collective::ByteCounts peer_bytes(int peer_rank) const override {
    return queues_.peer_bytes(peer_rank);
  }
  void abort(const absl::Status& reason) override { queues_.abort(reason); }

 private:
  PeerQueues& queues_;
};

struct Edit {
  int field = 0;
  uint64_t value = 0;
};

void apply(const Edit& edit, FrameHeader& header) {
  const uint64_t value = edit.value;
  switch (edit.field % 11) {
    case 0:
      header.generation = value;
      break;
    case 1:
      header.op_sequence = value;
      break;
    case 2:
      header.round = value;
      break;
    case 3:
      header.previous_digest = value;
      break;
    case 4:
      header.from_rank = static_cast<uint16_t>(value);
      break;
    case 5:
      header.to_rank = static_cast<uint16_t>(value);
      break;
    case 6:
      header.tile = static_cast<uint32_t>(value);
      break;
    case 7:
      header.payload_bytes_total = value;
      break;
    case 8:
      header.payload_bytes = static_cast<uint32_t>(value);
      break;
    case 9:
      header.lane_sequence = static_cast<uint16_t>(value);
      break;
    default:
      header.payload_crc32c = static_cast<uint32_t>(value);
      break;
  }
}

// numbers: of the last frame of each rank, counted as its sender does.
void deliver_frame(Input& input, std::array<uint16_t, kWorld>& numbers, PeerQueues& queues) {
  const uint8_t flags = input.take_byte();
  const uint8_t place = input.take_byte();
  size_t length = input.take(2);
  const int from = (flags & 1) != 0 ? 2 : 1;
  const collective::PeerLane lane = {.rank = from, .lane = (flags & 32) != 0 ? 1 : 0};
  std::vector<Edit> edits;
  for (bool more = (flags & 2) != 0; more;) {
    const uint8_t field = input.take_byte();
    edits.push_back({.field = field % 128, .value = input.take(8)});
    more = field >= 128;
  }
  std::vector<uint8_t> payload;
  if ((flags & 16) != 0) {
    length = std::min<size_t>(32 * length, collective::kFramePayloadBytesMax + 1);
    payload.assign(length, input.take_byte());
  } else {
    const Bytes given = input.take_bytes(length);
    payload.assign(given.begin(), given.end());
  }
  FrameHeader header;
  header.kind = static_cast<collective::FrameKind>(1 + place % 4);
  header.lane_sequence = ++numbers[static_cast<size_t>(from)];
  header.generation = kGeneration;
  header.op_sequence = place / 4 % 4;
  header.round = kTag.round;
  header.previous_digest = kTag.previous_digest;
  header.from_rank = static_cast<uint16_t>(from);
  header.payload_bytes_total = payload.size();
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  header.payload_crc32c = core::crc32c(payload) ^ ((flags & 4) != 0 ? 1U : 0U);
  for (const Edit& each : edits) {
    apply(each, header);
  }
  // A stream hands on what decode_frame_header() accepts, or its error.
  auto read = collective::decode_frame_header(collective::encode_frame_header(header));
  if (read.ok()) {
    queues.deliver(lane, Frame{*read, collective::Payload(std::move(payload))});
  } else {
    queues.deliver(lane, read.status());
  }
  if ((flags & 8) != 0) {
    queues.incoming_ended(lane);
  }
}

bool gather(Communicator& ranks) {
  const std::vector<uint8_t> own = {1, 2, 3};
  const auto payloads = ranks.all_gather(collective::Payload(own), kPayloadBytesMax, kTag);
  if (!payloads.ok()) {
    return false;
  }
  check(payloads->size() == kWorld, "one payload of each rank");
  check(std::ranges::equal(payloads->front().bytes(), own), "the own payload is the first");
  for (const collective::Payload& payload : *payloads) {
    check(static_cast<int64_t>(payload.size) <= kPayloadBytesMax, "a payload is within its bound");
  }
  return true;
}

bool broadcast(Communicator& ranks) {
  const auto payload = ranks.broadcast(/*root=*/1, {}, kPayloadBytesMax, kTag);
  check(!payload.ok() || static_cast<int64_t>(payload->size) <= kPayloadBytesMax + kWorld,
        "three pieces are within the bound, rounded up");
  return payload.ok();
}

bool reduce(Communicator& ranks, size_t elements) {
  std::vector<float> values(elements);
  for (size_t i = 0; i < elements; ++i) {
    values[i] = static_cast<float>(i);
  }
  const std::vector<float> before = values;
  const bool done = ranks.all_reduce_mean(values, kTag).ok();
  check(done || same_bits<float>(values, before), "a failed reduction changes nothing");
  return done;
}

}  // namespace

bool communicator(Bytes bytes) {
  Input input(bytes);
  const uint8_t operations = input.take_byte();
  const size_t elements = input.take_byte();
  PeerQueues queues(/*rank=*/0, kWorld, kLanes);
  std::array<uint16_t, kWorld> numbers{};
  for (int i = 0; i < kFramesMax && !input.empty(); ++i) {
    deliver_frame(input, numbers, queues);
  }
  QueuedTransport transport(queues);
  // All that will ever come is there already.
  Communicator ranks(transport, kGeneration, absl::ZeroDuration());
  bool accepted = false;
  for (const int bit : {1, 2}) {
    const bool done = (operations & bit) != 0 ? reduce(ranks, elements)
                      : (operations & 4) != 0 ? broadcast(ranks)
                                              : gather(ranks);
    accepted = accepted || done;
    check(done || ranks.failed_rank() == 1 || ranks.failed_rank() == 2, "a peer is blamed");
    if (!done) {
      break;
    }
  }
  return accepted;
}

}  // namespace laconic::fuzz
