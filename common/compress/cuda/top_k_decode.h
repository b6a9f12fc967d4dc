// The decoder of top-k as one cooperative kernel: reads the counts of P payloads, decodes values,
// then adds chunk after chunk in rank order. Payloads come from peers: whatever their bytes are,
// nothing outside the payloads, the scratch and `out` is touched, and the fault word says which one
// is wrong. The size equation is checked where the sizes are given; a payload without its size must
// fit its buffer.
#pragma once

#include <cstdint>

#include "common/compress/cuda/quantize_decode.h"
#include "common/compress/cuda/top_k_encode.h"

namespace laconic::compress::cuda {

struct TopKDecodeShared {
  uint32_t warp_sums[kBlockWarps];
  uint32_t bad;
};

LACONIC_DEVICE inline uint64_t value_section_bytes(const TopKShape& shape, uint32_t kept) {
  constexpr auto kGroup = static_cast<uint32_t>(core::kTopKGroup);
  const uint64_t groups = (uint64_t{kept} + kGroup - 1) / kGroup;
  return 2 * groups * shape.scales_per_group + (uint64_t{kept} * shape.bits + 7) / 8;
}

// Walks from count to count, by one thread. False if they are not those of a payload.
LACONIC_DEVICE inline bool read_counts(const TopKDecodeArgs& args, int32_t p, TopKPayload& info) {
  const uint32_t* payload = args.payloads + p * args.stride_words;
  ChunkSlot* slots = args.chunks + int64_t{p} * args.shape.chunks;
  uint64_t bytes = static_cast<uint64_t>(args.capacity_bytes);
  if (args.payload_bytes != nullptr) {
    if (args.payload_bytes[p] > bytes) {
      return false;
    }
    bytes = args.payload_bytes[p];
  }
  uint64_t at = 0;
  uint64_t kept = 0;
  for (uint32_t chunk = 0; chunk < args.shape.chunks; ++chunk) {
    const uint32_t size = chunk_elements(args.shape, chunk);
    const uint32_t count_bits = device_count_bits(size);
    if (at + count_bits > 8 * bytes) {
      return false;
    }
    const uint32_t count = load_payload_bits(payload, at, count_bits);
    if (count > size || kept + count > static_cast<uint64_t>(args.shape.kept_max)) {
      return false;
    }
    slots[chunk] = {.bit = at + count_bits, .rank = static_cast<uint32_t>(kept), .kept = count};
    kept += count;
    at += count_bits + device_chunk_code(size, count).bits;
    if (at > 8 * bytes) {
      return false;
    }
  }
  info.position_bytes = (at + 7) / 8;
  info.kept = static_cast<uint32_t>(kept);
  const uint64_t all = info.position_bytes + value_section_bytes(args.shape, info.kept);
  const bool fits = args.payload_bytes == nullptr ? all <= bytes : all == bytes;
  const auto unused = static_cast<uint32_t>(8 * info.position_bytes - at);
  return fits && (unused == 0 || load_payload_bits(payload, at, unused) == 0);
}

template <typename Cta>
LACONIC_DEVICE void read_payloads(Cta& cta, const TopKDecodeArgs& args) {
  if (cta.thread() != 0) {
    return;
  }
  for (auto p = static_cast<int32_t>(cta.block()); p < args.count;
       p += static_cast<int32_t>(cta.blocks())) {
    TopKPayload info;
    if (!read_counts(args, p, info)) {
      info = {.bad = 1};
      report_payload(cta, args.fault, p, PayloadFault::kPositions);
    }
    args.infos[p] = info;
  }
}

// One group of 256 values, by a warp.
template <typename Cta>
LACONIC_DEVICE void decode_value_group(Cta& cta, const TopKDecodeArgs& args, int32_t p,
                                       uint32_t group) {
  constexpr auto kGroup = static_cast<uint32_t>(core::kTopKGroup);
  const TopKShape& shape = args.shape;
  const TopKPayload info = args.infos[p];
  const uint32_t* payload = args.payloads + p * args.stride_words;
  float* values = args.values + p * shape.kept_max;
  const uint64_t groups = (uint64_t{info.kept} + kGroup - 1) / kGroup;
  const uint64_t scales_at = 8 * info.position_bytes;
  const uint64_t codes_at = scales_at + 16 * groups * shape.scales_per_group;
  const uint32_t first = group * kGroup;
  const uint32_t end = info.kept - first < kGroup ? info.kept : first + kGroup;
  if (shape.code == core::ValueCode::kFloat32) {
    for (uint32_t i = first + lane_of(cta); i < end; i += kWarp) {
      const uint32_t bits = load_payload_bits(payload, codes_at + uint64_t{32} * i, 32);
      if ((bits & kMagnitudeBits) >= kInfinity) {
        report_payload(cta, args.fault, p, PayloadFault::kValue);
      }
      values[i] = std::bit_cast<float>(bits);
    }
    return;
  }
  Scales scales{};
  for (uint32_t i = 0; i < shape.scales_per_group; ++i) {
    const uint64_t at = scales_at + uint64_t{16} * (group * shape.scales_per_group + i);
    scales[i] = static_cast<uint16_t>(load_payload_bits(payload, at, 16));
  }
  if (!valid_scales(shape.code, scales)) {
    report_payload(cta, args.fault, p, PayloadFault::kScales);
    scales = {};
  }
  const CodeValues meaning(shape.code, shape.bits, scales);
  for (uint32_t i = first + lane_of(cta); i < end; i += kWarp) {
    const uint32_t code =
        load_payload_bits(payload, codes_at + uint64_t{shape.bits} * i, shape.bits);
    if (meaning.reserved(code)) {
      report_payload(cta, args.fault, p, PayloadFault::kCode);
    }
    values[i] = meaning.value(code);
  }
}

// The values of all payloads by rank, and bits behind the last one.
template <typename Cta>
LACONIC_DEVICE void decode_values(Cta& cta, const TopKDecodeArgs& args) {
  constexpr auto kGroup = static_cast<uint32_t>(core::kTopKGroup);
  const uint32_t teams = cta.blocks() * kBlockWarps;
  const uint32_t team = cta.block() * kBlockWarps + warp_of(cta);
  for (int32_t p = 0; p < args.count; ++p) {
    const TopKPayload info = args.infos[p];
    const uint32_t groups = (info.kept + kGroup - 1) / kGroup;
    for (uint32_t group = team; group < groups; group += teams) {
      decode_value_group(cta, args, p, group);
    }
    const uint64_t end = 8 * info.position_bytes +
                         uint64_t{16} * groups * args.shape.scales_per_group +
                         uint64_t{info.kept} * args.shape.bits;
    const auto unused = static_cast<uint32_t>((8 - end % 8) % 8);
    if (cta.block() == 0 && cta.thread() == 0 && unused > 0 &&
        load_payload_bits(args.payloads + p * args.stride_words, end, unused) != 0) {
      report_payload(cta, args.fault, p, PayloadFault::kUnusedBits);
    }
  }
}

// The positions of a chunk to scratch, by a block. False if their number is wrong, or they are not
// below the chunk's end and strictly ascending.
template <typename Cta>
LACONIC_DEVICE bool decode_chunk_positions(Cta& cta, TopKDecodeShared& shared,
                                           const uint32_t* payload, const ChunkSlot& slot,
                                           uint32_t size, uint32_t* positions) {
  const DeviceChunkCode code = device_chunk_code(size, slot.kept);
  const uint64_t upper_at = slot.bit + uint64_t{slot.kept} * code.low_bits;
  uint32_t found = 0;
  for (uint32_t base = 0; base < code.upper_bits; base += 32 * kBlockThreads) {
    const uint32_t where = base + 32 * cta.thread();
    uint32_t word = 0;
    if (where < code.upper_bits) {
      const uint32_t left = code.upper_bits - where;
      word = load_payload_bits(payload, upper_at + where, left < 32 ? left : 32);
    }
    uint32_t total = 0;
    uint32_t j = found + block_sum_before(cta, shared.warp_sums,
                                          static_cast<uint32_t>(std::popcount(word)), total);
    for (; word != 0 && j < slot.kept; word &= word - 1, ++j) {
      const uint32_t bit = where + static_cast<uint32_t>(std::countr_zero(word));
      if (code.bitmap) {
        positions[j] = bit;
        continue;
      }
      const uint32_t low =
          code.low_bits == 0
              ? 0
              : load_payload_bits(payload, slot.bit + uint64_t{j} * code.low_bits, code.low_bits);
      positions[j] = ((bit - j) << code.low_bits) | low;
    }
    found += total;
  }
  if (cta.thread() == 0) {
    shared.bad = found == slot.kept ? 0 : 1;
  }
  cta.sync();
  if (found == slot.kept) {
    for (uint32_t j = cta.thread(); j < slot.kept; j += kBlockThreads) {
      if (positions[j] >= size || (j > 0 && positions[j - 1] >= positions[j])) {
        cta.atomic_or(&shared.bad, 1);
      }
    }
  }
  cta.sync();
  const bool good = shared.bad == 0;
  cta.sync();
  return good;
}

template <typename Cta>
LACONIC_DEVICE void add_chunk(Cta& cta, TopKDecodeShared& shared, const TopKDecodeArgs& args,
                              uint32_t chunk) {
  const uint32_t size = chunk_elements(args.shape, chunk);
  float* out = args.out + int64_t{chunk} * core::kTopKChunk;
  for (int32_t p = 0; p < args.count; ++p) {
    const ChunkSlot slot = args.chunks[int64_t{p} * args.shape.chunks + chunk];
    if (slot.kept == 0) {
      continue;
    }
    const int64_t at = p * args.shape.kept_max + slot.rank;
    uint32_t* positions = args.positions + at;
    if (!decode_chunk_positions(cta, shared, args.payloads + p * args.stride_words, slot, size,
                                positions)) {
      if (cta.thread() == 0) {
        report_payload(cta, args.fault, p, PayloadFault::kPositions);
      }
      continue;
    }
    const float* values = args.values + at;
    for (uint32_t j = cta.thread(); j < slot.kept; j += kBlockThreads) {
      float& sum = out[positions[j]];
      sum = add_decoded(p == 0 && !args.add, sum, args.sign, values[j]);
    }
    cta.sync();
  }
  if (args.divisor != 1) {
    for (uint32_t i = cta.thread(); i < size; i += kBlockThreads) {
      out[i] /= args.divisor;
    }
  }
}

// Grid: as many blocks as run at once, or fewer.
template <typename Cta>
LACONIC_DEVICE void top_k_decode(Cta& cta, TopKDecodeShared& shared, const TopKDecodeArgs& args) {
  read_payloads(cta, args);
  if (!args.add) {
    const uint64_t step = uint64_t{cta.blocks()} * kBlockThreads;
    for (uint64_t i = uint64_t{cta.block()} * kBlockThreads + cta.thread();
         i < static_cast<uint64_t>(args.shape.elements); i += step) {
      args.out[i] = 0;
    }
  }
  cta.grid_sync();
  for (int32_t p = 0; p < args.count; ++p) {
    if (args.infos[p].bad != 0) {
      return;
    }
  }
  decode_values(cta, args);
  cta.grid_sync();
  for (uint32_t chunk = cta.block(); chunk < args.shape.chunks; chunk += cta.blocks()) {
    add_chunk(cta, shared, args, chunk);
  }
}

}  // namespace laconic::compress::cuda
