#if defined(__x86_64__)

// GCC 12 takes the deliberately undefined registers in this header for mistakes (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)  // It does not know this one.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

#include "common/compress/select_kernels.h"

namespace laconic::compress {
namespace {

struct Lanes {
  __m512i mask = _mm512_set1_epi32(static_cast<int>(kMagnitudeMask));
  __m512i threshold;
  __m512i positions;
  __m512i largest = _mm512_setzero_si512();
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

// Appends those of 16 values whose lane is in `valid` and that reach the threshold.
inline void append(__m512 x, __mmask16 valid, Lanes& lanes, const SelectOutput& out) {
  const __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(x), lanes.mask);
  lanes.largest = _mm512_max_epu32(lanes.largest, magnitude);
  const __mmask16 taken = _mm512_mask_cmpge_epu32_mask(valid, magnitude, lanes.threshold);
  const __m512i positions = _mm512_maskz_compress_epi32(taken, lanes.positions);
  const __m512 values = _mm512_maskz_compress_ps(taken, x);
  const auto count = static_cast<size_t>(_mm_popcnt_u32(taken));
  // Nearly always a quarter is enough, and a short write seldom crosses a cache line.
  if (count > 4) {
    _mm512_storeu_si512(out.positions + lanes.count, positions);
    _mm512_storeu_ps(out.values + lanes.count, values);
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.positions + lanes.count),
                     _mm512_castsi512_si128(positions));
    _mm_storeu_ps(out.values + lanes.count, _mm512_castps512_ps128(values));
  }
  lanes.count += count;
  lanes.positions = _mm512_add_epi32(lanes.positions, _mm512_set1_epi32(16));
}

}  // namespace

void select_block_avx512(const SelectBlock& in, SelectOutput& out) {
  Lanes lanes{
      .threshold = _mm512_set1_epi32(static_cast<int>(in.threshold)),
      .positions =
          _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(in.first_position)),
                           _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)),
      .count = out.count,
  };
  const __m512 decay = _mm512_set1_ps(in.decay);
  const size_t whole = in.count - in.count % 16;
  const auto rest = static_cast<__mmask16>((1U << (in.count % 16)) - 1);
  if (in.v == nullptr) {
    for (size_t i = 0; i < whole; i += 16) {
      prefetch(in.a + i);
      append(_mm512_loadu_ps(in.a + i), 0xFFFF, lanes, out);
    }
    if (rest != 0) {
      append(_mm512_maskz_loadu_ps(rest, in.a + whole), rest, lanes, out);
    }
  } else {
    for (size_t i = 0; i < whole; i += 16) {
      prefetch(in.a + i);
      prefetch(in.v + i);
      const __m512 decayed = _mm512_mul_ps(decay, _mm512_loadu_ps(in.a + i));
      const __m512 x = _mm512_add_ps(decayed, _mm512_loadu_ps(in.v + i));
      _mm512_storeu_ps(in.sum + i, x);
      append(x, 0xFFFF, lanes, out);
    }
    if (rest != 0) {
      const __m512 decayed = _mm512_mul_ps(decay, _mm512_maskz_loadu_ps(rest, in.a + whole));
      // Lanes behind the end are masked out again: an infinite decay would make them NaN.
      const __m512 x =
          _mm512_maskz_add_ps(rest, decayed, _mm512_maskz_loadu_ps(rest, in.v + whole));
      _mm512_mask_storeu_ps(in.sum + whole, rest, x);
      append(x, rest, lanes, out);
    }
  }
  out.count = lanes.count;
  const uint32_t largest = _mm512_reduce_max_epu32(lanes.largest);
  out.largest = largest > out.largest ? largest : out.largest;
}

}  // namespace laconic::compress

#endif  // defined(__x86_64__)
