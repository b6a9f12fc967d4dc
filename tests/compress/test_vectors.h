// Inputs that several tests of the codecs share.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/codec_spec.h"
#include "common/core/layout.h"
#include "common/core/random.h"

namespace laconic::compress {

// `count` normal numbers (Box and Muller, 1958).
inline std::vector<float> gauss(uint64_t seed, int64_t count) {
  core::Random random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    value = static_cast<float>(radius * std::cos(2 * std::numbers::pi * random.uniform()));
  }
  return values;
}

inline core::Layout flat(int64_t elements) {
  return {.tensors = {{"w", 1, elements}}};
}

// Rows of 7 elements, then one row of what is left.
inline core::Layout rows_of_seven(int64_t elements) {
  core::Layout layout;
  if (elements >= 7) {
    layout.tensors.push_back({"weight", elements / 7, 7});
  }
  if (elements % 7 != 0) {
    layout.tensors.push_back({"bias", 1, elements % 7});
  }
  return layout;
}

inline core::CodecSpec quantize_blocks(int bits, int64_t block) {
  return {.kind = core::CodecKind::kQuantize, .bits = bits, .rows = false, .block = block};
}

inline core::CodecSpec quantize_rows(int bits) {
  return {.kind = core::CodecKind::kQuantize, .bits = bits, .rows = true};
}

inline core::CodecSpec top_k(int bits, double density) {
  return {.kind = core::CodecKind::kTopK, .bits = bits, .density = density};
}

// One of every kind, bits and grouping, top-k in several densities.
inline std::vector<core::CodecSpec> every_spec() {
  std::vector<core::CodecSpec> specs{core::CodecSpec{}};
  for (const int bits : {8, 4, 2, 1}) {
    specs.push_back(quantize_rows(bits));
    for (const int64_t block : {16, 64, 256, 65536}) {
      specs.push_back(quantize_blocks(bits, block));
    }
  }
  for (const int bits : {32, 8, 4, 2, 1}) {
    for (const double density : {0.001, 0.01, 1.0 / 64, 0.1, 0.5}) {
      specs.push_back(top_k(bits, density));
    }
  }
  return specs;
}

inline std::string describe(const core::CodecSpec& spec) {
  return absl::StrCat("kind ", static_cast<int>(spec.kind), ", ", spec.bits, " bits, rows ",
                      spec.rows, ", block ", spec.block, ", density ", spec.density);
}

}  // namespace laconic::compress
