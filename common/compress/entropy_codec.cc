#include "common/compress/entropy_codec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/range_coder.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

constexpr uint8_t kStored = 0;
constexpr uint8_t kCoded = 1;

}  // namespace

EntropyCodec::EntropyCodec(std::unique_ptr<Codec> inner, const core::CodeRange& range)
    : inner_(std::move(inner)), range_(range) {}

int64_t EntropyCodec::payload_bytes_expected() const {
  const auto coded =
      static_cast<int64_t>(range_.expected_share * static_cast<double>(range_.bytes));
  const int64_t others = inner_->payload_bytes_max() - range_.bytes;
  return std::min(payload_bytes_max(),
                  core::kEntropyModeBytes + core::kEntropyTableBytes + others + coded);
}

absl::StatusOr<size_t> EntropyCodec::encode(std::span<const float> a, EncodeState& state,
                                            std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  const auto begin = static_cast<size_t>(range_.begin);
  const auto bytes = static_cast<size_t>(range_.bytes);
  const std::span<uint8_t> body = out.subspan(core::kEntropyModeBytes);
  LACONIC_ASSIGN_OR_RETURN(const size_t inner_bytes, inner_->encode(a, state, body));
  const std::vector<uint8_t> coded = range_encode(body.subspan(begin, bytes), bytes);
  out[0] = coded.empty() ? kStored : kCoded;
  if (coded.empty()) {
    return core::kEntropyModeBytes + inner_bytes;
  }
  const size_t rest = inner_bytes - begin - bytes;
  const std::vector<uint8_t> before(body.begin(), body.begin() + range_.begin);
  auto to = std::copy(coded.begin(), coded.end(), body.begin());
  to = std::copy(before.begin(), before.end(), to);
  // Forward: what is behind the codes only moves to the front.
  const auto behind = body.subspan(begin + bytes, rest);
  std::copy(behind.begin(), behind.end(), to);
  return core::kEntropyModeBytes + coded.size() + before.size() + rest;
}

absl::StatusOr<std::vector<uint8_t>> EntropyCodec::open(std::span<const uint8_t> payload) const {
  if (payload.empty() || payload[0] > kCoded ||
      static_cast<int64_t>(payload.size()) > payload_bytes_max()) {
    return absl::DataLossError(absl::StrCat("payload: ", payload.size(), " bytes, must be 1..",
                                            payload_bytes_max(), " with a mode of 0 or 1"));
  }
  const std::span<const uint8_t> body = payload.subspan(core::kEntropyModeBytes);
  if (payload[0] == kStored) {
    return std::vector<uint8_t>(body.begin(), body.end());
  }
  const auto begin = static_cast<size_t>(range_.begin);
  const auto bytes = static_cast<size_t>(range_.bytes);
  std::vector<uint8_t> inner(static_cast<size_t>(inner_->payload_bytes_max()));
  LACONIC_ASSIGN_OR_RETURN(const size_t used,
                           range_decode(body, std::span(inner).subspan(begin, bytes)));
  const std::span<const uint8_t> others = body.subspan(used);
  if (others.size() != inner.size() - bytes) {
    return absl::DataLossError(absl::StrCat(
        "payload: ", others.size(), " bytes beside the codes, must be ", inner.size() - bytes));
  }
  const auto split = others.begin() + range_.begin;
  std::copy(others.begin(), split, inner.begin());
  std::copy(split, others.end(), inner.begin() + range_.begin + range_.bytes);
  return inner;
}

absl::Status EntropyCodec::decode(std::span<const uint8_t> payload, std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements()));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> inner, open(payload));
  return inner_->decode(inner, out);
}

absl::Status EntropyCodec::decode_add(std::span<const uint8_t> payload, float sign,
                                      std::span<float> sum) const {
  LACONIC_RETURN_IF_ERROR(check_output(sum, elements()));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> inner, open(payload));
  return inner_->decode_add(inner, sign, sum);
}

}  // namespace laconic::compress
