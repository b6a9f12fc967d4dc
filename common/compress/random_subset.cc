#include "common/compress/random_subset.h"

#include <bit>
#include <numeric>

#include "common/core/codec_sizes.h"
#include "common/core/random.h"

namespace laconic::compress {
namespace {

constexpr uint64_t kSubsetStream = 1;
constexpr uint64_t kPartitionStream = uint64_t{1} << 32;
constexpr size_t kWordBits = 64;

using Bitmap = std::vector<uint64_t>;

bool is_set(const Bitmap& bitmap, uint64_t at) {
  return ((bitmap[at / kWordBits] >> (at % kWordBits)) & 1) != 0;
}

// Floyd's algorithm; see the header.
Bitmap choose(core::Random random, int64_t elements, int64_t kept) {
  Bitmap chosen((static_cast<size_t>(elements) + kWordBits - 1) / kWordBits);
  const auto end = static_cast<uint64_t>(elements);
  for (uint64_t j = end - static_cast<uint64_t>(kept); j < end; ++j) {
    const uint64_t drawn = random.below(j + 1);
    const uint64_t at = is_set(chosen, drawn) ? j : drawn;
    chosen[at / kWordBits] |= uint64_t{1} << (at % kWordBits);
  }
  return chosen;
}

}  // namespace

std::vector<uint32_t> random_subset(uint64_t seed, int64_t elements, int64_t kept) {
  const Bitmap chosen = choose(core::Random(seed, kSubsetStream), elements, kept);
  std::vector<uint32_t> positions;
  positions.reserve(static_cast<size_t>(kept));
  for (size_t w = 0; w < chosen.size(); ++w) {
    for (uint64_t word = chosen[w]; word != 0; word &= word - 1) {
      positions.push_back(static_cast<uint32_t>(w * kWordBits) +
                          static_cast<uint32_t>(std::countr_zero(word)));
    }
  }
  return positions;
}

std::vector<uint32_t> random_part(uint64_t seed, int64_t elements, int64_t part, int64_t parts) {
  std::vector<uint32_t> positions(static_cast<size_t>(elements));
  std::iota(positions.begin(), positions.end(), 0U);
  int64_t low = 0;
  int64_t high = parts;
  for (uint64_t node = 1; high - low > 1;) {
    const int64_t middle = (low + high) / 2;
    const int64_t first_size =
        core::part_begin(elements, middle, parts) - core::part_begin(elements, low, parts);
    const Bitmap chosen = choose(core::Random(seed, kPartitionStream + node),
                                 static_cast<int64_t>(positions.size()), first_size);
    const bool in_first = part < middle;
    size_t kept = 0;
    for (size_t i = 0; i < positions.size(); ++i) {
      positions[kept] = positions[i];
      kept += is_set(chosen, i) == in_first ? 1 : 0;
    }
    positions.resize(kept);
    node = 2 * node + (in_first ? 0 : 1);
    (in_first ? high : low) = middle;
  }
  return positions;
}

}  // namespace laconic::compress
