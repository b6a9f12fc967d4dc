#include "common/collective/link_probe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/compress/squared_norm.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

constexpr int kLatencyRuns = 5;
constexpr int kCodecRuns = 3;
// A clock that stands still between two calls must not make an infinite rate.
constexpr double kShortestSeconds = 1e-7;

double seconds_since(std::chrono::steady_clock::time_point start) {
  const std::chrono::duration<double> life = std::chrono::steady_clock::now() - start;
  return std::max(life.count(), kShortestSeconds);
}

absl::StatusOr<double> timed_gather(Communicator& communicator, const Payload& payload,
                                    const OpTag& tag) {
  const auto start = std::chrono::steady_clock::now();
  LACONIC_RETURN_IF_ERROR(
      communicator.all_gather(payload, static_cast<int64_t>(payload.size), tag).status());
  return seconds_since(start);
}

// To and from `peers` at the same time.
absl::StatusOr<double> timed_swap(Communicator& communicator, const std::vector<int>& peers,
                                  const Payload& payload, const OpTag& tag) {
  FrameChannel& channel = communicator.channel();
  const auto total = static_cast<int64_t>(payload.size);
  FrameHeader header = channel.start(FrameKind::kPayload, tag);
  header.payload_bytes_total = payload.size;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t tile = 0; tile < tile_count(total); ++tile) {
    header.tile = static_cast<uint32_t>(tile);
    for (const int to : peers) {
      LACONIC_RETURN_IF_ERROR(
          channel.send(to, header,
                       payload.slice(static_cast<size_t>(tile * kFramePayloadBytesMax),
                                     static_cast<size_t>(tile_bytes(total, tile)))));
    }
  }
  for (int64_t tile = 0; tile < tile_count(total); ++tile) {
    header.tile = static_cast<uint32_t>(tile);
    for (const int from : peers) {
      LACONIC_RETURN_IF_ERROR(channel.receive_tile(from, header, header.op_sequence).status());
    }
  }
  return seconds_since(start);
}

// Latency and rate of what `exchange` of a payload takes, `peers` of which leave each rank.
template <typename TimedExchange>
absl::StatusOr<LinkCost> probe(Communicator& communicator, const OpTag& tag, int64_t payload_bytes,
                               int64_t first_bytes, double peers, const TimedExchange& exchange) {
  LinkCost link;
  link.latency_seconds = std::numeric_limits<double>::max();
  for (int run = 0; run < kLatencyRuns; ++run) {
    LACONIC_ASSIGN_OR_RETURN(const double own, exchange(Payload()));
    // A rank that starts late finds the others' messages there already; the first one waits.
    LACONIC_ASSIGN_OR_RETURN(const double seconds, largest_of_ranks(communicator, own, tag));
    link.latency_seconds = std::min(link.latency_seconds, seconds);
  }
  double seconds_per_byte = std::numeric_limits<double>::max();
  const int64_t largest_probe =
      std::clamp(payload_bytes, first_bytes, std::max(first_bytes, kProbeBytesMax));
  for (int64_t bytes = first_bytes; bytes <= largest_probe; bytes *= 2) {
    const Payload payload(std::vector<uint8_t>(static_cast<size_t>(bytes)));
    LACONIC_ASSIGN_OR_RETURN(const double own, exchange(payload));
    // All ranks must come to the same end of this loop.
    LACONIC_ASSIGN_OR_RETURN(const double seconds, largest_of_ranks(communicator, own, tag));
    const double wire = std::max(seconds - link.latency_seconds, kShortestSeconds);
    seconds_per_byte = std::min(seconds_per_byte, wire / (peers * static_cast<double>(bytes)));
    if (seconds > kProbeSeconds) {
      break;
    }
  }
  link.bytes_per_second = 1 / seconds_per_byte;
  return link;
}

// Box and Muller: any length, the same on all ranks.
std::vector<float> normal_numbers(int64_t count) {
  core::Random random(1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    value = static_cast<float>(radius * std::cos(2 * std::numbers::pi * random.uniform()));
  }
  return values;
}

}  // namespace

absl::StatusOr<std::vector<double>> numbers_of_ranks(Communicator& communicator, double own,
                                                     const OpTag& tag) {
  std::vector<uint8_t> bytes(sizeof(own));
  std::memcpy(bytes.data(), &own, sizeof(own));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<Payload> all,
                           communicator.all_gather(Payload(std::move(bytes)), sizeof(own), tag));
  std::vector<double> numbers;
  for (const Payload& one : all) {
    if (one.size != sizeof(own)) {
      return absl::DataLossError(
          absl::StrCat("probe: a rank sent ", one.size, " bytes, due are ", sizeof(own)));
    }
    double value = 0;
    std::memcpy(&value, one.data, sizeof(value));
    if (!(value >= 0 && value < std::numeric_limits<double>::infinity())) {
      return absl::DataLossError(absl::StrCat("probe: a rank measured ", value));
    }
    numbers.push_back(value);
  }
  return numbers;
}

absl::StatusOr<double> largest_of_ranks(Communicator& communicator, double own, const OpTag& tag) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<double> all, numbers_of_ranks(communicator, own, tag));
  return *std::ranges::max_element(all);
}

absl::StatusOr<LinkCost> probe_links(Communicator& communicator, const OpTag& tag,
                                     int64_t payload_bytes, int64_t first_bytes) {
  return probe(communicator, tag, payload_bytes, first_bytes, communicator.world_size() - 1,
               [&](const Payload& payload) { return timed_gather(communicator, payload, tag); });
}

absl::StatusOr<SiteLinks> probe_sites(Communicator& communicator, const OpTag& tag,
                                      int ranks_per_site, int64_t payload_bytes,
                                      int64_t first_bytes) {
  const int rank = communicator.rank();
  std::vector<int> mates;
  std::vector<int> partners;
  for (int other = 0; other < communicator.world_size(); ++other) {
    if (other == rank) {
      continue;
    }
    if (other / ranks_per_site == rank / ranks_per_site) {
      mates.push_back(other);
    } else if (other % ranks_per_site == rank % ranks_per_site) {
      partners.push_back(other);
    }
  }
  const auto measure = [&](const std::vector<int>& peers) -> absl::StatusOr<LinkCost> {
    if (peers.empty()) {
      return LinkCost{.latency_seconds = 0, .bytes_per_second = 1};
    }
    return probe(
        communicator, tag, payload_bytes, first_bytes, static_cast<double>(peers.size()),
        [&](const Payload& payload) { return timed_swap(communicator, peers, payload, tag); });
  };
  SiteLinks links{.ranks_per_site = ranks_per_site, .inside = {}, .between = {}};
  LACONIC_ASSIGN_OR_RETURN(links.inside, measure(mates));
  LACONIC_ASSIGN_OR_RETURN(links.between, measure(partners));
  return links;
}

absl::StatusOr<CodecCost> probe_codec(Communicator& communicator, const compress::Codec& codec,
                                      int64_t elements, const OpTag& tag) {
  const std::vector<float> values = normal_numbers(codec.elements());
  std::vector<float> sum(values.size());
  std::vector<uint8_t> payload(static_cast<size_t>(codec.payload_bytes_max()));
  double encode = std::numeric_limits<double>::max();
  double decode = encode;
  size_t bytes = 0;
  for (int run = 0; run < kCodecRuns; ++run) {
    compress::EncodeState state;
    auto start = std::chrono::steady_clock::now();
    LACONIC_ASSIGN_OR_RETURN(bytes, codec.encode(values, state, payload));
    encode = std::min(encode, seconds_since(start));
    sum = values;
    start = std::chrono::steady_clock::now();
    LACONIC_RETURN_IF_ERROR(codec.decode_add(std::span(payload).first(bytes), -1.0F, sum));
    decode = std::min(decode, seconds_since(start));
  }
  const double scale = static_cast<double>(elements) / static_cast<double>(codec.elements());
  CodecCost cost;
  LACONIC_ASSIGN_OR_RETURN(cost.encode_seconds,
                           largest_of_ranks(communicator, scale * encode, tag));
  LACONIC_ASSIGN_OR_RETURN(cost.decode_seconds,
                           largest_of_ranks(communicator, scale * decode, tag));
  cost.payload_bytes = static_cast<int64_t>(scale * static_cast<double>(bytes));
  LACONIC_ASSIGN_OR_RETURN(
      cost.error,
      largest_of_ranks(communicator, compress::squared_norm(sum) / compress::squared_norm(values),
                       tag));
  return cost;
}

}  // namespace laconic::collective
