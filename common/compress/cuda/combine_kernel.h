// out <- (x [+ y]) / divisor over whole vectors: sums and means that hold no payload. One pass.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/compress/cuda/cta.h"

namespace laconic::compress::cuda {

// Each operation is rounded, as in the scalar code. out may be x or y.
struct CombineArgs {
  int64_t count = 0;         // >= 1
  const float* x = nullptr;  // [count]
  const float* y = nullptr;  // [count], or nullptr
  float divisor = 1;         // above 0
  float* out = nullptr;      // [count]
};

// Blocks that keep any device busy; threads take what is more in turns.
inline constexpr int64_t kCombineBlocksMax = 4096;

inline uint32_t combine_blocks(const CombineArgs& args) {
  return static_cast<uint32_t>(
      std::min((args.count + kBlockThreads - 1) / kBlockThreads, kCombineBlocksMax));
}

template <typename Cta>
LACONIC_DEVICE void combine(Cta& cta, const CombineArgs& args) {
  const int64_t step = int64_t{cta.blocks()} * cta.threads();
  for (int64_t i = int64_t{cta.block()} * cta.threads() + cta.thread(); i < args.count; i += step) {
    const float sum = args.y == nullptr ? args.x[i] : args.x[i] + args.y[i];
    args.out[i] = args.divisor == 1 ? sum : sum / args.divisor;
  }
}

}  // namespace laconic::compress::cuda
