#if defined(__x86_64__)

// g++ 12 takes the deliberately undefined registers in this header for mistakes
// (gcc.gnu.org/PR105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "common/compress/quantize_kernels_set.h"

namespace laconic::compress {
namespace {

struct Avx512 {
  using Floats = __m512;
  using Ints = __m512i;
  struct Sums {
    __m512d low;   // lanes 0..7
    __m512d high;  // lanes 8..15
  };

  static __mmask16 first(int64_t n) { return static_cast<__mmask16>((1U << n) - 1); }
  static Floats load(const float* from) { return _mm512_loadu_ps(from); }
  static Floats load_unaligned(const uint8_t* from) { return _mm512_loadu_ps(from); }
  static void store_unaligned(uint8_t* to, Floats x) { _mm512_storeu_ps(to, x); }
  static Floats load_part(const float* from, int64_t n) {
    return _mm512_maskz_loadu_ps(first(n), from);
  }
  static void store(float* to, Floats x) { _mm512_storeu_ps(to, x); }
  static void store_part(float* to, Floats x, int64_t n) { _mm512_mask_storeu_ps(to, first(n), x); }
  static Floats broadcast(float x) { return _mm512_set1_ps(x); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats magnitude(Floats x) { return _mm512_abs_ps(x); }
  static Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }

  static Ints zero_ints() { return _mm512_setzero_si512(); }
  static Ints magnitude_bits(Floats x) {
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
  }
  static Ints max(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
  static Ints min(Ints a, Ints b) { return _mm512_min_epi32(a, b); }
  static uint32_t largest(Ints x) { return static_cast<uint32_t>(_mm512_reduce_max_epi32(x)); }
  static int32_t lowest(Ints x) { return _mm512_reduce_min_epi32(x); }

  static uint32_t negative(Floats x) {
    return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  }

  static Sums zero_sums() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  static __m512d doubles_low(Floats x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
  static __m512d doubles_high(Floats x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
  static void accumulate(Sums& sums, Floats x) {
    sums.low = _mm512_add_pd(sums.low, doubles_low(x));
    sums.high = _mm512_add_pd(sums.high, doubles_high(x));
  }
  // The square of a float32 has 48 bits: fused or not, there is one rounding.
  static void accumulate_squares(Sums& sums, Floats x) {
    const __m512d low = doubles_low(x);
    const __m512d high = doubles_high(x);
    sums.low = _mm512_fmadd_pd(low, low, sums.low);
    sums.high = _mm512_fmadd_pd(high, high, sums.high);
  }
  static void add_to(Sums& sums, const Sums& other) {
    sums.low = _mm512_add_pd(sums.low, other.low);
    sums.high = _mm512_add_pd(sums.high, other.high);
  }
  // Returns how many are above the limit; adds those.
  static int64_t accumulate_above(Sums& sums, Floats magnitude, Floats limit) {
    const __mmask16 above = _mm512_cmp_ps_mask(magnitude, limit, _CMP_GT_OQ);
    accumulate(sums, _mm512_maskz_mov_ps(above, magnitude));
    return __builtin_popcount(above);
  }
  static __m512d broadcast_double(double x) { return _mm512_set1_pd(x); }
  static void store_doubles(double* to, Floats x) {
    _mm512_store_pd(to, doubles_low(x));
    _mm512_store_pd(to + 8, doubles_high(x));
  }
  // The same of 16 doubles.
  static int64_t accumulate_above(Sums& sums, const double* from, __m512d limit) {
    const __m512d low = _mm512_load_pd(from);
    const __m512d high = _mm512_load_pd(from + 8);
    const __mmask8 low_above = _mm512_cmp_pd_mask(low, limit, _CMP_GT_OQ);
    const __mmask8 high_above = _mm512_cmp_pd_mask(high, limit, _CMP_GT_OQ);
    sums.low = _mm512_mask_add_pd(sums.low, low_above, sums.low, low);
    sums.high = _mm512_mask_add_pd(sums.high, high_above, sums.high, high);
    return __builtin_popcount(static_cast<unsigned>(low_above) | static_cast<unsigned>(high_above)
                                                                     << 8);
  }
  // To nearest, in one rounding after that of the division.
  static Floats quotient(const Sums& sums, double divisor) {
    const __m512d all = _mm512_set1_pd(divisor);
    const __m256 low = _mm512_cvtpd_ps(_mm512_div_pd(sums.low, all));
    const __m256 high = _mm512_cvtpd_ps(_mm512_div_pd(sums.high, all));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }
  static double total(const Sums& sums) {
    const __m512d eight = _mm512_add_pd(sums.low, sums.high);
    const __m256d four =
        _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
  }

  // The smallest scale s with most s >= the largest magnitude, but at most `scale_max`; and the
  // step to divide by: s, or 1 for a group of zeros. Nothing is rounded in most s: 7 + 8 bits.
  template <int kMost, uint32_t kScaleMax>
  static void linear_scales(const uint32_t* largest, uint16_t* scales, float* steps) {
    const Floats absmax = _mm512_loadu_ps(largest);
    const Floats most = _mm512_set1_ps(kMost);
    const Ints ratio = _mm512_castps_si512(_mm512_div_ps(absmax, most));
    Ints scale = _mm512_srli_epi32(_mm512_add_epi32(ratio, _mm512_set1_epi32(0xFFFF)), 16);
    const Floats reached = _mm512_mul_ps(most, _mm512_castsi512_ps(_mm512_slli_epi32(scale, 16)));
    const __mmask16 short_of = _mm512_cmp_ps_mask(reached, absmax, _CMP_LT_OQ);
    scale = _mm512_mask_add_epi32(scale, short_of, scale, _mm512_set1_epi32(1));
    scale = _mm512_min_epi32(scale, _mm512_set1_epi32(kScaleMax));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(scales), _mm512_cvtepi32_epi16(scale));
    const __mmask16 none = _mm512_cmpeq_epi32_mask(scale, _mm512_setzero_si512());
    const Floats step = _mm512_castsi512_ps(_mm512_slli_epi32(scale, 16));
    _mm512_storeu_ps(steps, _mm512_mask_blend_ps(none, step, _mm512_set1_ps(1)));
  }

  // To nearest, ties to even.
  static Ints nearest_ints(Floats x) { return _mm512_cvtps_epi32(x); }
  static void store_bytes(uint8_t* to, Ints x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x));
  }
  static void store_bytes_part(uint8_t* to, Ints x, int64_t n) {
    _mm_mask_storeu_epi8(to, first(n), _mm512_cvtepi32_epi8(x));
  }
  static Ints load_bytes(const uint8_t* from) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Ints load_bytes_part(const uint8_t* from, int64_t n) {
    return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first(n), from));
  }

  static uint64_t nibbles(Ints x) {
    const __m128i bytes = _mm_and_si128(_mm512_cvtepi32_epi8(x), _mm_set1_epi8(0x0F));
    // Pairs: low + 16 high.
    const __m128i pairs = _mm_maddubs_epi16(bytes, _mm_set1_epi16(0x1001));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs)));
  }
  // 16 codes of 4 bits in two's complement.
  static Ints from_nibbles(uint64_t word) {
    const Ints both = _mm512_inserti64x4(
        _mm512_set1_epi32(static_cast<int32_t>(static_cast<uint32_t>(word))),
        _mm256_set1_epi32(static_cast<int32_t>(static_cast<uint32_t>(word >> 32))), 1);
    const Ints places = _mm512_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
    return _mm512_srai_epi32(_mm512_sllv_epi32(both, places), 28);
  }

  // Bit 1: sign; bit 0: above the middle.
  static uint32_t two_bit_codes(Floats x, Floats middle) {
    const uint32_t above = _mm512_cmp_ps_mask(magnitude(x), middle, _CMP_GT_OQ);
    return _pdep_u32(above, 0x55555555) | _pdep_u32(negative(x), 0xAAAAAAAA);
  }
  static Floats table_of_four(float low, float high) {
    return _mm512_broadcast_f32x4(_mm_setr_ps(low, high, -low, -high));
  }
  static Floats look_up_four(Floats table, uint32_t word) {
    const Ints places =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const Ints codes = _mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int32_t>(word)), places);
    return _mm512_permutevar_ps(table, codes);  // Looks at the two lowest bits only.
  }

  // Bit 3: sign; bits 0..2: the nearest level.
  static Ints level_codes(Floats x, const LogLevels& levels) {
    const Floats positive = magnitude(x);
    const Ints sign = _mm512_maskz_set1_epi32(static_cast<__mmask16>(negative(x)), 8);
    Ints codes = sign;
    for (const float middle : levels.middle) {
      const __mmask16 above = _mm512_cmp_ps_mask(positive, _mm512_set1_ps(middle), _CMP_GT_OQ);
      codes = _mm512_mask_add_epi32(codes, above, codes, _mm512_set1_epi32(1));
    }
    return codes;
  }
  static Floats table_of_eight(const float* magnitudes, float sign) {
    const __m256 low = _mm256_mul_ps(_mm256_loadu_ps(magnitudes), _mm256_set1_ps(sign));
    const __m256 high = _mm256_xor_ps(low, _mm256_set1_ps(-0.0F));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }
  // 16 codes as level_codes() makes them.
  static Floats look_up_eight(Floats table, uint64_t word) {
    return _mm512_permutexvar_ps(from_nibbles(word), table);  // The four lowest bits count.
  }

  // Lane i negated where bit i of `negative` is set; bits above 15 do not count.
  static Floats flip_signs(Floats x, uint32_t negative) {
    const Ints bits = _mm512_castps_si512(x);
    const Ints sign = _mm512_set1_epi32(static_cast<int32_t>(0x80000000U));
    return _mm512_castsi512_ps(
        _mm512_mask_xor_epi32(bits, static_cast<__mmask16>(negative), bits, sign));
  }
};

}  // namespace

constinit const QuantizeKernels kAvx512Kernels = make_kernels<Avx512>();

}  // namespace laconic::compress

#endif
