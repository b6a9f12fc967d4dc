#include <algorithm>
#include <utility>
#include <vector>

#include "common/compress/codec.h"
#include "common/compress/input_check.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/codec_input.h"
#include "tests/fuzz/targets.h"

namespace laconic::fuzz {
namespace {

using compress::Codec;

// What one SIMD level makes of a payload.
struct Answer {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::vector<float> decoded;
  std::vector<float> doubled;      // with decode_add on top
  std::vector<uint8_t> reencoded;  // of `decoded`
};

// A buffer of exactly the payload's size, so that the sanitizer sees a read behind it.
Answer answer(const Codec& codec, const std::vector<uint8_t>& payload) {
  const auto elements = static_cast<size_t>(codec.elements());
  Answer result;
  result.decoded.assign(elements, -7.0F);
  const absl::Status status = codec.decode(payload, result.decoded);
  check_data_loss_or_ok(status, "decode");
  result.code = status.code();

  std::vector<float> sum(elements, 0.0F);
  const absl::Status added = codec.decode_add(payload, 1.0F, sum);
  check(added.code() == result.code, "decode_add answers as decode: " + added.ToString());
  if (!status.ok()) {
    return result;
  }
  check(compress::all_finite(result.decoded), "what decodes is finite");
  check(std::ranges::equal(sum, result.decoded), "decode_add on zeros is decode");
  check(codec.decode_add(payload, -1.0F, sum).ok(), "decode_add takes a payload away again");
  check(std::ranges::all_of(sum, [](float value) { return value == 0; }), "D - D is 0");
  result.doubled = result.decoded;
  check(codec.decode_add(payload, 1.0F, result.doubled).ok(), "decode_add takes what decode took");

  auto again = codec.encode(result.decoded);
  check(again.ok(), "what was decoded can be encoded: " + again.status().ToString());
  result.reencoded = *std::move(again);
  return result;
}

// What must hold of one payload that was accepted.
void check_accepted(const CodecChoice& choice, const std::vector<uint8_t>& payload,
                    const Answer& answer) {
  const Codec& codec = codec_of(choice);
  const auto bytes = static_cast<int64_t>(payload.size());
  check(bytes <= codec.payload_bytes_max(), "an accepted payload is within payload_bytes_max()");
  check(!codec.fixed_size() || bytes == codec.payload_bytes_max(), "a fixed size is one size");
  std::vector<float> decoded(answer.decoded.size());
  const absl::Status status = codec.decode(answer.reencoded, decoded);
  check(status.ok(), "our own payload decodes: " + status.ToString());
  const core::CodecSpec& spec = spec_of(choice);
  if (spec.kind == core::CodecKind::kNone) {
    check(answer.reencoded == payload, "float32 is copied");
  }
  if (spec.kind == core::CodecKind::kTopK && spec.bits == 32) {
    // At most k elements are not zero, and float32 loses nothing.
    check(std::ranges::equal(decoded, answer.decoded), "top-k of what top-k kept is the same");
  }
}

}  // namespace

bool codec_decode(Bytes bytes) {
  Input input(bytes);
  const CodecChoice choice = take_choice(input);
  const Codec& codec = codec_of(choice);
  const Bytes rest = input.rest();
  const std::vector<uint8_t> payload(rest.begin(), rest.end());
  Answer scalar;
  for (const compress::SimdLevel level : simd_levels()) {
    compress::force_simd_level(level);
    Answer here = answer(codec, payload);
    if (level == compress::SimdLevel::kScalar) {
      scalar = std::move(here);
      continue;
    }
    check(here.code == scalar.code, "every SIMD level accepts the same payloads");
    if (here.code == absl::StatusCode::kOk) {
      check(same_bits<float>(here.decoded, scalar.decoded), "every SIMD level decodes the same");
      check(same_bits<float>(here.doubled, scalar.doubled), "every SIMD level adds the same");
      check(here.reencoded == scalar.reencoded, "every SIMD level encodes the same");
    }
  }
  compress::force_simd_level(compress::simd_supported());
  if (scalar.code == absl::StatusCode::kOk) {
    check_accepted(choice, payload, scalar);
  }
  return scalar.code == absl::StatusCode::kOk;
}

}  // namespace laconic::fuzz
