#include "common/compress/select_kernels.h"

#include <algorithm>
#include <bit>

namespace laconic::compress {

void select_block_scalar(const SelectBlock& in, SelectOutput& out) {
  for (size_t i = 0; i < in.count; ++i) {
    float x = in.a[i];
    if (in.v != nullptr) {
      x = in.decay * x + in.v[i];
      in.sum[i] = x;
    }
    const uint32_t bits = std::bit_cast<uint32_t>(x) & kMagnitudeMask;
    out.largest = std::max(out.largest, bits);
    out.positions[out.count] = in.first_position + static_cast<uint32_t>(i);
    out.values[out.count] = x;
    out.count += bits >= in.threshold ? 1 : 0;
  }
}

SelectBlockFunction select_block_function(SimdLevel level) {
#if defined(__x86_64__)
  switch (level) {
    case SimdLevel::kAvx512:
      return select_block_avx512;
    case SimdLevel::kAvx2:
      return select_block_avx2;
    case SimdLevel::kScalar:
      break;
  }
#else
  static_cast<void>(level);
#endif
  return select_block_scalar;
}

}  // namespace laconic::compress
