#include "common/compress/random_codecs.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/random_subset.h"
#include "common/core/codec_sizes.h"
#include "common/core/payload_size.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

constexpr uint64_t kShiftStream = 2;

// What a payload says, checked.
struct Sparse {
  std::vector<uint32_t> positions;
  std::vector<float> values;
};

// The product in double, then one rounding; what would be infinite becomes the largest float32.
// Adding 0 makes 0 of -0, so that equal numbers give equal bytes.
float scale_value(float value, double factor) {
  constexpr auto kMost = static_cast<double>(std::numeric_limits<float>::max());
  return static_cast<float>(std::clamp(static_cast<double>(value) * factor, -kMost, kMost) + 0.0);
}

// Writes in[positions] times `factor`; returns the bytes. factor 1 keeps every bit.
size_t put_values(std::span<const float> in, const std::vector<uint32_t>& positions, double factor,
                  uint8_t* out) {
  for (size_t i = 0; i < positions.size(); ++i) {
    const float value = scale_value(in[positions[i]], factor);
    std::memcpy(out + i * sizeof value, &value, sizeof value);
  }
  return positions.size() * sizeof(float);
}

absl::StatusOr<std::vector<float>> get_values(std::span<const uint8_t> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!bytes.empty()) {  // A part may be; memcpy refuses the null of an empty vector.
    std::memcpy(values.data(), bytes.data(), bytes.size());
  }
  if (!all_finite(values)) {
    return absl::DataLossError("payload: a value is not finite");
  }
  return values;
}

template <typename Number>
Number load(std::span<const uint8_t> bytes, size_t offset) {
  Number number;
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

void scatter(const Sparse& sparse, std::span<float> out) {
  std::fill(out.begin(), out.end(), 0.0F);
  for (size_t i = 0; i < sparse.values.size(); ++i) {
    out[sparse.positions[i]] = sparse.values[i];
  }
}

void scatter_add(const Sparse& sparse, float sign, std::span<float> sum) {
  for (size_t i = 0; i < sparse.values.size(); ++i) {
    sum[sparse.positions[i]] += sign * sparse.values[i];
  }
}

absl::StatusOr<Sparse> read_rand_k(std::span<const uint8_t> payload, int64_t elements,
                                   int64_t kept) {
  const int64_t bytes = core::kSeedBytes + kept * static_cast<int64_t>(sizeof(float));
  if (static_cast<int64_t>(payload.size()) != bytes) {
    return absl::DataLossError(
        absl::StrCat("payload: ", payload.size(), " bytes, rand-k of ", kept, " must be ", bytes));
  }
  Sparse sparse;
  LACONIC_ASSIGN_OR_RETURN(sparse.values, get_values(payload.subspan(core::kSeedBytes)));
  sparse.positions = random_subset(load<uint64_t>(payload, 0), elements, kept);
  return sparse;
}

absl::StatusOr<Sparse> read_perm_k(std::span<const uint8_t> payload, int64_t elements,
                                   int64_t parts) {
  constexpr size_t kHeader = core::kSeedBytes + core::kPartBytes;
  if (payload.size() < kHeader) {
    return absl::DataLossError(
        absl::StrCat("payload: ", payload.size(), " bytes, perm-k has at least ", kHeader));
  }
  const int64_t part = load<uint32_t>(payload, core::kSeedBytes);
  if (part >= parts) {
    return absl::DataLossError(absl::StrCat("payload: part ", part, " of ", parts));
  }
  const int64_t size =
      core::part_begin(elements, part + 1, parts) - core::part_begin(elements, part, parts);
  const std::span<const uint8_t> body = payload.subspan(kHeader);
  if (body.size() != static_cast<size_t>(size) * sizeof(float)) {
    return absl::DataLossError(absl::StrCat("payload: ", body.size(), " bytes of values in part ",
                                            part, ", must be ", 4 * size));
  }
  Sparse sparse;
  LACONIC_ASSIGN_OR_RETURN(sparse.values, get_values(body));
  sparse.positions = random_part(load<uint64_t>(payload, 0), elements, part, parts);
  return sparse;
}

}  // namespace

RandKCodec::RandKCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : elements_(layout.elements()),
      kept_(core::kept_elements(spec.density, elements_)),
      payload_bytes_(core::payload_bytes_max(spec, layout)),
      scaled_(spec.scaled) {}

absl::StatusOr<size_t> RandKCodec::encode(std::span<const float> a, EncodeState& state,
                                          std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(a, elements_));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_));
  const double factor = scaled_ ? static_cast<double>(elements_) / static_cast<double>(kept_) : 1.0;
  std::memcpy(out.data(), &state.seed, core::kSeedBytes);
  return core::kSeedBytes + put_values(a, random_subset(state.seed, elements_, kept_), factor,
                                       out.data() + core::kSeedBytes);
}

absl::Status RandKCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Sparse sparse, read_rand_k(payload, elements_, kept_));
  scatter(sparse, out);
  return absl::OkStatus();
}

absl::Status RandKCodec::decode_add(std::span<const uint8_t> payload, float sign,
                                    std::span<float> sum) const {
  LACONIC_RETURN_IF_ERROR(check_output(sum, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Sparse sparse, read_rand_k(payload, elements_, kept_));
  scatter_add(sparse, sign, sum);
  return absl::OkStatus();
}

PermKCodec::PermKCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : elements_(layout.elements()),
      rank_(spec.rank),
      parts_(spec.world_size),
      payload_bytes_max_(core::payload_bytes_max(spec, layout)),
      scaled_(spec.scaled) {}

absl::StatusOr<size_t> PermKCodec::encode(std::span<const float> a, EncodeState& state,
                                          std::span<uint8_t> out) const {
  constexpr size_t kHeader = core::kSeedBytes + core::kPartBytes;
  LACONIC_RETURN_IF_ERROR(check_input(a, elements_));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max_));
  const auto parts = static_cast<uint64_t>(parts_);
  const uint64_t shift = core::Random(state.seed, kShiftStream).below(parts);
  const auto part = static_cast<uint32_t>((static_cast<uint64_t>(rank_) + shift) % parts);
  std::memcpy(out.data(), &state.seed, core::kSeedBytes);
  std::memcpy(out.data() + core::kSeedBytes, &part, core::kPartBytes);
  return kHeader + put_values(a, random_part(state.seed, elements_, part, parts_),
                              scaled_ ? static_cast<double>(parts_) : 1.0, out.data() + kHeader);
}

absl::Status PermKCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Sparse sparse, read_perm_k(payload, elements_, parts_));
  scatter(sparse, out);
  return absl::OkStatus();
}

absl::Status PermKCodec::decode_add(std::span<const uint8_t> payload, float sign,
                                    std::span<float> sum) const {
  LACONIC_RETURN_IF_ERROR(check_output(sum, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Sparse sparse, read_perm_k(payload, elements_, parts_));
  scatter_add(sparse, sign, sum);
  return absl::OkStatus();
}

}  // namespace laconic::compress
