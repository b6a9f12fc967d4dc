#if defined(__x86_64__)

#include <immintrin.h>

#include "common/compress/select_kernels.h"

namespace laconic::compress {
namespace {

struct Lanes {
  __m256i mask = _mm256_set1_epi32(static_cast<int>(kMagnitudeMask));
  __m256i below;  // threshold - 1: there is no "greater or equal" for integers
  __m256i positions;
  __m256i largest = _mm256_setzero_si256();
  size_t count;
};

// Fetches what comes a page later. The loops have too many instructions per line for the machine to
// look that far ahead by itself.
inline void prefetch(const float* from) {
  constexpr uintptr_t kAheadBytes = 4096;
  const uintptr_t at = reinterpret_cast<uintptr_t>(from) + kAheadBytes;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer may not point that far behind the array.
  _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
}

// Lane numbers of the set bits of `taken`, in order; there is no compress instruction. The bits are
// spread to bytes, the numbers 0..7 are picked from bytes by them, and bytes become lanes.
inline __m256i lanes_of(uint32_t taken) {
  const uint64_t bytes = _pdep_u64(taken, 0x0101010101010101ULL) * 0xFF;
  const uint64_t numbers = _pext_u64(0x0706050403020100ULL, bytes);
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(numbers)));
}

// Appends those of 8 values whose lane is in `valid` and that reach the threshold.
inline void append(__m256 x, uint32_t valid, Lanes& lanes, const SelectOutput& out) {
  const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(x), lanes.mask);
  // Signed comparisons are right: magnitudes are below 2^31.
  lanes.largest = _mm256_max_epi32(lanes.largest, magnitude);
  const __m256i above = _mm256_cmpgt_epi32(magnitude, lanes.below);
  const uint32_t taken =
      static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(above))) & valid;
  const auto count = static_cast<size_t>(_mm_popcnt_u32(taken));
  const __m256i order = lanes_of(taken);
  const __m256i positions = _mm256_permutevar8x32_epi32(lanes.positions, order);
  const __m256 values = _mm256_permutevar8x32_ps(x, order);
  // Nearly always a half is enough, and a short write seldom crosses a cache line.
  if (count > 4) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.positions + lanes.count), positions);
    _mm256_storeu_ps(out.values + lanes.count, values);
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.positions + lanes.count),
                     _mm256_castsi256_si128(positions));
    _mm_storeu_ps(out.values + lanes.count, _mm256_castps256_ps128(values));
  }
  lanes.count += count;
  lanes.positions = _mm256_add_epi32(lanes.positions, _mm256_set1_epi32(8));
}

uint32_t largest_lane(__m256i lanes) {
  alignas(32) uint32_t magnitudes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(magnitudes), lanes);
  uint32_t largest = 0;
  for (const uint32_t magnitude : magnitudes) {
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

// All ones in the first `count` lanes.
inline __m256i first_lanes(size_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

}  // namespace

void select_block_avx2(const SelectBlock& in, SelectOutput& out) {
  Lanes lanes{
      .below = _mm256_set1_epi32(static_cast<int>(in.threshold) - 1),
      .positions = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(in.first_position)),
                                    _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
      .count = out.count,
  };
  const __m256 decay = _mm256_set1_ps(in.decay);
  const size_t rest = in.count % 8;
  const size_t whole = in.count - rest;
  const __m256i valid = first_lanes(rest);
  const uint32_t valid_bits = (1U << rest) - 1;
  if (in.v == nullptr) {
    for (size_t i = 0; i < whole; i += 8) {
      prefetch(in.a + i);
      append(_mm256_loadu_ps(in.a + i), 0xFF, lanes, out);
    }
    if (rest != 0) {
      append(_mm256_maskload_ps(in.a + whole, valid), valid_bits, lanes, out);
    }
  } else {
    for (size_t i = 0; i < whole; i += 8) {
      prefetch(in.a + i);
      prefetch(in.v + i);
      const __m256 decayed = _mm256_mul_ps(decay, _mm256_loadu_ps(in.a + i));
      const __m256 x = _mm256_add_ps(decayed, _mm256_loadu_ps(in.v + i));
      _mm256_storeu_ps(in.sum + i, x);
      append(x, 0xFF, lanes, out);
    }
    if (rest != 0) {
      const __m256 decayed = _mm256_mul_ps(decay, _mm256_maskload_ps(in.a + whole, valid));
      // Lanes behind the end are masked out again: an infinite decay would make them NaN.
      const __m256 x =
          _mm256_and_ps(_mm256_add_ps(decayed, _mm256_maskload_ps(in.v + whole, valid)),
                        _mm256_castsi256_ps(valid));
      _mm256_maskstore_ps(in.sum + whole, valid, x);
      append(x, valid_bits, lanes, out);
    }
  }
  out.count = lanes.count;
  const uint32_t largest = largest_lane(lanes.largest);
  out.largest = largest > out.largest ? largest : out.largest;
}

}  // namespace laconic::compress

#endif  // defined(__x86_64__)
