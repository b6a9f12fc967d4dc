#include "common/compress/codec.h"

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/chunked_top_k_codec.h"
#include "common/compress/dense_codec.h"
#include "common/compress/entropy_codec.h"
#include "common/compress/entropy_top_k_codec.h"
#include "common/compress/exponential_codec.h"
#include "common/compress/input_check.h"
#include "common/compress/low_rank_codec.h"
#include "common/compress/natural_codec.h"
#include "common/compress/random_codecs.h"
#include "common/compress/stochastic_quantize_codec.h"
#include "common/compress/top_k_codec.h"
#include "common/core/codec_sizes.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

using core::CodecKind;
using core::CodecSpec;

// The product of a hostile shape may overflow, so it is never formed before it is known to fit.
absl::Status check_layout(const core::Layout& layout) {
  int64_t left = core::kCodecElementsMax;
  for (const core::TensorShape& tensor : layout.tensors) {
    if (tensor.rows < 1 || tensor.columns < 1) {
      return absl::InvalidArgumentError(absl::StrCat("layout: tensor '", tensor.name, "' is ",
                                                     tensor.rows, " x ", tensor.columns,
                                                     ", both must be at least 1"));
    }
    if (tensor.rows > left / tensor.columns) {
      return absl::InvalidArgumentError(absl::StrCat("layout: more than ", core::kCodecElementsMax,
                                                     " elements with tensor '", tensor.name, "'"));
    }
    left -= tensor.elements();
  }
  if (left == core::kCodecElementsMax) {
    return absl::InvalidArgumentError("layout: no elements, a codec needs at least one");
  }
  return absl::OkStatus();
}

absl::Status check_quantize(const CodecSpec& spec) {
  constexpr int64_t kBlockMin = 16;
  constexpr int64_t kBlockMax = 65536;
  if (spec.bits != 8 && spec.bits != 4 && spec.bits != 2 && spec.bits != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("quantize: bits is ", spec.bits, ", allowed: 8, 4, 2, 1"));
  }
  if (spec.stochastic && spec.bits != 8 && spec.bits != 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("quantize: bits is ", spec.bits, " with stochastic, allowed: 8, 4"));
  }
  const bool power = spec.block > 0 && std::has_single_bit(static_cast<uint64_t>(spec.block));
  if (!spec.rows && (!power || spec.block < kBlockMin || spec.block > kBlockMax)) {
    return absl::InvalidArgumentError(absl::StrCat("quantize: block is ", spec.block,
                                                   ", allowed: a power of two in ", kBlockMin, "..",
                                                   kBlockMax));
  }
  return absl::OkStatus();
}

// Of the values of top-k, unless their levels are exponential.
bool is_value_width(int bits) {
  return bits == 32 || bits == 8 || bits == 4 || bits == 2 || bits == 1;
}

absl::Status check_top_k(const CodecSpec& spec) {
  constexpr double kDensityMax = 0.5;
  if (spec.exponential && spec.bits != 4 && spec.bits != 3 && spec.bits != 2) {
    return absl::InvalidArgumentError(absl::StrCat("top-k: value bits is ", spec.bits,
                                                   " with exponential levels, allowed: 4, 3, 2"));
  }
  if (!spec.exponential && !is_value_width(spec.bits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("top-k: value bits is ", spec.bits, ", allowed: 32, 8, 4, 2, 1"));
  }
  // Negated, so that a NaN is refused too.
  if (!(spec.density > 0 && spec.density <= kDensityMax)) {
    return absl::InvalidArgumentError(absl::StrCat("top-k: density is ", spec.density,
                                                   ", allowed: above 0, at most ", kDensityMax));
  }
  return absl::OkStatus();
}

absl::Status check_rand_k(const CodecSpec& spec) {
  constexpr double kDensityMax = 0.5;
  if (!(spec.density > 0 && spec.density <= kDensityMax)) {
    return absl::InvalidArgumentError(absl::StrCat("rand-k: density is ", spec.density,
                                                   ", allowed: above 0, at most ", kDensityMax));
  }
  return absl::OkStatus();
}

absl::Status check_chunked_top_k(const CodecSpec& spec) {
  constexpr int64_t kChunkMin = 64;
  constexpr int64_t kChunkMax = 65536;
  if (!is_value_width(spec.bits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunked top-k: value bits is ", spec.bits, ", allowed: 32, 8, 4, 2, 1"));
  }
  if (spec.chunk < kChunkMin || spec.chunk > kChunkMax ||
      !std::has_single_bit(static_cast<uint64_t>(spec.chunk))) {
    return absl::InvalidArgumentError(absl::StrCat("chunked top-k: chunk is ", spec.chunk,
                                                   ", allowed: a power of two in ", kChunkMin, "..",
                                                   kChunkMax));
  }
  if (spec.per_chunk < 1 || spec.per_chunk > spec.chunk / 4) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunked top-k: kept per chunk is ", spec.per_chunk, ", allowed: 1..", spec.chunk / 4));
  }
  return absl::OkStatus();
}

absl::Status check_exponential(const CodecSpec& spec) {
  if (spec.bits != 4 && spec.bits != 3 && spec.bits != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("exponential levels: bits is ", spec.bits, ", allowed: 4, 3, 2"));
  }
  return absl::OkStatus();
}

absl::Status check_low_rank(const CodecSpec& spec) {
  constexpr int kFactorsMax = 256;
  if (spec.factors < 1 || spec.factors > kFactorsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("low rank: rank is ", spec.factors, ", allowed: 1..", kFactorsMax));
  }
  return absl::OkStatus();
}

absl::Status check_ranks(const CodecSpec& spec) {
  constexpr int kWorldSizeMax = 65535;
  if (spec.world_size < 1 || spec.world_size > kWorldSizeMax || spec.rank < 0 ||
      spec.rank >= spec.world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec: rank ", spec.rank, " of ", spec.world_size,
                     ", allowed: 0..P-1 with P in 1..", kWorldSizeMax));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Codec>> make_entropy_codec(CodecSpec spec,
                                                          const core::Layout& layout) {
  if (spec.kind == CodecKind::kTopK) {
    LACONIC_RETURN_IF_ERROR(check_top_k(spec));
    return std::make_unique<EntropyTopKCodec>(spec, layout);
  }
  spec.entropy = false;
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Codec> inner, make_codec(spec, layout));
  const core::CodeRange range = core::code_range(spec, layout);
  if (range.bytes == 0) {
    return absl::InvalidArgumentError(
        "codec: no entropy stage for this codec, allowed: quantize in 8 or 4 bits, exponential "
        "levels, natural, top-k, chunked top-k with 8 or 4 value bits");
  }
  return std::make_unique<EntropyCodec>(std::move(inner), range);
}

}  // namespace

absl::StatusOr<size_t> Codec::encode_sum(std::span<const float> v, float decay, std::span<float> a,
                                         EncodeState& state, std::span<uint8_t> out) const {
  if (v.size() != a.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("encode: ", v.size(), " elements to add to ", a.size()));
  }
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = decay * a[i] + v[i];
  }
  return encode(a, state, out);
}

absl::Status Codec::decode_add(std::span<const uint8_t> payload, float sign,
                               std::span<float> sum) const {
  std::vector<float> decoded(sum.size());
  LACONIC_RETURN_IF_ERROR(decode(payload, decoded));
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] += sign * decoded[i];
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Codec::encode_sum_measured(std::span<const float> v, float decay,
                                                  std::span<float> a, EncodeState& state,
                                                  std::span<uint8_t> out,
                                                  EncodeSquares& squares) const {
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, encode_sum(v, decay, a, state, out));
  squares = {.v = squared_norm(v), .a = squared_norm(a)};
  return bytes;
}

absl::StatusOr<double> Codec::take_away(std::span<const uint8_t> payload, double /*squares*/,
                                        std::span<float> a) const {
  LACONIC_RETURN_IF_ERROR(decode_add(payload, -1.0F, a));
  return squared_norm(a);
}

absl::Status Codec::decode_mean(std::span<const std::span<const uint8_t>> payloads,
                                std::span<float> out) const {
  for (size_t r = 0; r < payloads.size(); ++r) {
    const absl::Status status =
        r == 0 ? decode(payloads[r], out) : decode_add(payloads[r], 1.0F, out);
    if (!status.ok()) {
      return payload_error(r, status);
    }
  }
  const auto ranks = static_cast<float>(payloads.size());
  for (float& sum : out) {
    sum /= ranks;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> Codec::encode(std::span<const float> a) const {
  std::vector<uint8_t> payload(static_cast<size_t>(payload_bytes_max()));
  EncodeState state;
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, encode(a, state, payload));
  payload.resize(bytes);
  return payload;
}

absl::StatusOr<std::unique_ptr<Codec>> make_codec(const CodecSpec& spec,
                                                  const core::Layout& layout) {
  LACONIC_RETURN_IF_ERROR(check_layout(layout));
  LACONIC_RETURN_IF_ERROR(check_ranks(spec));
  if (spec.entropy) {
    return make_entropy_codec(spec, layout);
  }
  switch (spec.kind) {
    case CodecKind::kNone:
      return std::make_unique<DenseCodec>(spec, layout);
    case CodecKind::kQuantize:
      LACONIC_RETURN_IF_ERROR(check_quantize(spec));
      if (spec.stochastic) {
        return std::make_unique<StochasticQuantizeCodec>(spec, layout);
      }
      return std::make_unique<DenseCodec>(spec, layout);
    case CodecKind::kTopK:
      LACONIC_RETURN_IF_ERROR(check_top_k(spec));
      return std::make_unique<TopKCodec>(spec, layout);
    case CodecKind::kRandK:
      LACONIC_RETURN_IF_ERROR(check_rand_k(spec));
      return std::make_unique<RandKCodec>(spec, layout);
    case CodecKind::kPermK:
      return std::make_unique<PermKCodec>(spec, layout);
    case CodecKind::kChunkedTopK:
      LACONIC_RETURN_IF_ERROR(check_chunked_top_k(spec));
      return std::make_unique<ChunkedTopKCodec>(spec, layout);
    case CodecKind::kExponential:
      LACONIC_RETURN_IF_ERROR(check_exponential(spec));
      return std::make_unique<ExponentialCodec>(spec, layout);
    case CodecKind::kLowRank:
      LACONIC_RETURN_IF_ERROR(check_low_rank(spec));
      return std::make_unique<LowRankCodec>(spec, layout);
    case CodecKind::kNatural:
      return std::make_unique<NaturalCodec>(spec, layout);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("codec: unknown kind ", static_cast<int>(spec.kind)));
}

}  // namespace laconic::compress
