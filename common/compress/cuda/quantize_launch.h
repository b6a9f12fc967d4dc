// How many blocks of kBlockThreads threads the quantize kernels get. For host code.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/compress/cuda/quantize_decode.h"

namespace laconic::compress::cuda {

// Blocks that keep any device busy; more groups than that are taken in turns.
inline constexpr int64_t kGroupBlocksMax = 8192;

inline uint32_t group_blocks(const QuantizeShape& shape) {
  const int64_t per_block = shape.long_groups ? 1 : int64_t{kBlockWarps};
  const int64_t needed = (shape.groups + per_block - 1) / per_block;
  return static_cast<uint32_t>(std::min(needed, kGroupBlocksMax));
}

inline uint32_t encode_blocks(const QuantizeShape& shape) {
  return shape.log2_block == 0
             ? group_blocks(shape)
             : static_cast<uint32_t>((shape.values + kBlockTileValues - 1) / kBlockTileValues);
}

inline uint32_t decode_blocks_of(const QuantizeShape& shape) {
  constexpr int64_t kPerBlock = 4 * int64_t{kBlockThreads};
  return shape.log2_block == 0 ? group_blocks(shape)
                               : static_cast<uint32_t>((shape.values + kPerBlock - 1) / kPerBlock);
}

}  // namespace laconic::compress::cuda
