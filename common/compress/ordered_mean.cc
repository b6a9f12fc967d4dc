#include "common/compress/ordered_mean.h"

#include "common/compress/quantize_kernels.h"

namespace laconic::compress {

void ordered_mean(std::span<const uint8_t* const> terms, std::span<uint8_t> out) {
  quantize_kernels().ordered_mean(terms.data(), static_cast<int64_t>(terms.size()), out.data(),
                                  static_cast<int64_t>(out.size() / sizeof(float)));
}

}  // namespace laconic::compress
