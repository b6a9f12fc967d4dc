#include "common/compress/chunked_top_k_codec.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/core/bits.h"
#include "common/core/codec_sizes.h"
#include "common/core/status_macros.h"

namespace laconic::compress {
namespace {

using core::BitReader;
using core::FixedChunkCode;

// Ascending positions of the `kept` largest magnitudes; ties go to the lower position.
// keys: scratch.
std::vector<uint32_t> select(std::span<const float> chunk, int64_t kept,
                             std::vector<uint64_t>& keys) {
  keys.clear();
  for (size_t i = 0; i < chunk.size(); ++i) {
    // The bits of a float without its sign grow with its magnitude.
    const uint64_t magnitude = std::bit_cast<uint32_t>(chunk[i]) & 0x7FFFFFFFU;
    keys.push_back((magnitude << 32) | (UINT32_MAX - static_cast<uint32_t>(i)));
  }
  const auto end = keys.begin() + static_cast<std::ptrdiff_t>(kept);
  std::nth_element(keys.begin(), end - 1, keys.end(), std::greater<>());
  std::vector<uint32_t> positions;
  std::transform(keys.begin(), end, std::back_inserter(positions),
                 [](uint64_t key) { return UINT32_MAX - static_cast<uint32_t>(key); });
  std::sort(positions.begin(), positions.end());
  return positions;
}

void put_positions(const std::vector<uint32_t>& positions, const FixedChunkCode& code,
                   core::BitWriter& out) {
  for (const uint32_t position : positions) {
    out.put(position & ((1U << code.low_bits) - 1), code.low_bits);
  }
  int64_t next = 0;
  for (size_t j = 0; j < positions.size(); ++j) {
    const int64_t one = (positions[j] >> code.low_bits) + static_cast<int64_t>(j);
    out.put_zeros(one - next);
    out.put(1, 1);
    next = one + 1;
  }
  out.put_zeros(code.upper_bits - next);
}

// Returns false if the bits are not those of positions.size() ascending positions below `size`.
bool get_positions(BitReader& in, const FixedChunkCode& code, int64_t size,
                   std::span<uint32_t> positions) {
  BitReader low = in;
  in.skip(static_cast<int64_t>(positions.size()) * code.low_bits);
  size_t found = 0;
  int64_t previous = -1;
  for (int64_t at = 0; at < code.upper_bits; at += 32) {
    uint32_t word = in.get(static_cast<int>(std::min<int64_t>(32, code.upper_bits - at)));
    for (; word != 0; word &= word - 1) {
      const int64_t high = at + std::countr_zero(word) - static_cast<int64_t>(found);
      const int64_t position = (high << code.low_bits) | int64_t{low.get(code.low_bits)};
      if (found == positions.size() || position <= previous || position >= size) {
        return false;
      }
      positions[found++] = static_cast<uint32_t>(position);
      previous = position;
    }
  }
  return found == positions.size();
}

}  // namespace

struct ChunkedTopKCodec::Sparse {
  std::vector<uint32_t> positions;
  std::vector<float> values;
};

ChunkedTopKCodec::ChunkedTopKCodec(const core::CodecSpec& spec, const core::Layout& layout)
    : spec_(spec),
      elements_(layout.elements()),
      position_bytes_(core::chunk_position_bytes(spec, elements_)),
      coder_(core::value_code(spec),
             even_groups(core::kept_in_chunks(spec, elements_), core::kTopKGroup)) {}

absl::StatusOr<size_t> ChunkedTopKCodec::encode(std::span<const float> a, EncodeState& /*state*/,
                                                std::span<uint8_t> out) const {
  LACONIC_RETURN_IF_ERROR(check_input(a, elements_));
  LACONIC_RETURN_IF_ERROR(check_payload_room(out, payload_bytes_max()));
  std::vector<uint8_t> payload;
  payload.reserve(static_cast<size_t>(payload_bytes_max()));
  core::BitWriter bits(payload);
  std::vector<uint64_t> keys;
  std::vector<float> values;
  values.reserve(static_cast<size_t>(coder_.values()));
  for (int64_t begin = 0; begin < elements_; begin += spec_.chunk) {
    const int64_t size = std::min(spec_.chunk, elements_ - begin);
    const auto chunk = a.subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
    const int64_t kept = core::kept_of_chunk(spec_, size);
    const std::vector<uint32_t> positions = select(chunk, kept, keys);
    put_positions(positions, core::fixed_chunk_code(size, kept), bits);
    for (const uint32_t position : positions) {
      values.push_back(chunk[position] + 0.0F);  // -0 becomes 0: equal numbers, equal bytes.
    }
  }
  bits.finish();
  coder_.encode(values, payload);
  std::copy(payload.begin(), payload.end(), out.begin());
  return payload.size();
}

absl::StatusOr<ChunkedTopKCodec::Sparse> ChunkedTopKCodec::read(
    std::span<const uint8_t> payload) const {
  if (static_cast<int64_t>(payload.size()) != payload_bytes_max()) {
    return absl::DataLossError(absl::StrCat("payload: ", payload.size(),
                                            " bytes, chunked top-k must be ", payload_bytes_max()));
  }
  BitReader bits(payload.first(static_cast<size_t>(position_bytes_)));
  Sparse sparse;
  sparse.positions.resize(static_cast<size_t>(coder_.values()));
  sparse.values.resize(sparse.positions.size());
  size_t done = 0;
  for (int64_t begin = 0; begin < elements_; begin += spec_.chunk) {
    const int64_t size = std::min(spec_.chunk, elements_ - begin);
    const int64_t kept = core::kept_of_chunk(spec_, size);
    const auto chunk = std::span(sparse.positions).subspan(done, static_cast<size_t>(kept));
    if (!get_positions(bits, core::fixed_chunk_code(size, kept), size, chunk)) {
      return absl::DataLossError(absl::StrCat("payload: wrong positions in the chunk at ", begin));
    }
    for (uint32_t& position : chunk) {
      position += static_cast<uint32_t>(begin);
    }
    done += chunk.size();
  }
  if (!bits.rest_is_zero()) {
    return absl::DataLossError("payload: bits are set behind the last position");
  }
  LACONIC_RETURN_IF_ERROR(
      coder_.decode(payload.subspan(static_cast<size_t>(position_bytes_)), sparse.values));
  return sparse;
}

absl::Status ChunkedTopKCodec::decode(std::span<const uint8_t> payload,
                                      std::span<float> out) const {
  LACONIC_RETURN_IF_ERROR(check_output(out, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Sparse sparse, read(payload));
  std::fill(out.begin(), out.end(), 0.0F);
  for (size_t i = 0; i < sparse.values.size(); ++i) {
    out[sparse.positions[i]] = sparse.values[i];
  }
  return absl::OkStatus();
}

absl::Status ChunkedTopKCodec::decode_add(std::span<const uint8_t> payload, float sign,
                                          std::span<float> sum) const {
  LACONIC_RETURN_IF_ERROR(check_output(sum, elements_));
  LACONIC_ASSIGN_OR_RETURN(const Sparse sparse, read(payload));
  for (size_t i = 0; i < sparse.values.size(); ++i) {
    sum[sparse.positions[i]] += sign * sparse.values[i];
  }
  return absl::OkStatus();
}

}  // namespace laconic::compress
