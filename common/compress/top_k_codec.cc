#include "common/compress/top_k_codec.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/compress/exponential_codec.h"
#include "common/compress/input_check.h"
#include "common/compress/positions.h"
#include "common/compress/sparse_mean.h"
#include "common/compress/value_coder.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

constexpr int32_t kRoundsPerExact = 32;

// Elements between a scattered write and the line fetched for a later one.
constexpr size_t kScatterAhead = 64;

// What one encode or decode needs, O(k), kept by the thread for the next one.
struct Scratch {
  TopKSelector selector;
  std::vector<uint32_t> positions;  // of one or more payloads, one after the other
  std::vector<float> values;
};

Scratch& scratch() {
  static thread_local Scratch memory;
  return memory;
}

ValueCoder coder_of(core::ValueCode code, int64_t kept) {
  return {code, even_groups(kept, code == core::ValueCode::kFloat32 ? kept : core::kTopKGroup)};
}

ExponentialCodec exponential_coder(core::CodecSpec spec, size_t kept) {
  spec.kind = core::CodecKind::kExponential;
  return {spec, {.tensors = {{.name = "kept", .rows = 1, .columns = static_cast<int64_t>(kept)}}}};
}

// The next round's threshold: see the head of top_k_codec.h.
void update_threshold(bool exact, const TopKSelector& selector, int64_t k, EncodeState& state) {
  if (exact) {
    state.threshold = std::bit_cast<float>(selector.smallest());
    state.threshold_age = 0;
    return;
  }
  ++state.threshold_age;
  if (5 * static_cast<int64_t>(selector.positions().size()) < 4 * k) {
    state.threshold = 0;
  }
}

// Calls update(i, x) with the element x of `vector` at positions[i]. The machine sees no pattern in
// such places, so they are fetched ahead.
template <typename Update>
void for_each_kept(std::span<const uint32_t> positions, std::span<float> vector, Update update) {
  const size_t count = positions.size();
  for (size_t i = 0; i < count; ++i) {
    __builtin_prefetch(&vector[positions[std::min(i + kScatterAhead, count - 1)]], 1);
    update(i, vector[positions[i]]);
  }
}

absl::Status check_addend(std::span<const float> v, std::span<const float> a) {
  return v.size() == a.size() ? absl::OkStatus()
                              : absl::InvalidArgumentError(absl::StrCat(
                                    "encode: ", v.size(), " elements to add to ", a.size()));
}

}  // namespace

TopKCodec::TopKCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : elements_(layout.elements()),
      kept_(core::kept_elements(spec.density, elements_)),
      kept_max_(core::kept_elements_max(spec.density, elements_)),
      spec_(spec),
      payload_bytes_max_(core::payload_bytes_max(spec, layout)),
      payload_bytes_expected_(core::payload_bytes_expected(spec, layout)) {}

absl::StatusOr<size_t> TopKCodec::encode(std::span<const float> a, EncodeState& state,
                                         std::span<uint8_t> out) const {
  return encode_source({.a = a}, state, out);
}

absl::StatusOr<size_t> TopKCodec::encode_sum(std::span<const float> v, float decay,
                                             std::span<float> a, EncodeState& state,
                                             std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_addend(v, a));
  return encode_source({.a = a, .v = v, .sum = a, .decay = decay}, state, out);
}

absl::StatusOr<size_t> TopKCodec::encode_sum_measured(std::span<const float> v, float decay,
                                                      std::span<float> a, EncodeState& state,
                                                      std::span<uint8_t> out,
                                                      EncodeSquares& squares) const {
  LACONIC_RETURN_IF_ERROR(check_addend(v, a));
  squares = {};
  return encode_source({.a = a, .v = v, .sum = a, .decay = decay, .squares = &squares}, state, out);
}

absl::StatusOr<size_t> TopKCodec::encode_source(const SelectSource& source, EncodeState& state,
                                                std::span<uint8_t> out) const {
  if (static_cast<int64_t>(source.a.size()) != elements_) {
    return check_input(source.a, elements_);
  }
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max_));
  Scratch& memory = scratch();
  TopKSelector& selector = memory.selector;
  bool exact = elements_ < core::kTopKChunk || !(state.threshold > 0) ||
               state.threshold_age + 1 >= kRoundsPerExact;
  if (exact) {
    selector.select_exact(source, kept_);
  } else {
    exact =
        !selector.select_above(source, std::bit_cast<uint32_t>(state.threshold), kept_, kept_max_);
  }
  if (!selector.finite()) {
    return check_input(source.a, elements_);
  }
  update_threshold(exact, selector, kept_, state);
  const size_t bytes = encode_positions(selector.positions(), elements_, out);
  const std::span<const float> values = selector.values();
  if (values.empty()) {
    return bytes;
  }
  const auto kept = static_cast<int64_t>(values.size());
  const auto value_bytes = static_cast<size_t>(core::top_k_value_bytes(spec_, kept));
  LACONIC_RETURN_IF_ERROR(encode_values(values, out.subspan(bytes, value_bytes)));
  return bytes + value_bytes;
}

absl::Status TopKCodec::encode_values(std::span<const float> values, std::span<uint8_t> out) const {
  if (spec_.exponential) {
    EncodeState state;
    return exponential_coder(spec_, values.size()).encode(values, state, out).status();
  }
  if (!coder_of(core::value_code(spec_), static_cast<int64_t>(values.size())).encode(values, out)) {
    return absl::InternalError("top-k: a value is not finite after the selection found it so");
  }
  return absl::OkStatus();
}

absl::Status TopKCodec::decode_values(std::span<const uint8_t> section,
                                      std::span<float> values) const {
  if (spec_.exponential) {
    return exponential_coder(spec_, values.size()).decode(section, values);
  }
  return coder_of(core::value_code(spec_), static_cast<int64_t>(values.size()))
      .decode(section, values);
}

absl::StatusOr<TopKCodec::Kept> TopKCodec::decode_kept(std::span<const uint8_t> payload,
                                                       size_t before) const {
  LACONIC_ASSIGN_OR_RETURN(const PositionSection section,
                           measure_positions(payload, elements_, kept_max_));
  const auto value_bytes = static_cast<size_t>(core::top_k_value_bytes(spec_, section.kept));
  if (payload.size() != section.bytes + value_bytes) {
    return absl::DataLossError(absl::StrCat("payload: ", payload.size(), " bytes, with ",
                                            section.kept, " kept it must be ", section.bytes,
                                            " of positions and ", value_bytes, " of values"));
  }
  Scratch& memory = scratch();
  const auto kept = static_cast<size_t>(section.kept);
  if (memory.positions.size() < before + kept) {
    memory.positions.resize(before + static_cast<size_t>(kept_max_));
    memory.values.resize(memory.positions.size());
  }
  const std::span<uint32_t> positions = std::span(memory.positions).subspan(before, kept);
  const std::span<float> values = std::span(memory.values).subspan(before, kept);
  LACONIC_RETURN_IF_ERROR(decode_positions(payload.first(section.bytes), elements_, positions));
  if (kept > 0) {
    LACONIC_RETURN_IF_ERROR(decode_values(payload.subspan(section.bytes), values));
  }
  return Kept{.positions = positions, .values = values};
}

absl::Status TopKCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Kept kept, decode_kept(payload, /*before=*/0));
  std::fill(out.begin(), out.end(), 0.0F);
  for (size_t i = 0; i < kept.positions.size(); ++i) {
    out[kept.positions[i]] = kept.values[i];
  }
  return absl::OkStatus();
}

absl::Status TopKCodec::decode_add(std::span<const uint8_t> payload, float sign,
                                   std::span<float> sum) const {
  LACONIC_RETURN_IF_ERROR(check_output(sum, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Kept kept, decode_kept(payload, /*before=*/0));
  for_each_kept(kept.positions, sum, [&](size_t i, float& x) { x += sign * kept.values[i]; });
  return absl::OkStatus();
}

absl::StatusOr<double> TopKCodec::take_away(std::span<const uint8_t> payload, double squares,
                                            std::span<float> a) const {
  LACONIC_RETURN_IF_ERROR(check_output(a, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Kept kept, decode_kept(payload, /*before=*/0));
  double gone = 0;
  for_each_kept(kept.positions, a, [&](size_t i, float& x) {
    const auto before = static_cast<double>(x);
    x -= kept.values[i];
    const auto after = static_cast<double>(x);
    gone += (before - after) * (before + after);
  });
  // Rounding may leave less than nothing.
  return std::max(0.0, squares - gone);
}

absl::Status TopKCodec::decode_mean(std::span<const std::span<const uint8_t>> payloads,
                                    std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  // All payloads are checked before anything is written.
  std::vector<size_t> ends;
  size_t kept = 0;
  for (size_t r = 0; r < payloads.size(); ++r) {
    const absl::StatusOr<Kept> decoded = decode_kept(payloads[r], kept);
    if (!decoded.ok()) {
      return payload_error(r, decoded.status());
    }
    kept += decoded->positions.size();
    ends.push_back(kept);
  }
  mean_of_kept({.positions = scratch().positions, .values = scratch().values, .ends = ends}, out);
  return absl::OkStatus();
}

}  // namespace laconic::compress
