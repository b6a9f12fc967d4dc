#include "common/core/method_sizes.h"

#include <algorithm>
#include <cmath>

#include "common/core/bits.h"
#include "common/core/codec_sizes.h"
#include "common/core/payload_size.h"

namespace laconic::core {

bool is_power_factored(const PowerSgdSpec& spec, const TensorShape& tensor) {
  return is_factored({.kind = CodecKind::kLowRank, .factors = spec.rank}, tensor);
}

int64_t power_sgd_floats(const PowerSgdSpec& spec, const Layout& layout) {
  int64_t floats = 0;
  for (const TensorShape& tensor : layout.tensors) {
    floats += is_power_factored(spec, tensor) ? spec.rank * (tensor.rows + tensor.columns)
                                              : tensor.elements();
  }
  return floats;
}

std::vector<DemoBlock> demo_blocks(const DemoSpec& spec, const Layout& layout) {
  const auto side = static_cast<int64_t>(spec.chunk);
  std::vector<DemoBlock> blocks;
  int64_t begin = 0;
  for (const TensorShape& tensor : layout.tensors) {
    for (int64_t row = 0; row < tensor.rows; row += side) {
      for (int64_t column = 0; column < tensor.columns; column += side) {
        const int64_t rows = std::min(side, tensor.rows - row);
        const int64_t columns = std::min(side, tensor.columns - column);
        const double share = static_cast<double>(rows * columns) / static_cast<double>(side * side);
        const int64_t kept = std::clamp<int64_t>(
            std::llround(static_cast<double>(spec.kept) * share), 1, rows * columns);
        blocks.push_back({.begin = begin + row * tensor.columns + column,
                          .rows = static_cast<int32_t>(rows),
                          .columns = static_cast<int32_t>(columns),
                          .stride = tensor.columns,
                          .kept = static_cast<int32_t>(kept)});
      }
    }
    begin += tensor.elements();
  }
  return blocks;
}

int64_t demo_payload_bytes_max(const DemoSpec& spec, const Layout& layout) {
  int64_t kept = 0;
  for (const DemoBlock& block : demo_blocks(spec, layout)) {
    kept += block.kept;
  }
  return bytes_for_bits(position_bits_max(layout.elements(), kept)) + bytes_for_bits(kept);
}

}  // namespace laconic::core
