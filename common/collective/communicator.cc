#include "common/collective/communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/collective/dense_mean.h"
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

}  // namespace

Communicator::Communicator(Transport& transport, uint64_t generation, absl::Duration deadline)
    : transport_(transport), channel_(transport, generation, deadline) {}

absl::StatusOr<std::vector<Payload>> Communicator::all_gather(const Payload& payload,
                                                              int64_t payload_bytes_max,
                                                              const OpTag& tag) {
  if (static_cast<int64_t>(payload.size) > payload_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat("all_gather: payload of ", payload.size,
                                                   " bytes, the limit is ", payload_bytes_max));
  }
  Exchange exchange;
  exchange.header = channel_.start(FrameKind::kPayload, tag);
  exchange.outgoing.assign(at(world_size()), payload);
  exchange.incoming.resize(at(world_size()));
  for (Incoming& in : exchange.incoming) {
    in.expected.bytes_max = payload_bytes_max;
  }
  LACONIC_RETURN_IF_ERROR(run(exchange));
  std::vector<Payload> all(at(world_size()));
  for (int r = 0; r < world_size(); ++r) {
    all[at(r)] = r == rank() ? payload : Payload(exchange.incoming[at(r)].bytes);
  }
  return all;
}

absl::StatusOr<Payload> Communicator::broadcast(int root, const Payload& payload,
                                                int64_t payload_bytes_max, const OpTag& tag) {
  if (rank() == root && static_cast<int64_t>(payload.size) > payload_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat("broadcast: payload of ", payload.size,
                                                   " bytes, the limit is ", payload_bytes_max));
  }
  const size_t ranks = at(world_size());
  const int64_t piece_bytes_max = (payload_bytes_max + world_size() - 1) / world_size();
  Exchange scatter;
  scatter.header = channel_.start(FrameKind::kPayload, tag);
  for (size_t r = 0; r < ranks; ++r) {
    const size_t begin = payload.size * r / ranks;
    scatter.outgoing.push_back(
        rank() == root ? payload.slice(begin, payload.size * (r + 1) / ranks - begin) : Payload{});
    const bool empty = static_cast<int>(r) != root;
    scatter.incoming.push_back({.expected = {empty ? 0 : piece_bytes_max, empty}});
  }
  LACONIC_RETURN_IF_ERROR(run(scatter));
  const Payload own =
      rank() == root ? scatter.outgoing[at(root)] : Payload(scatter.incoming[at(root)].bytes);
  LACONIC_ASSIGN_OR_RETURN(const std::vector<Payload> pieces,
                           all_gather(own, piece_bytes_max, tag));
  if (rank() == root) {
    return payload;
  }
  std::vector<uint8_t> whole;
  for (const Payload& piece : pieces) {
    whole.insert(whole.end(), piece.bytes().begin(), piece.bytes().end());
  }
  return Payload(std::move(whole));
}

absl::Status Communicator::all_reduce_mean(std::span<const float> v, std::span<float> mean,
                                           const OpTag& tag) {
  if (v.size() != mean.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "all_reduce_mean: ", v.size(), " elements, room for the mean of ", mean.size()));
  }
  if (world_size() > 1) {
    return DenseMean(channel_, tiles_, v, mean, tag).run();
  }
  std::copy(v.begin(), v.end(), mean.begin());
  return absl::OkStatus();
}

absl::Status Communicator::keep_alive(const OpTag& tag) {
  const FrameHeader header = channel_.next_header(FrameKind::kAlive, tag);
  for (int to = 0; to < world_size(); ++to) {
    if (to == rank()) {
      continue;
    }
    LACONIC_RETURN_IF_ERROR(channel_.send(to, header, {}));
  }
  return absl::OkStatus();
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
    FrameHeader header = exchange.header;
    header.tile = static_cast<uint32_t>(tile);
    header.payload_bytes_total = static_cast<uint64_t>(total);
    LACONIC_RETURN_IF_ERROR(
        channel_.send(to, header,
                      payload.slice(static_cast<size_t>(tile * kFramePayloadBytesMax),
                                    static_cast<size_t>(tile_bytes(total, tile)))));
  }
  return absl::OkStatus();
}

absl::Status Communicator::receive_tile(Exchange& exchange, int64_t tile) {
  for (int from = 0; from < world_size(); ++from) {
    Incoming& in = exchange.incoming[at(from)];
    if (from == rank() || (in.total >= 0 && tile >= tile_count(in.total))) {
      continue;
    }
    LACONIC_ASSIGN_OR_RETURN(const Frame frame,
                             channel_.receive(from, exchange.header, exchange.header.op_sequence));
    if (absl::Status status = in.accept(frame, tile); !status.ok()) {
      return channel_.blame(from, std::move(status));
    }
  }
  return absl::OkStatus();
}

absl::Status Communicator::Incoming::accept(const Frame& frame, int64_t tile) {
  const int from = frame.header.from_rank;
  const auto due = static_cast<int64_t>(frame.header.payload_bytes_total);
  if (frame.header.tile != tile || (total >= 0 && due != total)) {
    return absl::DataLossError(absl::StrCat("rank ", from, " sent tile ", frame.header.tile, " of ",
                                            due, " bytes where tile ", tile, " was due"));
  }
  LACONIC_RETURN_IF_ERROR(check_total(from, due, expected));
  if (absl::Status status = check_payload(frame.header, frame.payload.bytes()); !status.ok()) {
    return absl::DataLossError(absl::StrCat("from rank ", from, ": ", status.message()));
  }
  total = due;
  bytes->resize(static_cast<size_t>(total));
  const std::span<const uint8_t> received = frame.payload.bytes();
  if (!received.empty()) {
    std::memcpy(bytes->data() + tile * kFramePayloadBytesMax, received.data(), received.size());
  }
  return absl::OkStatus();
}

}  // namespace laconic::collective
