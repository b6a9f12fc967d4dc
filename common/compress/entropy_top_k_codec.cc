#include "common/compress/entropy_top_k_codec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/positions.h"
#include "common/compress/range_coder.h"
#include "common/compress/rice_positions.h"
#include "common/core/bits.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

constexpr uint8_t kRicePositions = 1;
constexpr uint8_t kCodedValues = 2;
constexpr uint8_t kModes = 4;
constexpr int kFloatBits = 32;

core::CodecSpec without_entropy(core::CodecSpec spec) {
  spec.entropy = false;
  return spec;
}

std::vector<uint8_t> unpacked(std::span<const uint8_t> codes, int bits, int64_t count) {
  core::BitReader reader(codes);
  std::vector<uint8_t> symbols(static_cast<size_t>(count));
  for (uint8_t& symbol : symbols) {
    symbol = static_cast<uint8_t>(reader.get(bits));
  }
  return symbols;
}

// Appends to `out`.
void pack(std::span<const uint8_t> symbols, int bits, std::vector<uint8_t>& out) {
  core::BitWriter writer(out);
  for (const uint8_t symbol : symbols) {
    writer.put(symbol, bits);
  }
  writer.finish();
}

}  // namespace

EntropyTopKCodec::EntropyTopKCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : inner_(without_entropy(spec), layout),
      spec_(without_entropy(spec)),
      kept_max_(core::kept_elements_max(spec.density, layout.elements())) {}

absl::StatusOr<size_t> EntropyTopKCodec::encode(std::span<const float> a, EncodeState& state,
                                                std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  std::vector<uint8_t> inner(static_cast<size_t>(inner_.payload_bytes_max()));
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, inner_.encode(a, state, inner));
  return close(std::span(inner).first(bytes), out);
}

absl::StatusOr<size_t> EntropyTopKCodec::encode_sum(std::span<const float> v, float decay,
                                                    std::span<float> a, EncodeState& state,
                                                    std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  std::vector<uint8_t> inner(static_cast<size_t>(inner_.payload_bytes_max()));
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, inner_.encode_sum(v, decay, a, state, inner));
  return close(std::span(inner).first(bytes), out);
}

absl::StatusOr<size_t> EntropyTopKCodec::close(std::span<const uint8_t> inner,
                                               std::span<uint8_t> out) const {
  LACONIC_ASSIGN_OR_RETURN(const PositionSection section,
                           measure_positions(inner, elements(), kept_max_));
  std::vector<uint32_t> positions(static_cast<size_t>(section.kept));
  LACONIC_RETURN_IF_ERROR(decode_positions(inner.first(section.bytes), elements(), positions));
  uint8_t mode = 0;
  size_t at = core::kEntropyModeBytes;
  const auto append = [&](std::span<const uint8_t> bytes) {
    std::copy(bytes.begin(), bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
    at += bytes.size();
  };
  const std::vector<uint8_t> rice = encode_rice_positions(positions, elements());
  if (rice.size() < section.bytes) {
    mode |= kRicePositions;
    append(rice);
  } else {
    append(inner.first(section.bytes));
  }
  std::span<const uint8_t> values = inner.subspan(section.bytes);
  if (section.kept > 0 && spec_.bits != kFloatBits) {
    const auto scales = static_cast<size_t>(core::top_k_scale_bytes(spec_, section.kept));
    append(values.first(scales));
    values = values.subspan(scales);
    const std::vector<uint8_t> coded =
        range_encode(unpacked(values, spec_.bits, section.kept), values.size(),
                     /*symbols=*/size_t{1} << spec_.bits);
    mode |= coded.empty() ? uint8_t{0} : kCodedValues;
    append(coded.empty() ? values : std::span<const uint8_t>(coded));
  } else {
    append(values);
  }
  out[0] = mode;
  return at;
}

absl::StatusOr<std::vector<uint8_t>> EntropyTopKCodec::open(
    std::span<const uint8_t> payload) const {
  if (payload.empty() || payload[0] >= kModes ||
      static_cast<int64_t>(payload.size()) > payload_bytes_max()) {
    return absl::DataLossError(absl::StrCat("payload: ", payload.size(), " bytes, must be 1..",
                                            payload_bytes_max(), " with a mode of 0..3"));
  }
  const uint8_t mode = payload[0];
  std::span<const uint8_t> rest = payload.subspan(core::kEntropyModeBytes);
  std::vector<uint8_t> inner;
  int64_t kept = 0;
  if ((mode & kRicePositions) != 0) {
    LACONIC_ASSIGN_OR_RETURN(const RicePositions rice,
                             decode_rice_positions(rest, elements(), kept_max_));
    kept = static_cast<int64_t>(rice.positions.size());
    inner.resize(static_cast<size_t>(inner_.payload_bytes_max()));
    inner.resize(encode_positions(rice.positions, elements(), inner));
    rest = rest.subspan(rice.bytes);
  } else {
    LACONIC_ASSIGN_OR_RETURN(const PositionSection section,
                             measure_positions(rest, elements(), kept_max_));
    kept = section.kept;
    inner.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(section.bytes));
    rest = rest.subspan(section.bytes);
  }
  if ((mode & kCodedValues) == 0) {
    inner.insert(inner.end(), rest.begin(), rest.end());
    return inner;
  }
  const auto scales = static_cast<size_t>(core::top_k_scale_bytes(spec_, kept));
  if (kept == 0 || spec_.bits == kFloatBits || rest.size() < scales) {
    return absl::DataLossError(absl::StrCat("payload: entropy-coded values of ", kept,
                                            " elements in ", spec_.bits, " bits, ", rest.size(),
                                            " bytes where scales take ", scales));
  }
  inner.insert(inner.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(scales));
  rest = rest.subspan(scales);
  std::vector<uint8_t> symbols(static_cast<size_t>(kept));
  LACONIC_ASSIGN_OR_RETURN(const size_t used,
                           range_decode(rest, symbols, /*symbols=*/size_t{1} << spec_.bits));
  if (used != rest.size()) {
    return absl::DataLossError(
        absl::StrCat("payload: ", rest.size() - used, " bytes behind the entropy code"));
  }
  pack(symbols, spec_.bits, inner);
  return inner;
}

absl::Status EntropyTopKCodec::decode(std::span<const uint8_t> payload,
                                      std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements()));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> inner, open(payload));
  return inner_.decode(inner, out);
}

absl::Status EntropyTopKCodec::decode_add(std::span<const uint8_t> payload, float sign,
                                          std::span<float> sum) const {
  LACONIC_RETURN_IF_ERROR(check_output(sum, elements()));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> inner, open(payload));
  return inner_.decode_add(inner, sign, sum);
}

}  // namespace laconic::compress
