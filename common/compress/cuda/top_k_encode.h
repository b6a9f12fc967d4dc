// The encoder of top-k as one cooperative kernel: error feedback, selection, Elias-Fano positions,
// values. It makes the bytes of TopKCodec for the same input and state.
//
// Traffic per element of 4 bytes: 12 with a threshold of an earlier round (read a and v, write a),
// 16 for an exact selection (12, and 4 to collect); the rest is proportional to what is kept. Where
// more elements share the leading 12 bits of the k-th magnitude than the candidate list can hold,
// exact selections read the vector up to three times more.
#pragma once

#include <cstdint>

#include "common/compress/cuda/top_k_select.h"

namespace laconic::compress::cuda {

// Bits of a chunk, its count and what comes before it in its first word.
inline constexpr uint32_t kChunkWords = (31 + 17 + 65536 + 31) / 32;

struct TopKShared {
  union {
    SelectShared select;
    uint32_t words[kChunkWords];
  };
};

// Candidate i of a tile: of the list, or of the vector itself.
struct TileSource {
  uint32_t count = 0;
  const uint32_t* positions = nullptr;  // nullptr: consecutive from `first` on
  const float* values = nullptr;
  uint32_t first = 0;
};

LACONIC_DEVICE inline TileSource source_of(const TopKEncodeArgs& args, const Selection& selection,
                                           uint32_t tile) {
  if (selection.listed) {
    const TileSlice slice = args.slices[tile];
    return {.count = slice.count,
            .positions = args.positions + slice.begin,
            .values = args.values + slice.begin};
  }
  const int64_t first = int64_t{tile} * kTopKTile;
  const int64_t left = args.shape.elements - first;
  return {.count = static_cast<uint32_t>(left < kTopKTile ? left : kTopKTile),
          .values = (args.a == nullptr ? args.v : args.a) + first,
          .first = static_cast<uint32_t>(first)};
}

// A warp per tile.
template <typename Cta>
LACONIC_DEVICE void count_tiles(Cta& cta, const TopKEncodeArgs& args, const Selection& selection) {
  const uint32_t teams = cta.blocks() * kBlockWarps;
  for (uint32_t tile = cta.block() * kBlockWarps + warp_of(cta); tile < args.shape.tiles;
       tile += teams) {
    const TileSource source = source_of(args, selection, tile);
    uint32_t above = 0;
    uint32_t equal = 0;
    for (uint32_t i = lane_of(cta); i < source.count; i += kWarp) {
      const uint32_t magnitude = magnitude_of(source.values[i]);
      above += magnitude > selection.threshold ? 1 : 0;
      equal += magnitude == selection.threshold ? 1 : 0;
    }
    const uint32_t above_before = warp_sum_before(cta, above);
    const uint32_t equal_before = warp_sum_before(cta, equal);
    if (lane_of(cta) == kWarp - 1) {
      args.counts[tile] = {.above = above_before + above, .equal = equal_before + equal};
    }
  }
}

LACONIC_DEVICE inline uint32_t end_of_tiles(const TopKShape& shape, uint32_t chunk) {
  const auto end = static_cast<uint32_t>((chunk + 1) * kTilesPerChunk);
  return end < shape.tiles ? end : shape.tiles;
}

// How many of `equal` elements are taken when `before` came earlier.
LACONIC_DEVICE inline uint32_t equal_taken(const Selection& selection, uint32_t before,
                                           uint32_t equal) {
  const uint32_t left = selection.equal > before ? selection.equal - before : 0;
  return equal < left ? equal : left;
}

// Where every chunk begins, by one block; then the size of the payload and the next state.
template <typename Cta>
LACONIC_DEVICE void place_chunks(Cta& cta, SelectShared& shared, const TopKEncodeArgs& args,
                                 const Selection& selection) {
  uint32_t rank = 0;
  uint32_t ties = 0;
  uint64_t bit = 0;
  for (uint32_t base = 0; base < args.shape.chunks; base += kBlockThreads) {
    const uint32_t chunk = base + cta.thread();
    const bool ours = chunk < args.shape.chunks;
    TileCounts sum;
    if (ours) {
      for (auto tile = static_cast<uint32_t>(chunk * kTilesPerChunk);
           tile < end_of_tiles(args.shape, chunk); ++tile) {
        sum.above += args.counts[tile].above;
        sum.equal += args.counts[tile].equal;
      }
    }
    uint32_t total = 0;
    ChunkSlot slot;
    slot.equal_before = ties + block_sum_before(cta, shared.warp_sums, sum.equal, total);
    ties += total;
    slot.kept = sum.above + equal_taken(selection, slot.equal_before, sum.equal);
    slot.rank = rank + block_sum_before(cta, shared.warp_sums, slot.kept, total);
    rank += total;
    uint32_t bits = 0;
    if (ours) {
      const uint32_t size = chunk_elements(args.shape, chunk);
      bits = device_count_bits(size) + device_chunk_code(size, slot.kept).bits;
    }
    slot.bit = bit + block_sum_before(cta, shared.warp_sums, bits, total);
    bit += total;
    if (ours) {
      args.chunks[chunk] = slot;
    }
  }
  if (cta.thread() != 0) {
    return;
  }
  args.control->position_bits = bit;
  args.control->kept = rank;
  TopKState next{.threshold = selection.threshold, .age = 0};
  if (!selection.exact) {
    const bool few = 5 * int64_t{rank} < 4 * args.shape.kept;
    next = {.threshold = few ? 0 : args.state->threshold, .age = args.state->age + 1};
  }
  *args.next_state = next;
}

// The kept elements of a tile, in order, by one warp: take(j, position in the chunk, value), j from
// `rank` on. ties: elements equal to the threshold before this tile.
template <typename Cta, typename Take>
LACONIC_DEVICE void take_tile(Cta& cta, const TopKEncodeArgs& args, const Selection& selection,
                              uint32_t tile, uint32_t rank, uint32_t ties, Take take) {
  const TileSource source = source_of(args, selection, tile);
  const uint32_t before_us = (1U << lane_of(cta)) - 1;
  for (uint32_t base = 0; base < source.count; base += kWarp) {
    const uint32_t i = base + lane_of(cta);
    const bool exists = i < source.count;
    const float value = exists ? source.values[i] : 0.0F;
    const uint32_t magnitude = magnitude_of(value);
    const bool equal = exists && magnitude == selection.threshold;
    const uint32_t equals = cta.ballot(equal);
    const uint32_t tie = ties + static_cast<uint32_t>(std::popcount(equals & before_us));
    const bool keep =
        exists && (magnitude > selection.threshold || (equal && tie < selection.equal));
    const uint32_t keeps = cta.ballot(keep);
    if (keep) {
      const uint32_t position =
          source.positions == nullptr ? source.first + i : source.positions[i];
      take(rank + static_cast<uint32_t>(std::popcount(keeps & before_us)),
           position % static_cast<uint32_t>(core::kTopKChunk), value);
    }
    rank += static_cast<uint32_t>(std::popcount(keeps));
    ties += static_cast<uint32_t>(std::popcount(equals));
  }
}

// Positions of a chunk, built in shared memory; values to their ranks.
template <typename Cta>
LACONIC_DEVICE void encode_chunk(Cta& cta, uint32_t* words, const TopKEncodeArgs& args,
                                 const Selection& selection, uint32_t chunk) {
  const ChunkSlot slot = args.chunks[chunk];
  const uint32_t size = chunk_elements(args.shape, chunk);
  const DeviceChunkCode code = device_chunk_code(size, slot.kept);
  const uint32_t count_bits = device_count_bits(size);
  const auto shift = static_cast<uint32_t>(slot.bit % 32);
  const uint32_t end = shift + count_bits + code.bits;
  const uint32_t used = (end + 31) / 32;
  for (uint32_t word = cta.thread(); word < used; word += kBlockThreads) {
    words[word] = 0;
  }
  cta.sync();
  if (cta.thread() == 0) {
    or_payload_bits(cta, words, shift, slot.kept, count_bits);
  }
  const uint32_t low_at = shift + count_bits;
  const uint32_t upper_at = low_at + slot.kept * code.low_bits;
  const auto first_tile = static_cast<uint32_t>(chunk * kTilesPerChunk);
  const uint32_t end_tile = end_of_tiles(args.shape, chunk);
  uint32_t rank = 0;
  uint32_t ties = slot.equal_before;
  for (uint32_t tile = first_tile; tile < end_tile; ++tile) {
    const TileCounts counts = args.counts[tile];
    if (tile % kBlockWarps == warp_of(cta)) {
      take_tile(cta, args, selection, tile, rank, ties,
                [&](uint32_t j, uint32_t position, float value) {
                  args.ranked[slot.rank + j] = value;
                  if (code.low_bits > 0) {
                    or_payload_bits(cta, words, low_at + j * code.low_bits,
                                    position & ((1U << code.low_bits) - 1), code.low_bits);
                  }
                  const uint32_t upper = code.bitmap ? position : (position >> code.low_bits) + j;
                  or_payload_bits(cta, words, upper_at + upper, 1, 1);
                });
    }
    rank += counts.above + equal_taken(selection, ties, counts.equal);
    ties += counts.equal;
  }
  cta.sync();
  uint32_t* to = args.payload + slot.bit / 32;
  for (uint32_t word = cta.thread(); word < used; word += kBlockThreads) {
    const bool shared_word = (word == 0 && shift > 0) || (word + 1 == used && end % 32 != 0);
    if (shared_word) {
      cta.atomic_or(to + word, words[word]);
    } else {
      to[word] = words[word];
    }
  }
  cta.sync();
}

// The value section: a warp per group of 256.
template <typename Cta>
LACONIC_DEVICE void encode_values(Cta& cta, const TopKEncodeArgs& args) {
  const uint32_t kept = args.control->kept;
  const uint64_t section = (args.control->position_bits + 7) / 8;
  constexpr auto kGroup = static_cast<uint32_t>(core::kTopKGroup);
  const uint32_t groups = (kept + kGroup - 1) / kGroup;
  const uint64_t scales_at = 8 * section;
  const uint64_t codes_at = scales_at + uint64_t{16} * args.shape.scales_per_group * groups;
  if (cta.block() == 0 && cta.thread() == 0 && args.payload_bytes != nullptr) {
    *args.payload_bytes = (codes_at + uint64_t{kept} * args.shape.bits + 7) / 8;
  }
  const WarpTeam<Cta> team(cta);
  const uint32_t teams = cta.blocks() * kBlockWarps;
  for (uint32_t group = cta.block() * kBlockWarps + warp_of(cta); group < groups; group += teams) {
    const uint32_t first = group * kGroup;
    const uint32_t length = kept - first < kGroup ? kept - first : kGroup;
    if (args.shape.code == core::ValueCode::kFloat32) {
      for (uint32_t i = first + lane_of(cta); i < first + length; i += kWarp) {
        or_payload_bits(cta, args.payload, codes_at + uint64_t{32} * i,
                        std::bit_cast<uint32_t>(args.ranked[i]), 32);
      }
      continue;
    }
    uint32_t largest = 0;
    uint32_t inverted = 0;
    for (uint32_t i = first + lane_of(cta); i < first + length; i += kWarp) {
      const uint32_t magnitude = magnitude_of(args.ranked[i]);
      largest = magnitude > largest ? magnitude : largest;
      inverted = ~magnitude > inverted ? ~magnitude : inverted;
    }
    const GroupSource values{.values = args.ranked + first,
                             .length = length,
                             .code = args.shape.code,
                             .bits = args.shape.bits,
                             .scales = args.shape.scales_per_group};
    encode_group(team, values, team.largest(largest), ~team.largest(inverted), args.payload,
                 scales_at + uint64_t{16} * args.shape.scales_per_group * group,
                 codes_at + uint64_t{first} * args.shape.bits);
  }
}

// Grid: as many blocks as run at once, or fewer. Payload and control were set to zero before.
template <typename Cta>
LACONIC_DEVICE void top_k_encode(Cta& cta, TopKShared& shared, const TopKEncodeArgs& args) {
  Selection selection;
  if (!select_top_k(cta, shared.select, args, selection)) {
    return;
  }
  count_tiles(cta, args, selection);
  cta.grid_sync();
  if (cta.block() == 0) {
    place_chunks(cta, shared.select, args, selection);
  }
  cta.grid_sync();
  for (uint32_t chunk = cta.block(); chunk < args.shape.chunks; chunk += cta.blocks()) {
    encode_chunk(cta, shared.words, args, selection, chunk);
  }
  cta.grid_sync();
  encode_values(cta, args);
}

}  // namespace laconic::compress::cuda
