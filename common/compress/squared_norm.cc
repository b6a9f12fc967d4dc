#include "common/compress/squared_norm.h"

#include "common/compress/quantize_kernels.h"

namespace laconic::compress {

double squared_norm(std::span<const float> values) {
  return quantize_kernels().squared_norm(values.data(), static_cast<int64_t>(values.size()));
}

}  // namespace laconic::compress
