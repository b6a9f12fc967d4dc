// The inner loops of the value codes (value_coder.h), one set per vector instruction set. The
// scalar set is the specification; the others make the same bytes and the same float32.
//
// A kernel works on a run: consecutive groups of equal length. Codes of all runs form one bit
// stream, so a run may begin within a byte.
#pragma once

#include <cstddef>
#include <cstdint>

namespace laconic::compress {

// A bit stream that is written: whole 64-bit words at `out`, the next bits in `pending`.
struct CodeSink {
  uint8_t* out = nullptr;
  uint64_t pending = 0;
  int bits = 0;  // in `pending`, 0..63; above them it is zero
};

// A bit stream that is read.
struct CodeSource {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  size_t at = 0;  // in bits
};

struct EncodeRun {
  const float* values = nullptr;  // [groups length]; encode_sum: the same memory as `sum`
  const float* addend = nullptr;  // encode_sum: values are decay sum + addend, written to `sum`
  float* sum = nullptr;
  float decay = 0;
  int64_t groups = 0;
  int64_t length = 0;         // >= 1
  uint8_t* scales = nullptr;  // scales_per_group each, bfloat16
};

struct DecodeRun {
  const uint8_t* scales = nullptr;
  int64_t groups = 0;
  int64_t length = 0;
  float* out = nullptr;  // [groups length]
  float sign = 1;        // 1 or -1; 1 for decode
};

// False if a value is not finite: what has been written is unspecified then, but `sum` is complete
// up to and including the first such value.
using EncodeKernel = bool (*)(const EncodeRun& run, CodeSink& sink);

// False if no encoder makes these scales or codes; `out` is unspecified then. The source holds all
// codes of the run: the caller checks the size.
using DecodeKernel = bool (*)(const DecodeRun& run, CodeSource& source);

struct CodeKernels {
  EncodeKernel encode = nullptr;      // of runs without an addend
  EncodeKernel encode_sum = nullptr;  // of runs with one
  DecodeKernel decode = nullptr;
  DecodeKernel decode_add = nullptr;  // out + sign D instead of D
};

struct QuantizeKernels {
  CodeKernels float32;  // no scales; `sink` and `source` hold whole bytes
  CodeKernels linear8;  // likewise
  CodeKernels linear4;
  CodeKernels log4;
  CodeKernels two_levels;
  CodeKernels sign;
  // |values|^2: four sums with lanes as in those of the codes take 16 values each in turn; the
  // third is added to the first, the fourth to the second, the second to the first.
  double (*squared_norm)(const float* values, int64_t count) = nullptr;
  // As ordered_mean() says; terms: `ranks` times [count] f32 at any alignment, out: likewise.
  void (*ordered_mean)(const uint8_t* const* terms, int64_t ranks, uint8_t* out,
                       int64_t count) = nullptr;
};

// Levels of kLog4, from scales as they are sent.
struct LogLevels {
  float magnitude[8];  // ascending
  float middle[7];     // a magnitude above middle[i] is nearer to level i + 1 than to level i
};
// Returns false if no encoder makes these scales.
bool make_log_levels(uint32_t smallest, uint32_t largest, LogLevels& levels);

// Those of simd_level().
const QuantizeKernels& quantize_kernels();

// The sets. Call the vector ones only where simd_supported() says so.
extern const QuantizeKernels kScalarKernels;
extern const QuantizeKernels kAvx2Kernels;
extern const QuantizeKernels kAvx512Kernels;

}  // namespace laconic::compress
