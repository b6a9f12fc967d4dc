#include <algorithm>
#include <cstring>
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

constexpr int kRounds = 2;

// The float32 values of `bytes`, from the `shift`-th on, repeated.
std::vector<float> numbers(Bytes bytes, size_t shift, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count), 0.0F);
  const size_t given = bytes.size() / sizeof(float);
  for (size_t i = 0; given > 0 && i < values.size(); ++i) {
    std::memcpy(&values[i], bytes.data() + (i + shift) % given * sizeof(float), sizeof(float));
  }
  return values;
}

struct Round {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::vector<uint8_t> payload;
  std::vector<float> a;
};

// One round of error feedback: a <- decay a + v, encode, a <- a - D.
Round encode_round(const Codec& codec, std::span<const float> v, float decay, std::vector<float>& a,
                   compress::EncodeState& state) {
  Round round;
  round.payload.resize(static_cast<size_t>(codec.payload_bytes_max()));
  const auto size = codec.encode_sum(v, decay, a, state, round.payload);
  round.code = size.status().code();
  if (!size.ok()) {
    check(absl::IsInvalidArgument(size.status()), "encode_sum: " + size.status().ToString());
    round.payload.clear();
    return round;
  }
  check(compress::all_finite(a), "a NaN or an infinity is refused");
  check(*size <= round.payload.size(), "a payload is within payload_bytes_max()");
  check(!codec.fixed_size() || *size == round.payload.size(), "a fixed size is one size");
  round.payload.resize(*size);
  round.a = a;
  const absl::Status status = codec.decode_add(round.payload, -1.0F, a);
  check(status.ok(), "our own payload decodes: " + status.ToString());
  return round;
}

std::vector<Round> encode_rounds(const Codec& codec, std::span<const float> v, float decay,
                                 std::vector<float> a) {
  std::vector<Round> rounds;
  compress::EncodeState state;
  state.seed = 1;
  for (int i = 0; i < kRounds; ++i) {
    rounds.push_back(encode_round(codec, v, decay, a, state));
    if (rounds.back().code != absl::StatusCode::kOk) {
      break;
    }
  }
  return rounds;
}

}  // namespace

bool codec_encode(Bytes bytes) {
  Input input(bytes);
  const Codec& codec = codec_of(take_choice(input));
  const float decay = static_cast<float>(input.take_byte()) / 255;
  const size_t shift = input.take_byte();
  const Bytes rest = input.rest();
  const std::vector<float> v = numbers(rest, 0, codec.elements());
  const std::vector<float> a = numbers(rest, shift, codec.elements());
  std::vector<Round> scalar;
  for (const compress::SimdLevel level : simd_levels()) {
    compress::force_simd_level(level);
    std::vector<Round> here = encode_rounds(codec, v, decay, a);
    if (level == compress::SimdLevel::kScalar) {
      scalar = std::move(here);
      continue;
    }
    check(here.size() == scalar.size(), "every SIMD level takes the same vectors");
    for (size_t i = 0; i < here.size(); ++i) {
      check(here[i].code == scalar[i].code, "every SIMD level takes the same vectors");
      check(here[i].payload == scalar[i].payload, "every SIMD level makes the same bytes");
      check(same_bits<float>(here[i].a, scalar[i].a), "every SIMD level adds the same");
    }
  }
  compress::force_simd_level(compress::simd_supported());
  const bool taken = scalar.front().code == absl::StatusCode::kOk;
  const bool finite = compress::all_finite(v) && compress::all_finite(a);
  check(finite || !taken, "a NaN or an infinity is refused");
  return taken;
}

}  // namespace laconic::fuzz
