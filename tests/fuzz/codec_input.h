// The first bytes of the codec targets' inputs: which codec, and how long its vectors are.
#pragma once

#include <cstdint>
#include <vector>

#include "common/compress/codec.h"
#include "common/compress/simd.h"
#include "common/core/codec_spec.h"
#include "tests/fuzz/input.h"

namespace laconic::fuzz {

// Above one chunk of positions (65,536), so that the second one is reached.
inline constexpr int64_t kFuzzElementsMax = 70'000;

struct CodecChoice {
  size_t spec = 0;       // 0..spec_count()-1
  int64_t elements = 1;  // 1..kFuzzElementsMax
  int64_t columns = 1;   // 1..256, of all rows but the last
};

// Byte 0: spec; 1: a short vector unless its lowest bits are 7; 2, 3: elements; 4: columns.
CodecChoice take_choice(Input& input);
// The bytes that take_choice() reads as this choice.
std::vector<uint8_t> choice_bytes(const CodecChoice& choice);

size_t spec_count();
const core::CodecSpec& spec_of(const CodecChoice& choice);
// Kept for the next call with the same choice.
const compress::Codec& codec_of(const CodecChoice& choice);

// All levels that this machine has, kScalar first.
const std::vector<compress::SimdLevel>& simd_levels();

}  // namespace laconic::fuzz
