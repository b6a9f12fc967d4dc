#include "common/compress/top_k_codec.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/positions.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

// The bits of a float without its sign grow with its magnitude.
uint32_t magnitude_bits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7FFFFFFFU;
}

constexpr int kLowBits = 15;  // 31 bits of a magnitude = 16 high ones, counted first, + 15 low ones

// A bucket, and how many elements it must give beside all those of higher buckets.
struct Cut {
  uint32_t bucket = 0;
  int64_t needed = 0;
};

Cut find_cut(const std::vector<int64_t>& counts, int64_t needed) {
  auto bucket = static_cast<uint32_t>(counts.size() - 1);
  while (counts[bucket] < needed) {
    needed -= counts[bucket];
    --bucket;
  }
  return {.bucket = bucket, .needed = needed};
}

}  // namespace

std::vector<uint32_t> select_top_k(std::span<const float> in, int64_t k) {
  std::vector<int64_t> high_counts(size_t{1} << (31 - kLowBits));
  for (const float x : in) {
    ++high_counts[magnitude_bits(x) >> kLowBits];
  }
  const Cut high = find_cut(high_counts, k);
  std::vector<int64_t> low_counts(size_t{1} << kLowBits);
  for (const float x : in) {
    const uint32_t bits = magnitude_bits(x);
    if (bits >> kLowBits == high.bucket) {
      ++low_counts[bits & ((1U << kLowBits) - 1)];
    }
  }
  const Cut low = find_cut(low_counts, high.needed);
  const uint32_t threshold = (high.bucket << kLowBits) | low.bucket;
  std::vector<uint32_t> positions;
  positions.reserve(static_cast<size_t>(k));
  int64_t ties = low.needed;
  for (size_t i = 0; i < in.size(); ++i) {
    const uint32_t bits = magnitude_bits(in[i]);
    if (bits > threshold || (bits == threshold && ties-- > 0)) {
      positions.push_back(static_cast<uint32_t>(i));
    }
  }
  return positions;
}

TopKCodec::TopKCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : elements_(layout.elements()),
      payload_bytes_max_(core::payload_bytes_max(spec, layout)),
      coder_(core::value_code(spec),
             even_groups(core::kept_elements(spec.density, elements_), core::kTopKGroup)) {}

absl::StatusOr<size_t> TopKCodec::encode(std::span<const float> in, EncodeState& /*state*/,
                                         std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(in, elements_));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max_));
  const std::vector<uint32_t> positions = select_top_k(in, coder_.values());
  std::vector<float> values;
  values.reserve(positions.size());
  for (const uint32_t position : positions) {
    values.push_back(in[position]);
  }
  std::vector<uint8_t> payload;
  payload.reserve(static_cast<size_t>(payload_bytes_max_));
  encode_positions(positions, elements_, payload);
  coder_.encode(values, payload);
  std::copy(payload.begin(), payload.end(), out.begin());
  return payload.size();
}

absl::Status TopKCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  const auto bytes = static_cast<int64_t>(payload.size());
  if (bytes <= coder_.bytes() || bytes > payload_bytes_max_) {
    return absl::DataLossError(absl::StrCat("payload: ", bytes, " bytes, must be ",
                                            coder_.bytes() + 1, "..", payload_bytes_max_));
  }
  const std::span<const uint8_t> section =
      payload.first(static_cast<size_t>(bytes - coder_.bytes()));
  LACONIC_RETURN_IF_ERROR(check_positions_size(section, elements_, coder_.values()));
  std::vector<uint32_t> positions(static_cast<size_t>(coder_.values()));
  std::vector<float> values(positions.size());
  LACONIC_RETURN_IF_ERROR(decode_positions(section, elements_, positions));
  LACONIC_RETURN_IF_ERROR(coder_.decode(payload.subspan(section.size()), values));
  std::fill(out.begin(), out.end(), 0.0F);
  for (size_t i = 0; i < positions.size(); ++i) {
    out[positions[i]] = values[i];
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
