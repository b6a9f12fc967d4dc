#include "common/collective/communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/crc32c.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

// Tiles sent ahead of the oldest one not yet received from all: enough to keep a link busy for a
// round trip, few enough to stay within kQueueBytesMax on both sides (which also is why two ranks
// can never wait for room at each other).
constexpr int64_t kTilesAhead = 8;
static_assert(2 * kTilesAhead * (kFrameHeaderBytes + kFramePayloadBytesMax) <= kQueueBytesMax);

size_t at(int rank) {
  return static_cast<size_t>(rank);
}

// The r-th of P parts of d elements: [begin, end).
struct Part {
  size_t begin = 0;
  size_t end = 0;
  size_t bytes() const { return (end - begin) * sizeof(float); }
};
Part part_of(size_t elements, int rank, int world_size) {
  const size_t parts = at(world_size);
  return {elements * at(rank) / parts, elements * (at(rank) + 1) / parts};
}

// Floats travel as they lie in memory; every machine this builds on is little-endian.
Payload to_payload(std::span<const float> values) {
  const auto bytes = std::make_shared<core::ByteBuffer>(values.size_bytes());
  if (!values.empty()) {
    std::memcpy(bytes->data(), values.data(), values.size_bytes());
  }
  return Payload(bytes);
}
float float_at(const core::ByteBuffer& bytes, size_t index) {
  float value = 0;
  std::memcpy(&value, bytes.data() + index * sizeof(float), sizeof(float));
  return value;
}

// The same operation of the same round, from a peer with the same parameters.
absl::Status check_place(const FrameHeader& got, const FrameHeader& ours) {
  const std::string peer = absl::StrCat("rank ", got.from_rank);
  if (got.generation != ours.generation) {
    return absl::AbortedError(
        absl::StrCat(peer, " is in generation ", got.generation, ", ours is ", ours.generation));
  }
  const bool same_kind = got.kind == ours.kind || got.kind == FrameKind::kAlive;
  if (got.op_sequence != ours.op_sequence || got.round != ours.round || !same_kind) {
    const auto place = [](const FrameHeader& header) {
      return absl::StrCat("operation ", header.op_sequence, " (kind ",
                          static_cast<int>(header.kind), ") of round ", header.round);
    };
    return absl::FailedPreconditionError(
        absl::StrCat(peer, " is at ", place(got), ", we are at ", place(ours)));
  }
  if (got.previous_digest != ours.previous_digest) {
    return absl::FailedPreconditionError(
        absl::StrCat(peer, " diverged: its digest of round ", got.round, " is ",
                     core::format_digest(got.previous_digest), ", ours is ",
                     core::format_digest(ours.previous_digest)));
  }
  return absl::OkStatus();
}

}  // namespace

Communicator::Communicator(Transport& transport, uint64_t generation, absl::Duration deadline)
    : transport_(transport), generation_(generation), deadline_(deadline) {}

absl::StatusOr<std::vector<Payload>> Communicator::all_gather(const Payload& payload,
                                                              int64_t payload_bytes_max,
                                                              const OpTag& tag) {
  if (static_cast<int64_t>(payload.size) > payload_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat("all_gather: payload of ", payload.size,
                                                   " bytes, the limit is ", payload_bytes_max));
  }
  Exchange exchange;
  exchange.header = start(FrameKind::kPayload, tag);
  exchange.outgoing.assign(at(world_size()), payload);
  exchange.incoming.resize(at(world_size()));
  for (Incoming& in : exchange.incoming) {
    in.bytes_max = payload_bytes_max;
  }
  LACONIC_RETURN_IF_ERROR(run(exchange));
  std::vector<Payload> all(at(world_size()));
  for (int r = 0; r < world_size(); ++r) {
    all[at(r)] = r == rank() ? payload : Payload(exchange.incoming[at(r)].bytes);
  }
  return all;
}

absl::Status Communicator::all_reduce_mean(std::span<float> in_out, const OpTag& tag) {
  if (world_size() == 1) {
    return absl::OkStatus();
  }
  const Part own = part_of(in_out.size(), rank(), world_size());
  Exchange scatter;
  scatter.header = start(FrameKind::kPart, tag);
  Exchange gather;
  gather.header = start(FrameKind::kReduced, tag);
  for (int r = 0; r < world_size(); ++r) {
    const Part part = part_of(in_out.size(), r, world_size());
    scatter.outgoing.push_back(
        r == rank() ? Payload{} : to_payload(in_out.subspan(part.begin, part.end - part.begin)));
    scatter.incoming.push_back({.bytes_max = static_cast<int64_t>(own.bytes()), .exact = true});
    gather.incoming.push_back({.bytes_max = static_cast<int64_t>(part.bytes()), .exact = true});
  }
  LACONIC_RETURN_IF_ERROR(run(scatter));
  std::vector<float> mean(own.end - own.begin);
  for (size_t i = 0; i < mean.size(); ++i) {
    double sum = 0;
    for (int r = 0; r < world_size(); ++r) {
      sum += r == rank() ? in_out[own.begin + i] : float_at(*scatter.incoming[at(r)].bytes, i);
    }
    mean[i] = static_cast<float>(sum / world_size());
  }
  gather.outgoing.assign(at(world_size()), to_payload(mean));
  LACONIC_RETURN_IF_ERROR(run(gather));
  std::copy(mean.begin(), mean.end(), in_out.begin() + static_cast<std::ptrdiff_t>(own.begin));
  for (int r = 0; r < world_size(); ++r) {
    const core::ByteBuffer& bytes = *gather.incoming[at(r)].bytes;
    if (r != rank() && bytes.size() > 0) {
      std::memcpy(in_out.data() + part_of(in_out.size(), r, world_size()).begin, bytes.data(),
                  bytes.size());
    }
  }
  return absl::OkStatus();
}

absl::Status Communicator::keep_alive(const OpTag& tag) {
  Frame frame{next_header(FrameKind::kAlive, tag), {}};
  frame.header.payload_crc32c = core::crc32c(frame.payload.bytes());
  for (int to = 0; to < world_size(); ++to) {
    if (to == rank()) {
      continue;
    }
    frame.header.to_rank = static_cast<uint16_t>(to);
    if (absl::Status status = transport_.send(to, frame, absl::Now() + deadline_); !status.ok()) {
      return blame(to, std::move(status));
    }
  }
  return absl::OkStatus();
}

FrameHeader Communicator::next_header(FrameKind kind, const OpTag& tag) const {
  FrameHeader header;
  header.kind = kind;
  header.generation = generation_;
  header.op_sequence = op_sequence_;
  header.round = tag.round;
  header.previous_digest = tag.previous_digest;
  header.from_rank = static_cast<uint16_t>(rank());
  return header;
}

FrameHeader Communicator::start(FrameKind kind, const OpTag& tag) {
  failed_rank_ = -1;
  const FrameHeader header = next_header(kind, tag);
  ++op_sequence_;
  return header;
}

absl::Status Communicator::run(Exchange& exchange) {
  int64_t tiles = 1;
  for (int r = 0; r < world_size(); ++r) {
    tiles = std::max(tiles, tile_count(static_cast<int64_t>(exchange.outgoing[at(r)].size)));
  }
  int64_t sent = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    for (; sent < std::min(tiles, tile + kTilesAhead); ++sent) {
      if (absl::Status status = send_tile(exchange, sent); !status.ok()) {
        return status;
      }
    }
    LACONIC_RETURN_IF_ERROR(receive_tile(exchange, tile));
    for (const Incoming& in : exchange.incoming) {
      tiles = std::max(tiles, tile_count(in.total));
    }
  }
  return absl::OkStatus();
}

absl::Status Communicator::send_tile(const Exchange& exchange, int64_t tile) {
  // Starting at the next rank spreads the load: not all ranks send to rank 0 first.
  for (int step = 1; step < world_size(); ++step) {
    const int to = (rank() + step) % world_size();
    const Payload& payload = exchange.outgoing[at(to)];
    const int64_t total = static_cast<int64_t>(payload.size);
    if (tile >= tile_count(total)) {
      continue;
    }
    Frame frame{exchange.header, payload.slice(static_cast<size_t>(tile * kFramePayloadBytesMax),
                                               static_cast<size_t>(tile_bytes(total, tile)))};
    frame.header.to_rank = static_cast<uint16_t>(to);
    frame.header.tile = static_cast<uint32_t>(tile);
    frame.header.payload_bytes_total = static_cast<uint64_t>(total);
    frame.header.payload_bytes = static_cast<uint32_t>(frame.payload.size);
    frame.header.payload_crc32c = core::crc32c(frame.payload.bytes());
    if (absl::Status status = transport_.send(to, std::move(frame), absl::Now() + deadline_);
        !status.ok()) {
      return blame(to, std::move(status));
    }
  }
  return absl::OkStatus();
}

absl::Status Communicator::receive_tile(Exchange& exchange, int64_t tile) {
  for (int from = 0; from < world_size(); ++from) {
    Incoming& in = exchange.incoming[at(from)];
    if (from == rank() || (in.total >= 0 && tile >= tile_count(in.total))) {
      continue;
    }
    absl::StatusOr<Frame> frame = receive_current(exchange, from);
    if (!frame.ok()) {
      return blame(from, frame.status());
    }
    if (absl::Status status = accept(exchange, *frame, tile, in); !status.ok()) {
      return blame(from, std::move(status));
    }
  }
  return absl::OkStatus();
}

// The next frame from a peer that is not left over from an earlier generation and is no mere sign
// of life. The deadline starts anew with each.
absl::StatusOr<Frame> Communicator::receive_current(const Exchange& exchange, int from) {
  for (int passed_over = 0; passed_over <= kPassedOverMax; ++passed_over) {
    LACONIC_ASSIGN_OR_RETURN(Frame frame, transport_.receive(from, absl::Now() + deadline_));
    if (frame.header.from_rank != from || frame.header.to_rank != rank()) {
      return absl::DataLossError(absl::StrCat(
          "frame on the stream from rank ", from, " to rank ", rank(), " says it goes from rank ",
          frame.header.from_rank, " to rank ", frame.header.to_rank));
    }
    if (frame.header.generation < generation_) {
      ++stale_frames_;
      continue;
    }
    if (frame.header.kind != FrameKind::kAlive) {
      return frame;
    }
    LACONIC_RETURN_IF_ERROR(check_place(frame.header, exchange.header));
  }
  return absl::DeadlineExceededError(
      absl::StrCat("rank ", from, " sent ", kPassedOverMax, " frames that say nothing new"));
}

absl::Status Communicator::accept(const Exchange& exchange, const Frame& frame, int64_t tile,
                                  Incoming& in) {
  LACONIC_RETURN_IF_ERROR(check_place(frame.header, exchange.header));
  const int64_t total = static_cast<int64_t>(frame.header.payload_bytes_total);
  if (frame.header.tile != tile || (in.total >= 0 && total != in.total)) {
    return absl::DataLossError(absl::StrCat("rank ", frame.header.from_rank, " sent tile ",
                                            frame.header.tile, " of ", total, " bytes where tile ",
                                            tile, " was due"));
  }
  if (total > in.bytes_max || (in.exact && total != in.bytes_max)) {
    return absl::DataLossError(absl::StrCat("rank ", frame.header.from_rank, " sends ", total,
                                            " bytes, ", in.exact ? "due are " : "the limit is ",
                                            in.bytes_max));
  }
  if (absl::Status status = check_payload(frame.header, frame.payload.bytes()); !status.ok()) {
    return absl::DataLossError(
        absl::StrCat("from rank ", frame.header.from_rank, ": ", status.message()));
  }
  in.total = total;
  in.bytes->resize(static_cast<size_t>(total));
  const std::span<const uint8_t> bytes = frame.payload.bytes();
  if (!bytes.empty()) {
    std::memcpy(in.bytes->data() + tile * kFramePayloadBytesMax, bytes.data(), bytes.size());
  }
  return absl::OkStatus();
}

absl::Status Communicator::blame(int rank, absl::Status status) {
  const int lost = transport_.lost_rank();
  failed_rank_ = status.code() == absl::StatusCode::kUnavailable && lost >= 0 ? lost : rank;
  return status;
}

}  // namespace laconic::collective
