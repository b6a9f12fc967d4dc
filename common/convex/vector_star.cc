#include "common/convex/vector_star.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"
#include "common/core/vector_math.h"

namespace laconic::convex {

VectorStar::VectorStar(collective::Communicator& communicator, int anchor, int64_t dimension)
    : communicator_(communicator),
      star_(communicator, anchor),
      floats_(static_cast<size_t>(dimension)) {}

absl::StatusOr<collective::Payload> VectorStar::encode(const compress::Codec& codec, uint64_t seed,
                                                       std::span<const double> v) {
  std::transform(v.begin(), v.end(), floats_.begin(),
                 [](double value) { return static_cast<float>(value); });
  const auto bytes =
      std::make_shared<core::ByteBuffer>(static_cast<size_t>(codec.payload_bytes_max()));
  compress::EncodeState state;
  state.seed = seed;
  LACONIC_ASSIGN_OR_RETURN(const size_t size,
                           codec.encode(floats_, state, {bytes->data(), bytes->size()}));
  bytes->resize(size);
  return collective::Payload(bytes);
}

absl::Status VectorStar::decode(const compress::Codec& codec, std::span<const uint8_t> payload) {
  return codec.decode(payload, floats_);
}

absl::Status VectorStar::broadcast(const compress::Codec& codec, uint64_t seed,
                                   std::span<double> v) {
  collective::Payload payload;
  last_word_ = absl::Now();
  if (is_anchor()) {
    LACONIC_ASSIGN_OR_RETURN(payload, encode(codec, seed, v));
  }
  LACONIC_ASSIGN_OR_RETURN(payload, star_.broadcast(payload, codec.payload_bytes_max(), tag()));
  ++operations_;
  LACONIC_RETURN_IF_ERROR(decode(codec, payload.bytes()));
  std::copy(floats_.begin(), floats_.end(), v.begin());
  digest_ = core::digest(floats_);
  traffic_.down_bytes += static_cast<int64_t>(payload.size);
  return absl::OkStatus();
}

absl::Status VectorStar::round_trip(const compress::Codec& codec, uint64_t seed,
                                    std::span<const double> v, std::span<double> out) {
  LACONIC_ASSIGN_OR_RETURN(const collective::Payload payload, encode(codec, seed, v));
  LACONIC_RETURN_IF_ERROR(decode(codec, payload.bytes()));
  std::copy(floats_.begin(), floats_.end(), out.begin());
  return absl::OkStatus();
}

absl::Status VectorStar::keep_alive(absl::Duration interval) {
  if (!is_anchor() || absl::Now() - last_word_ < interval) {
    return absl::OkStatus();
  }
  last_word_ = absl::Now();
  return communicator_.keep_alive(tag());
}

absl::StatusOr<double> VectorStar::broadcast(double value) {
  last_word_ = absl::Now();
  std::vector<uint8_t> own(sizeof(value));
  std::memcpy(own.data(), &value, sizeof(value));
  LACONIC_ASSIGN_OR_RETURN(
      const collective::Payload payload,
      star_.broadcast(collective::Payload(std::move(own)), sizeof(value), tag()));
  ++operations_;
  if (payload.size != sizeof(value)) {
    return absl::DataLossError(absl::StrCat("the anchor sent a number of ", payload.size,
                                            " bytes, it has ", sizeof(value)));
  }
  std::memcpy(&value, payload.data, sizeof(value));
  traffic_.down_bytes += static_cast<int64_t>(payload.size);
  return value;
}

absl::StatusOr<collective::Payload> VectorStar::say(const compress::Codec& codec,
                                                    const Message& message) {
  std::vector<double> w(message.v.begin(), message.v.end());
  if (!message.residual.empty()) {
    core::add_scaled(1, message.residual, w);
  }
  collective::Payload payload;
  std::fill(floats_.begin(), floats_.end(), 0.0F);
  const bool silent = message.skip || core::dot(w, w) <= message.silent_below;
  if (!silent) {
    LACONIC_ASSIGN_OR_RETURN(payload, encode(codec, message.seed, w));
    LACONIC_RETURN_IF_ERROR(decode(codec, payload.bytes()));
  }
  if (!message.sent.empty()) {
    std::copy(floats_.begin(), floats_.end(), message.sent.begin());
  }
  if (!message.residual.empty()) {
    std::transform(w.begin(), w.end(), floats_.begin(), message.residual.begin(),
                   [](double value, float said) { return value - said; });
  }
  return payload;
}

absl::Status VectorStar::gather_sum(const compress::Codec& codec, const Message& message,
                                    std::span<double> sum) {
  collective::Payload own;
  if (!is_anchor()) {
    LACONIC_ASSIGN_OR_RETURN(own, say(codec, message));
    traffic_.up_bytes += static_cast<int64_t>(own.size);
    ++(own.size == 0 ? traffic_.skipped_messages : traffic_.up_messages);
  }
  LACONIC_ASSIGN_OR_RETURN(const std::vector<collective::Payload> all,
                           star_.gather(own, codec.payload_bytes_max(), tag()));
  ++operations_;
  ++traffic_.gathers;
  if (!is_anchor()) {
    return absl::OkStatus();
  }
  std::fill(sum.begin(), sum.end(), 0.0);
  for (int rank = 0; rank < world_size(); ++rank) {
    const collective::Payload& payload = all[static_cast<size_t>(rank)];
    if (rank == star_.anchor()) {
      continue;
    }
    ++(payload.size == 0 ? traffic_.skipped_messages : traffic_.up_messages);
    if (payload.size == 0) {
      continue;
    }
    if (absl::Status status = decode(codec, payload.bytes()); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("payload from rank ", rank, ": ", status.message()));
    }
    std::transform(sum.begin(), sum.end(), floats_.begin(), sum.begin(),
                   [](double total, float value) { return total + value; });
  }
  return absl::OkStatus();
}

}  // namespace laconic::convex
