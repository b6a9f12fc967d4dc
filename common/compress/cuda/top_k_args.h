// What the top-k kernels are given. Plain data: copied to the device as kernel arguments.
//
//   d  elements    k  kept by an exact selection    c  kept of a chunk    T  threshold
#pragma once

#include <cstdint>

#include "common/compress/cuda/cta.h"
#include "common/core/payload_size.h"

namespace laconic::compress::cuda {

// Elements that a block selects from at a time: a sixteenth of a chunk.
inline constexpr int64_t kTopKTile = 4096;
inline constexpr int64_t kTilesPerChunk = core::kTopKChunk / kTopKTile;
// Positions of vectors up to this length are counted in 32 bits.
inline constexpr int64_t kTopKElementsMax = int64_t{1} << 31;
inline constexpr int32_t kRoundsPerExact = 32;  // as in top_k_codec.cc

// Magnitude bits of an exact selection are found digit by digit, from the highest.
inline constexpr uint32_t digit_shift(int digit) {
  return digit == 0 ? 19 : digit == 1 ? 9 : 0;
}
inline constexpr uint32_t digit_bins(int digit) {
  return digit == 0 ? 4096 : digit == 1 ? 1024 : 512;
}
inline constexpr uint32_t kBinsAll = digit_bins(0) + digit_bins(1) + digit_bins(2);

// EncodeState of the scalar code; zero before the first round.
struct TopKState {
  uint32_t threshold = 0;  // magnitude bits
  int32_t age = 0;
};

// Candidates of one tile: a slice of the candidate list, in ascending order of positions.
struct TileSlice {
  uint32_t begin = 0;
  uint32_t count = 0;
};

struct TileCounts {
  uint32_t above = 0;  // T
  uint32_t equal = 0;  // to T
};

struct ChunkSlot {
  uint64_t bit = 0;   // where the chunk begins in the payload
  uint32_t rank = 0;  // kept elements before it
  uint32_t kept = 0;
  uint32_t equal_before = 0;  // elements with magnitude T before it
};

// Zero before each encode.
struct TopKControl {
  uint64_t position_bits = 0;
  uint32_t candidates = 0;  // of the first pass
  uint32_t candidates_again = 0;
  uint32_t not_finite = 0;
  uint32_t kept = 0;
  uint32_t histogram[kBinsAll] = {};
};

struct TopKShape {
  core::ValueCode code = core::ValueCode::kFloat32;
  uint32_t bits = 32;
  uint32_t scales_per_group = 0;
  int64_t elements = 0;  // d
  int64_t kept = 0;      // k
  int64_t kept_max = 0;
  uint32_t tiles = 0;
  uint32_t chunks = 0;
};

struct TopKEncodeArgs {
  TopKShape shape;
  const float* v = nullptr;  // as in QuantizeEncodeArgs
  float* a = nullptr;
  float decay = 0;
  bool aligned = false;
  uint32_t* payload = nullptr;  // zero
  uint64_t* payload_bytes = nullptr;
  const TopKState* state = nullptr;
  TopKState* next_state = nullptr;
  uint64_t* fault = nullptr;
  // Scratch.
  uint32_t candidates_max = 0;
  uint32_t* positions = nullptr;  // [candidates_max], in the vector
  float* values = nullptr;        // [candidates_max]
  float* ranked = nullptr;        // [kept_max], by rank
  TileSlice* slices = nullptr;    // [tiles]
  TileCounts* counts = nullptr;   // [tiles]
  ChunkSlot* chunks = nullptr;    // [chunks]
  TopKControl* control = nullptr;
};

// What is known of a payload once its counts were read.
struct TopKPayload {
  uint64_t position_bytes = 0;
  uint32_t kept = 0;
  uint32_t bad = 0;
};

struct TopKDecodeArgs {
  TopKShape shape;
  const uint32_t* payloads = nullptr;
  const uint64_t* payload_bytes = nullptr;  // [count]; nullptr: unknown
  int64_t stride_words = 0;
  int64_t capacity_bytes = 0;  // of each payload
  int32_t count = 0;
  float sign = 1;
  bool add = false;
  float divisor = 1;
  float* out = nullptr;
  uint64_t* fault = nullptr;
  // Scratch of each payload.
  TopKPayload* infos = nullptr;   // [count]
  ChunkSlot* chunks = nullptr;    // [count chunks]
  uint32_t* positions = nullptr;  // [count kept_max]
  float* values = nullptr;        // [count kept_max]
};

// core::chunk_code() and count_bits() for kernels.
struct DeviceChunkCode {
  bool bitmap = false;
  uint32_t low_bits = 0;
  uint32_t upper_bits = 0;
  uint32_t bits = 0;  // without the count
};

inline constexpr uint32_t device_count_bits(uint32_t chunk_elements) {
  return static_cast<uint32_t>(std::bit_width(chunk_elements));
}

inline constexpr DeviceChunkCode device_chunk_code(uint32_t chunk_elements, uint32_t kept) {
  if (kept == 0) {
    return {};
  }
  const auto low = static_cast<uint32_t>(std::bit_width(chunk_elements / kept / 2));
  const uint32_t upper = kept + ((chunk_elements - 1) >> low) + 1;
  const uint32_t bits = kept * low + upper;
  if (chunk_elements < bits) {
    return {.bitmap = true, .low_bits = 0, .upper_bits = chunk_elements, .bits = chunk_elements};
  }
  return {.bitmap = false, .low_bits = low, .upper_bits = upper, .bits = bits};
}

inline constexpr uint32_t chunk_elements(const TopKShape& shape, uint32_t chunk) {
  const int64_t left = shape.elements - int64_t{chunk} * core::kTopKChunk;
  return static_cast<uint32_t>(left < core::kTopKChunk ? left : core::kTopKChunk);
}

}  // namespace laconic::compress::cuda
