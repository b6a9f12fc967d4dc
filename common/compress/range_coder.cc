#include "common/compress/range_coder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/core/bits.h"
#include "common/core/codec_sizes.h"

namespace laconic::compress {
namespace {

constexpr int kScaleBits = 14;
constexpr uint32_t kScale = 1U << kScaleBits;
constexpr uint32_t kLowest = 1U << 23;  // of a state; the highest is 2^31 - 1
constexpr size_t kSymbols = 256;
constexpr size_t kFrequencyBytes = 2;
static_assert(kSymbols * kFrequencyBytes == core::kEntropyTableBytes);
constexpr size_t kStateBytes = 4;

using Table = std::array<uint32_t, kSymbols>;

// Frequencies that add up to kScale, at least 1 for each byte that occurs.
Table make_frequencies(std::span<const uint8_t> in) {
  std::array<uint64_t, kSymbols> counts{};
  for (const uint8_t byte : in) {
    ++counts[byte];
  }
  Table table{};
  uint32_t total = 0;
  for (size_t s = 0; s < kSymbols; ++s) {
    table[s] = static_cast<uint32_t>(counts[s] * kScale / in.size());
    table[s] = counts[s] > 0 ? std::max(table[s], 1U) : 0;
    total += table[s];
  }
  // At most 256 too many or too few; the largest can bear it (it has at least 64 of 2^14).
  while (total != kScale) {
    uint32_t& largest = *std::max_element(table.begin(), table.end());
    const uint32_t change =
        total < kScale ? kScale - total : std::min(total - kScale, (largest + 1) / 2);
    largest = total < kScale ? largest + change : largest - change;
    total = total < kScale ? total + change : total - change;
  }
  return table;
}

// [s]: sum of the frequencies below s.
Table sums_below(const Table& table) {
  Table sums{};
  for (size_t s = 1; s < kSymbols; ++s) {
    sums[s] = sums[s - 1] + table[s - 1];
  }
  return sums;
}

}  // namespace

std::vector<uint8_t> range_encode(std::span<const uint8_t> in, size_t limit, size_t symbols) {
  const size_t table_bytes = symbols * kFrequencyBytes;
  if (limit <= table_bytes + kStateBytes) {
    return {};
  }
  const Table table = make_frequencies(in);
  const Table below = sums_below(table);
  // Written from its end: the decoder runs forward.
  std::vector<uint8_t> stream(limit - table_bytes);
  size_t at = stream.size();
  uint32_t state = kLowest;
  for (size_t i = in.size(); i > 0; --i) {
    const uint32_t frequency = table[in[i - 1]];
    const uint32_t most = ((kLowest >> kScaleBits) << 8) * frequency;
    for (; state >= most; state >>= 8) {
      if (at <= kStateBytes) {
        return {};
      }
      stream[--at] = static_cast<uint8_t>(state);
    }
    state = ((state / frequency) << kScaleBits) + state % frequency + below[in[i - 1]];
  }
  at -= kStateBytes;
  if (at == 0) {
    return {};
  }
  std::memcpy(stream.data() + at, &state, kStateBytes);
  std::vector<uint8_t> out(table_bytes);
  for (size_t s = 0; s < symbols; ++s) {
    core::store_u16(static_cast<uint16_t>(table[s]), out.data() + 2 * s);
  }
  out.insert(out.end(), stream.begin() + static_cast<std::ptrdiff_t>(at), stream.end());
  return out;
}

absl::StatusOr<size_t> range_decode(std::span<const uint8_t> in, std::span<uint8_t> out,
                                    size_t symbols) {
  const size_t table_bytes = symbols * kFrequencyBytes;
  if (in.size() < table_bytes + kStateBytes) {
    return absl::DataLossError(absl::StrCat("payload: ", in.size(),
                                            " bytes of entropy code, at "
                                            "least ",
                                            table_bytes + kStateBytes));
  }
  Table table{};
  uint32_t total = 0;
  for (size_t s = 0; s < symbols; ++s) {
    table[s] = core::load_u16(in.data() + 2 * s);
    total += table[s];
  }
  uint32_t state = 0;
  std::memcpy(&state, in.data() + table_bytes, kStateBytes);
  if (total != kScale || state < kLowest || state >= kLowest << 8) {
    return absl::DataLossError(absl::StrCat("payload: byte frequencies add up to ", total,
                                            ", must be ", kScale, "; or the state ", state,
                                            " is out of range"));
  }
  const Table below = sums_below(table);
  std::vector<uint8_t> symbol_of(kScale);
  for (size_t s = 0; s < symbols; ++s) {
    std::fill_n(symbol_of.begin() + below[s], table[s], static_cast<uint8_t>(s));
  }
  size_t at = table_bytes + kStateBytes;
  for (uint8_t& byte : out) {
    const uint32_t slot = state & (kScale - 1);
    byte = symbol_of[slot];
    state = table[byte] * (state >> kScaleBits) + slot - below[byte];
    for (; state < kLowest; state = (state << 8) | in[at++]) {
      if (at == in.size()) {
        return absl::DataLossError("payload: the entropy code ends too early");
      }
    }
  }
  if (state != kLowest) {
    return absl::DataLossError("payload: the entropy code does not end where an encoder begins");
  }
  return at;
}

}  // namespace laconic::compress
