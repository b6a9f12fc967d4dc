#include "common/collective/dense_mean.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/collective/schedule.h"
#include "common/compress/ordered_mean.h"
#include "common/core/crc32c.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

// A rank is at most L steps ahead of what it has received, and a peer as many behind what it has
// sent; a step has two frames for each peer.
static_assert(int64_t{2} * (2 * kLagMax + 2) * (kFrameHeaderBytes + kFramePayloadBytesMax) <=
              kQueueBytesMax);

constexpr int64_t kTileElements = kFramePayloadBytesMax / static_cast<int64_t>(sizeof(float));

size_t at(int64_t index) {
  return static_cast<size_t>(index);
}

}  // namespace

DenseMean::DenseMean(FrameChannel& channel, compress::BufferPool& tiles, std::span<const float> v,
                     std::span<float> mean, const OpTag& tag)
    : channel_(channel),
      tiles_(tiles),
      v_(v),
      mean_(mean),
      in_place_(v.data() == mean.data()),
      sums_(channel.start(FrameKind::kPart, tag, /*count=*/2)),
      results_(sums_) {
  results_.kind = FrameKind::kReduced;
  ++results_.op_sequence;
  const auto d = static_cast<int64_t>(v.size());
  for (int64_t r = 0; r < channel.world_size(); ++r) {
    Share share{.begin = d * r / channel.world_size()};
    share.elements = d * (r + 1) / channel.world_size() - share.begin;
    share.tiles = tile_count(share.elements * static_cast<int64_t>(sizeof(float)));
    shares_.push_back(share);
  }
  own_.resize(at(shares_[at(channel.rank())].tiles));
}

absl::Status DenseMean::run() {
  int64_t tiles = 0;
  for (const Share& share : shares_) {
    tiles = std::max(tiles, share.tiles);
  }
  const int64_t lag = std::min<int64_t>(tiles - 1, kLagMax);
  for (int64_t step = 0; step <= tiles + 2 * lag; ++step) {
    LACONIC_RETURN_IF_ERROR(send_result(step - lag - 1));
    LACONIC_RETURN_IF_ERROR(send_sums(step));
    LACONIC_RETURN_IF_ERROR(receive_results(step - 2 * lag - 1));
    LACONIC_RETURN_IF_ERROR(reduce(step - lag));
  }
  for (const Waiting& waiting : waiting_) {
    if (waiting.place.count > 0) {
      std::memcpy(mean_.data() + waiting.place.begin, waiting.bytes.data, waiting.bytes.size);
    }
  }
  return absl::OkStatus();
}

// Starting at the next rank spreads the load: not all ranks send to rank 0 first.
absl::Status DenseMean::send_result(int64_t tile) {
  const int rank = channel_.rank();
  if (!has(rank, tile)) {
    return absl::OkStatus();
  }
  const Payload result = std::move(own_[at(tile)]);
  for (int ahead = 1; ahead < channel_.world_size(); ++ahead) {
    const int to = (rank + ahead) % channel_.world_size();
    LACONIC_RETURN_IF_ERROR(channel_.send(to, header_of(results_, rank, tile), result));
  }
  return absl::OkStatus();
}

absl::Status DenseMean::send_sums(int64_t tile) {
  for (int ahead = 1; ahead < channel_.world_size(); ++ahead) {
    const int to = (channel_.rank() + ahead) % channel_.world_size();
    if (!has(to, tile)) {
      continue;
    }
    const Place place = place_of(to, tile);
    LACONIC_RETURN_IF_ERROR(channel_.send(to, header_of(sums_, to, tile),
                                          copy_of(v_.subspan(place.begin, place.count))));
  }
  return absl::OkStatus();
}

absl::Status DenseMean::receive_results(int64_t tile) {
  for (int from = 0; from < channel_.world_size(); ++from) {
    if (from == channel_.rank() || !has(from, tile)) {
      continue;
    }
    LACONIC_ASSIGN_OR_RETURN(
        Payload bytes,
        channel_.receive_tile(from, header_of(results_, from, tile), sums_.op_sequence));
    take(place_of(from, tile), std::move(bytes));
  }
  return absl::OkStatus();
}

absl::Status DenseMean::reduce(int64_t tile) {
  const int rank = channel_.rank();
  if (!has(rank, tile)) {
    return absl::OkStatus();
  }
  const Place place = place_of(rank, tile);
  std::vector<Payload> held;
  std::vector<const uint8_t*> terms;
  for (int from = 0; from < channel_.world_size(); ++from) {
    if (from == rank) {
      terms.push_back(reinterpret_cast<const uint8_t*>(v_.data() + place.begin));
      continue;
    }
    LACONIC_ASSIGN_OR_RETURN(
        Payload sum, channel_.receive_tile(from, header_of(sums_, rank, tile), sums_.op_sequence));
    terms.push_back(sum.data);
    held.push_back(std::move(sum));
  }
  const std::shared_ptr<core::ByteBuffer> mean = tiles_.take();
  mean->resize(place.count * sizeof(float));
  compress::ordered_mean(terms, mean->bytes());
  Payload result(mean);
  result.crc32c = core::crc32c(result.bytes());
  own_[at(tile)] = result;
  take(place, std::move(result));
  return absl::OkStatus();
}

void DenseMean::take(const Place& place, Payload bytes) {
  if (in_place_) {
    waiting_.push_back({place, std::move(bytes)});
  } else if (place.count > 0) {
    std::memcpy(mean_.data() + place.begin, bytes.data, bytes.size);
  }
}

Payload DenseMean::copy_of(std::span<const float> values) {
  const std::shared_ptr<core::ByteBuffer> bytes = tiles_.take();
  bytes->resize(values.size_bytes());
  if (!values.empty()) {
    std::memcpy(bytes->data(), values.data(), values.size_bytes());
  }
  return Payload(bytes);
}

bool DenseMean::has(int owner, int64_t tile) const {
  return tile >= 0 && tile < shares_[at(owner)].tiles;
}

DenseMean::Place DenseMean::place_of(int owner, int64_t tile) const {
  const Share& share = shares_[at(owner)];
  const int64_t skipped = tile * kTileElements;
  return {at(share.begin + skipped), at(std::min(kTileElements, share.elements - skipped))};
}

FrameHeader DenseMean::header_of(const FrameHeader& phase, int owner, int64_t tile) const {
  FrameHeader header = phase;
  header.tile = static_cast<uint32_t>(tile);
  header.payload_bytes_total = static_cast<uint64_t>(shares_[at(owner)].elements) * sizeof(float);
  return header;
}

}  // namespace laconic::collective
