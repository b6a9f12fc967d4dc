// The scalar kernels: the specification that the others must meet bit by bit.
#include "common/compress/quantize_kernels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "common/compress/input_check.h"
#include "common/compress/levels.h"
#include "common/compress/quantize_kernels_stream.h"
#include "common/compress/simd.h"
#include "common/core/bfloat16.h"
#include "common/core/bits.h"

namespace laconic::compress {
namespace {

using core::ValueCode;

// Group g of the run, after the sum if there is one.
std::span<const float> take_group(const EncodeRun& run, int64_t g) {
  const int64_t begin = g * run.length;
  if (run.addend != nullptr) {
    for (int64_t i = begin; i < begin + run.length; ++i) {
      run.sum[i] = run.decay * run.sum[i] + run.addend[i];
    }
  }
  return {run.values + begin, static_cast<size_t>(run.length)};
}

// Two's complement in b bits; the lowest code, -2^(b-1), is reserved.
uint32_t linear_code(ValueCode code, float scale, float v) {
  // A division, not a product with 1/s: it makes v - q s exact in float32 (Sterbenz), because q is
  // never off by one at the border between two codes. Nor is it beyond the largest code: the scale
  // is rounded up, and the largest float32 is only 127.01 or 7.02 of the largest scales.
  const float q = scale > 0 ? std::nearbyint(v / scale) : 0.0F;
  return static_cast<uint32_t>(static_cast<int32_t>(q)) & ((1U << core::value_bits(code)) - 1);
}

uint32_t level_code(ValueCode code, const Levels& levels, float v) {
  // A comparison, not the sign bit: equal numbers give equal bytes, also 0 and -0.
  const uint32_t sign = v < 0 ? 1 : 0;
  return (sign << (core::value_bits(code) - 1)) | nearest_level(levels, std::abs(v));
}

template <ValueCode kCode>
bool encode_groups(const EncodeRun& run, CodeSink& sink) {
  constexpr bool kLinear = kCode == ValueCode::kLinear8 || kCode == ValueCode::kLinear4;
  const int bits = core::value_bits(kCode);
  const int per_group = core::scales_per_group(kCode);
  uint8_t* scale_at = run.scales;
  for (int64_t g = 0; g < run.groups; ++g) {
    const std::span<const float> group = take_group(run, g);
    if (!all_finite(group)) {
      return false;
    }
    const Scales scales = fit_scales(kCode, group);
    for (int i = 0; i < per_group; ++i, scale_at += 2) {
      core::store_u16(scales[static_cast<size_t>(i)], scale_at);
    }
    const float scale = core::bf16_value(scales[0]);
    const Levels levels = make_levels(kCode, scales);
    for (const float v : group) {
      put_code_bits(sink, kLinear ? linear_code(kCode, scale, v) : level_code(kCode, levels, v),
                    bits);
    }
    if constexpr (kCode == ValueCode::kLinear8) {
      // Other kernels write whole bytes.
      std::memcpy(sink.out, &sink.pending, static_cast<size_t>(sink.bits / 8));
      sink.out += sink.bits / 8;
      sink.pending = 0;
      sink.bits = 0;
    }
  }
  return true;
}

bool encode_floats(const EncodeRun& run, CodeSink& sink) {
  for (int64_t g = 0; g < run.groups; ++g) {
    const std::span<const float> group = take_group(run, g);
    if (!all_finite(group)) {
      return false;
    }
    std::memcpy(sink.out, group.data(), group.size_bytes());
    sink.out += group.size_bytes();
  }
  return true;
}

// What each code of at most 4 bits stands for; a NaN marks the reserved one.
std::array<float, 16> make_table(ValueCode code, const Scales& scales) {
  std::array<float, 16> table{};
  if (code == ValueCode::kLinear4) {
    const float scale = core::bf16_value(scales[0]);
    for (int q = 0; q < 16; ++q) {
      table[static_cast<size_t>(q)] = static_cast<float>(q < 8 ? q : q - 16) * scale;
    }
    table[8] = std::numeric_limits<float>::quiet_NaN();
    return table;
  }
  const Levels levels = make_levels(code, scales);
  const size_t half = size_t{1} << (core::value_bits(code) - 1);
  for (size_t i = 0; i < half; ++i) {
    table[i] = levels.magnitude[i];
    table[half + i] = -levels.magnitude[i];
  }
  return table;
}

template <bool kAdd>
float given(float before, float sign, float decoded) {
  return kAdd ? before + sign * decoded : decoded;
}

template <bool kAdd>
bool decode_linear8(const DecodeRun& run, CodeSource& source) {
  bool valid = true;
  for (int64_t g = 0; g < run.groups; ++g) {
    const Scales scales{core::load_u16(run.scales + 2 * g), 0};
    if (!valid_scales(ValueCode::kLinear8, scales)) {
      return false;
    }
    const float scale = core::bf16_value(scales[0]);
    for (int64_t i = g * run.length; i < (g + 1) * run.length; ++i) {
      const auto q = static_cast<int8_t>(get_code_bits(source, 8));
      valid = valid && q != -128;
      run.out[i] = given<kAdd>(run.out[i], run.sign, static_cast<float>(q) * scale);
    }
  }
  return valid;
}

template <ValueCode kCode, bool kAdd>
bool decode_groups(const DecodeRun& run, CodeSource& source) {
  const int bits = core::value_bits(kCode);
  const int per_group = core::scales_per_group(kCode);
  const uint8_t* scale_at = run.scales;
  bool valid = true;
  for (int64_t g = 0; g < run.groups; ++g) {
    Scales scales{};
    for (int i = 0; i < per_group; ++i, scale_at += 2) {
      scales[static_cast<size_t>(i)] = core::load_u16(scale_at);
    }
    if (!valid_scales(kCode, scales)) {
      return false;
    }
    const std::array<float, 16> table = make_table(kCode, scales);
    for (int64_t i = g * run.length; i < (g + 1) * run.length; ++i) {
      const float value = table[get_code_bits(source, bits)];
      valid = valid && !std::isnan(value);
      run.out[i] = given<kAdd>(run.out[i], run.sign, value);
    }
  }
  return valid;
}

template <bool kAdd>
bool decode_floats(const DecodeRun& run, CodeSource& source) {
  const int64_t count = run.groups * run.length;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i, source.at += 32) {
    float value = 0;
    std::memcpy(&value, source.bytes + source.at / 8, sizeof value);
    finite = finite && std::isfinite(value);
    run.out[i] = given<kAdd>(run.out[i], run.sign, value);
  }
  return finite;
}

double scalar_squared_norm(const float* values, int64_t count) {
  std::array<LaneSums, 4> sums;  // of the 16 values at 64 j, 64 j + 16, 64 j + 32, 64 j + 48
  for (int64_t i = 0; i < count; ++i) {
    sums[static_cast<size_t>(i / 16 % 4)].add(
        i, static_cast<double>(values[i]) * static_cast<double>(values[i]));
  }
  sums[0] += sums[2];
  sums[1] += sums[3];
  sums[0] += sums[1];
  return sums[0].total();
}

void scalar_ordered_mean(const uint8_t* const* terms, int64_t ranks, uint8_t* out, int64_t count) {
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    double sum = 0;
    for (int64_t r = 0; r < ranks; ++r) {
      float term = 0;
      std::memcpy(&term, terms[r] + 4 * i, sizeof term);
      sum += static_cast<double>(term);
    }
    const auto mean = static_cast<float>(sum / static_cast<double>(ranks));
    std::memcpy(out + 4 * i, &mean, sizeof mean);
  }
}

template <ValueCode kCode>
constexpr CodeKernels scalar_kernels() {
  return {encode_groups<kCode>, encode_groups<kCode>, decode_groups<kCode, false>,
          decode_groups<kCode, true>};
}

constexpr QuantizeKernels scalar_set() {
  return {
      .float32 = {encode_floats, encode_floats, decode_floats<false>, decode_floats<true>},
      .linear8 = {encode_groups<ValueCode::kLinear8>, encode_groups<ValueCode::kLinear8>,
                  decode_linear8<false>, decode_linear8<true>},
      .linear4 = scalar_kernels<ValueCode::kLinear4>(),
      .log4 = scalar_kernels<ValueCode::kLog4>(),
      .two_levels = scalar_kernels<ValueCode::kTwoLevels>(),
      .sign = scalar_kernels<ValueCode::kSign>(),
      .squared_norm = scalar_squared_norm,
      .ordered_mean = scalar_ordered_mean,
  };
}

}  // namespace

constinit const QuantizeKernels kScalarKernels = scalar_set();

bool make_log_levels(uint32_t smallest, uint32_t largest, LogLevels& levels) {
  const Scales scales{static_cast<uint16_t>(smallest), static_cast<uint16_t>(largest)};
  if (!valid_scales(ValueCode::kLog4, scales)) {
    return false;
  }
  const Levels made = make_levels(ValueCode::kLog4, scales);
  std::copy(made.magnitude.begin(), made.magnitude.end(), levels.magnitude);
  for (size_t i = 0; i + 1 < made.magnitude.size(); ++i) {
    // As in nearest_level(): in double. A float32 is above it if and only if it is above the
    // largest float32 that is not.
    const double middle =
        (static_cast<double>(made.magnitude[i]) + static_cast<double>(made.magnitude[i + 1])) / 2;
    const auto nearest = static_cast<float>(middle);
    levels.middle[i] =
        static_cast<double>(nearest) > middle ? std::nextafter(nearest, 0.0F) : nearest;
  }
  return true;
}

const QuantizeKernels& quantize_kernels() {
#if defined(__x86_64__)
  switch (simd_level()) {
    case SimdLevel::kScalar:
      break;
    case SimdLevel::kAvx2:
      return kAvx2Kernels;
    case SimdLevel::kAvx512:
      return kAvx512Kernels;
  }
#endif
  return kScalarKernels;
}

}  // namespace laconic::compress
