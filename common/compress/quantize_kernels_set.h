// The set of kernels made of one vector set V (quantize_kernels_lanes.h).
#pragma once

#include "common/compress/quantize_kernels_levels.h"
#include "common/compress/quantize_kernels_linear.h"

namespace laconic::compress {

template <class V, bool kSum>
struct Encoders {
  static constexpr EncodeKernel kFloat32 = encode_float32<V, kSum>;
  static constexpr EncodeKernel kLinear8 = encode_linear<V, kSum, 127, kLinear8ScaleMax>;
  static constexpr EncodeKernel kLinear4 = encode_linear<V, kSum, 7, kLinear4ScaleMax>;
  static constexpr EncodeKernel kLog4 = encode_log4<V, kSum>;
  static constexpr EncodeKernel kTwoLevels = encode_two_levels<V, kSum>;
  static constexpr EncodeKernel kSign = encode_sign<V, kSum>;
};

template <class V, bool kAdd>
struct Decoders {
  static constexpr DecodeKernel kFloat32 = decode_float32<V, kAdd>;
  static constexpr DecodeKernel kLinear8 = decode_linear<V, kAdd, 127, kLinear8ScaleMax>;
  static constexpr DecodeKernel kLinear4 = decode_linear<V, kAdd, 7, kLinear4ScaleMax>;
  static constexpr DecodeKernel kLog4 = decode_log4<V, kAdd>;
  static constexpr DecodeKernel kTwoLevels = decode_two_levels<V, kAdd>;
  static constexpr DecodeKernel kSign = decode_sign<V, kAdd>;
};

template <class V>
constexpr QuantizeKernels make_kernels() {
  using Plain = Encoders<V, false>;
  using Sum = Encoders<V, true>;
  using Set = Decoders<V, false>;
  using Add = Decoders<V, true>;
  return {
      .float32 = {Plain::kFloat32, Sum::kFloat32, Set::kFloat32, Add::kFloat32},
      .linear8 = {Plain::kLinear8, Sum::kLinear8, Set::kLinear8, Add::kLinear8},
      .linear4 = {Plain::kLinear4, Sum::kLinear4, Set::kLinear4, Add::kLinear4},
      .log4 = {Plain::kLog4, Sum::kLog4, Set::kLog4, Add::kLog4},
      .two_levels = {Plain::kTwoLevels, Sum::kTwoLevels, Set::kTwoLevels, Add::kTwoLevels},
      .sign = {Plain::kSign, Sum::kSign, Set::kSign, Add::kSign},
      .squared_norm = squared_norm_of<V>,
      .ordered_mean = ordered_mean_of<V>,
  };
}

}  // namespace laconic::compress
