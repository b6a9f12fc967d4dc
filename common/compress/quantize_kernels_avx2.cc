#if defined(__x86_64__)

#include <immintrin.h>

#include "common/compress/quantize_kernels_set.h"

namespace laconic::compress {
namespace {

// What it does is told in quantize_kernels_avx512.cc; every vector of 16 is two of 8.
struct Avx2 {
  struct Floats {
    __m256 low;
    __m256 high;
  };
  struct Ints {
    __m256i low;
    __m256i high;
  };
  struct Sums {
    __m256d part[4];  // lanes 0..3, 4..7, 8..11, 12..15
  };

  // All ones in the first n of 8 lanes; n may be outside 0..8.
  static __m256i first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Floats load(const float* from) {
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
  }
  static Floats load_unaligned(const uint8_t* from) {
    return {_mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))),
            _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32)))};
  }
  static void store_unaligned(uint8_t* to, Floats x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_castps_si256(x.low));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), _mm256_castps_si256(x.high));
  }
  static Floats load_part(const float* from, int64_t n) {
    return {_mm256_maskload_ps(from, first(n)), _mm256_maskload_ps(from + 8, first(n - 8))};
  }
  static void store(float* to, Floats x) {
    _mm256_storeu_ps(to, x.low);
    _mm256_storeu_ps(to + 8, x.high);
  }
  static void store_part(float* to, Floats x, int64_t n) {
    _mm256_maskstore_ps(to, first(n), x.low);
    _mm256_maskstore_ps(to + 8, first(n - 8), x.high);
  }
  static Floats broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Floats add(Floats a, Floats b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  static Floats mul(Floats a, Floats b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
  }
  static Floats div(Floats a, Floats b) {
    return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
  }
  static __m256 magnitude(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), x); }
  static Floats magnitude(Floats x) { return {magnitude(x.low), magnitude(x.high)}; }
  static Floats to_floats(Ints x) {
    return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)};
  }

  static Ints zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Ints magnitude_bits(Floats x) {
    const Floats positive = magnitude(x);
    return {_mm256_castps_si256(positive.low), _mm256_castps_si256(positive.high)};
  }
  static Ints max(Ints a, Ints b) {
    return {_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)};
  }
  static Ints min(Ints a, Ints b) {
    return {_mm256_min_epi32(a.low, b.low), _mm256_min_epi32(a.high, b.high)};
  }
  static uint32_t largest(Ints x) {
    const __m256i eight = _mm256_max_epi32(x.low, x.high);
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
  }
  static int32_t lowest(Ints x) {
    const __m256i eight = _mm256_min_epi32(x.low, x.high);
    __m128i four = _mm_min_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0xB1));
    return _mm_cvtsi128_si32(four);
  }

  static uint32_t bits_of_lanes(__m256 low, __m256 high) {
    return static_cast<uint32_t>(_mm256_movemask_ps(low)) |
           static_cast<uint32_t>(_mm256_movemask_ps(high)) << 8;
  }
  static Floats negative_lanes(Floats x) {
    const __m256 zero = _mm256_setzero_ps();
    return {_mm256_cmp_ps(x.low, zero, _CMP_LT_OQ), _mm256_cmp_ps(x.high, zero, _CMP_LT_OQ)};
  }
  static uint32_t negative(Floats x) {
    const Floats lanes = negative_lanes(x);
    return bits_of_lanes(lanes.low, lanes.high);
  }
  static Floats above_lanes(Floats x, Floats limit) {
    return {_mm256_cmp_ps(x.low, limit.low, _CMP_GT_OQ),
            _mm256_cmp_ps(x.high, limit.high, _CMP_GT_OQ)};
  }

  static Sums zero_sums() {
    const __m256d zero = _mm256_setzero_pd();
    return {{zero, zero, zero, zero}};
  }
  static Sums doubles(Floats x) {
    return {{_mm256_cvtps_pd(_mm256_castps256_ps128(x.low)),
             _mm256_cvtps_pd(_mm256_extractf128_ps(x.low, 1)),
             _mm256_cvtps_pd(_mm256_castps256_ps128(x.high)),
             _mm256_cvtps_pd(_mm256_extractf128_ps(x.high, 1))}};
  }
  static void accumulate(Sums& sums, Floats x) {
    const Sums wide = doubles(x);
    for (int i = 0; i < 4; ++i) {
      sums.part[i] = _mm256_add_pd(sums.part[i], wide.part[i]);
    }
  }
  static void accumulate_squares(Sums& sums, Floats x) {
    const Sums wide = doubles(x);
    for (int i = 0; i < 4; ++i) {
      sums.part[i] = _mm256_add_pd(sums.part[i], _mm256_mul_pd(wide.part[i], wide.part[i]));
    }
  }
  static void add_to(Sums& sums, const Sums& other) {
    for (int i = 0; i < 4; ++i) {
      sums.part[i] = _mm256_add_pd(sums.part[i], other.part[i]);
    }
  }
  static int64_t accumulate_above(Sums& sums, Floats magnitude, Floats limit) {
    const Floats above = above_lanes(magnitude, limit);
    accumulate(
        sums, {_mm256_and_ps(above.low, magnitude.low), _mm256_and_ps(above.high, magnitude.high)});
    return __builtin_popcount(bits_of_lanes(above.low, above.high));
  }
  static __m256d broadcast_double(double x) { return _mm256_set1_pd(x); }
  static void store_doubles(double* to, Floats x) {
    const Sums wide = doubles(x);
    for (size_t i = 0; i < 4; ++i) {
      _mm256_store_pd(to + 4 * i, wide.part[i]);
    }
  }
  static int64_t accumulate_above(Sums& sums, const double* from, __m256d limit) {
    int64_t count = 0;
    for (size_t i = 0; i < 4; ++i) {
      const __m256d x = _mm256_load_pd(from + 4 * i);
      const __m256d above = _mm256_cmp_pd(x, limit, _CMP_GT_OQ);
      sums.part[i] = _mm256_add_pd(sums.part[i], _mm256_and_pd(above, x));
      count += __builtin_popcount(static_cast<unsigned>(_mm256_movemask_pd(above)));
    }
    return count;
  }
  static Floats quotient(const Sums& sums, double divisor) {
    const __m256d all = _mm256_set1_pd(divisor);
    __m128 part[4];
    for (int i = 0; i < 4; ++i) {
      part[i] = _mm256_cvtpd_ps(_mm256_div_pd(sums.part[i], all));
    }
    return {_mm256_set_m128(part[1], part[0]), _mm256_set_m128(part[3], part[2])};
  }
  static double total(const Sums& sums) {
    const __m256d four = _mm256_add_pd(_mm256_add_pd(sums.part[0], sums.part[2]),
                                       _mm256_add_pd(sums.part[1], sums.part[3]));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
  }

  template <int kMost, uint32_t kScaleMax>
  static __m256i linear_scales_of_eight(const uint32_t* largest, float* steps) {
    const __m256 absmax =
        _mm256_castsi256_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(largest)));
    const __m256 most = _mm256_set1_ps(kMost);
    const __m256i ratio = _mm256_castps_si256(_mm256_div_ps(absmax, most));
    __m256i scale = _mm256_srli_epi32(_mm256_add_epi32(ratio, _mm256_set1_epi32(0xFFFF)), 16);
    const __m256 reached = _mm256_mul_ps(most, _mm256_castsi256_ps(_mm256_slli_epi32(scale, 16)));
    const __m256i short_of = _mm256_castps_si256(_mm256_cmp_ps(reached, absmax, _CMP_LT_OQ));
    scale = _mm256_sub_epi32(scale, short_of);  // All ones are -1.
    scale = _mm256_min_epi32(scale, _mm256_set1_epi32(kScaleMax));
    const __m256 none = _mm256_castsi256_ps(_mm256_cmpeq_epi32(scale, _mm256_setzero_si256()));
    const __m256 step = _mm256_castsi256_ps(_mm256_slli_epi32(scale, 16));
    _mm256_store_ps(steps, _mm256_blendv_ps(step, _mm256_set1_ps(1), none));
    return scale;
  }
  template <int kMost, uint32_t kScaleMax>
  static void linear_scales(const uint32_t* largest, uint16_t* scales, float* steps) {
    const __m256i low = linear_scales_of_eight<kMost, kScaleMax>(largest, steps);
    const __m256i high = linear_scales_of_eight<kMost, kScaleMax>(largest + 8, steps + 8);
    // Packing works within halves of 128 bits: 0..3, 8..11, 4..7, 12..15.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);
    _mm256_store_si256(reinterpret_cast<__m256i*>(scales), packed);
  }

  static Ints nearest_ints(Floats x) {
    return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)};
  }
  static __m128i bytes_of(__m256i low, __m256i high) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  }
  static void store_bytes(uint8_t* to, Ints x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes_of(x.low, x.high));
  }
  static void store_bytes_part(uint8_t* to, Ints x, int64_t n) {
    alignas(16) uint8_t bytes[kLanes];
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes), bytes_of(x.low, x.high));
    __builtin_memcpy(to, bytes, static_cast<size_t>(n));
  }
  static Ints ints_of(__m128i bytes) {
    return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))};
  }
  static Ints load_bytes(const uint8_t* from) {
    return ints_of(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Ints load_bytes_part(const uint8_t* from, int64_t n) {
    alignas(16) uint8_t bytes[kLanes] = {};
    __builtin_memcpy(bytes, from, static_cast<size_t>(n));
    return ints_of(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  }

  static uint64_t nibbles(Ints x) {
    const __m128i bytes = _mm_and_si128(bytes_of(x.low, x.high), _mm_set1_epi8(0x0F));
    const __m128i pairs = _mm_maddubs_epi16(bytes, _mm_set1_epi16(0x1001));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs)));
  }
  static __m256i from_nibbles_of_eight(uint32_t word) {
    const __m256i places = _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0);
    const __m256i all = _mm256_set1_epi32(static_cast<int32_t>(word));
    return _mm256_srai_epi32(_mm256_sllv_epi32(all, places), 28);
  }
  static Ints from_nibbles(uint64_t word) {
    return {from_nibbles_of_eight(static_cast<uint32_t>(word)),
            from_nibbles_of_eight(static_cast<uint32_t>(word >> 32))};
  }

  static uint32_t two_bit_codes(Floats x, Floats middle) {
    const Floats above = above_lanes(magnitude(x), middle);
    const Floats sign = negative_lanes(x);
    const __m128i low_bits =
        bytes_of(_mm256_castps_si256(above.low), _mm256_castps_si256(above.high));
    const __m128i high_bits =
        bytes_of(_mm256_castps_si256(sign.low), _mm256_castps_si256(sign.high));
    const int first = _mm_movemask_epi8(_mm_unpacklo_epi8(low_bits, high_bits));
    const int last = _mm_movemask_epi8(_mm_unpackhi_epi8(low_bits, high_bits));
    return static_cast<uint32_t>(first) | static_cast<uint32_t>(last) << 16;
  }
  static __m256 table_of_four(float low, float high) {
    return _mm256_setr_ps(low, high, -low, -high, low, high, -low, -high);
  }
  static Floats look_up_four(__m256 table, uint32_t word) {
    const __m256i places = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const __m256i low = _mm256_set1_epi32(static_cast<int32_t>(word));
    const __m256i high = _mm256_set1_epi32(static_cast<int32_t>(word >> 16));
    return {_mm256_permutevar_ps(table, _mm256_srlv_epi32(low, places)),
            _mm256_permutevar_ps(table, _mm256_srlv_epi32(high, places))};
  }

  static Ints level_codes(Floats x, const LogLevels& levels) {
    const Floats positive = magnitude(x);
    const Floats sign = negative_lanes(x);
    const __m256i eight = _mm256_set1_epi32(8);
    Ints codes = {_mm256_and_si256(_mm256_castps_si256(sign.low), eight),
                  _mm256_and_si256(_mm256_castps_si256(sign.high), eight)};
    for (const float middle : levels.middle) {
      const Floats above = above_lanes(positive, broadcast(middle));
      codes.low = _mm256_sub_epi32(codes.low, _mm256_castps_si256(above.low));
      codes.high = _mm256_sub_epi32(codes.high, _mm256_castps_si256(above.high));
    }
    return codes;
  }
  static __m256 table_of_eight(const float* magnitudes, float sign) {
    return _mm256_mul_ps(_mm256_loadu_ps(magnitudes), _mm256_set1_ps(sign));
  }
  static __m256 look_up_half(__m256 table, uint32_t word) {
    const __m256i codes = from_nibbles_of_eight(word);
    const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(codes, 3), 31);
    return _mm256_xor_ps(_mm256_permutevar8x32_ps(table, codes), _mm256_castsi256_ps(sign));
  }
  static Floats look_up_eight(__m256 table, uint64_t word) {
    return {look_up_half(table, static_cast<uint32_t>(word)),
            look_up_half(table, static_cast<uint32_t>(word >> 32))};
  }

  static Floats flip_signs(Floats x, uint32_t negative) {
    const __m256i low_places = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    const __m256i high_places = _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16);
    const __m256i all = _mm256_set1_epi32(static_cast<int32_t>(negative));
    const __m256i sign = _mm256_set1_epi32(static_cast<int32_t>(0x80000000U));
    const __m256i low = _mm256_and_si256(_mm256_sllv_epi32(all, low_places), sign);
    const __m256i high = _mm256_and_si256(_mm256_sllv_epi32(all, high_places), sign);
    return {_mm256_xor_ps(x.low, _mm256_castsi256_ps(low)),
            _mm256_xor_ps(x.high, _mm256_castsi256_ps(high))};
  }
};

}  // namespace

constinit const QuantizeKernels kAvx2Kernels = make_kernels<Avx2>();

}  // namespace laconic::compress

#endif
