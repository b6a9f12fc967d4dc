#include "common/compress/simd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string_view>

namespace laconic::compress {
namespace {

SimdLevel first_level() {
  // Read once, before any other thread of ours can change the environment.
  const char* wanted = std::getenv("LACONIC_SIMD");  // NOLINT(concurrency-mt-unsafe)
  const std::string_view name = wanted == nullptr ? "" : wanted;
  const SimdLevel limit = name == "scalar" ? SimdLevel::kScalar
                          : name == "avx2" ? SimdLevel::kAvx2
                                           : SimdLevel::kAvx512;
  return std::min(limit, simd_supported());
}

std::atomic<SimdLevel>& current_level() {
  static std::atomic<SimdLevel> level = first_level();
  return level;
}

#if defined(__x86_64__)
// clang 14 does not know "f16c" in __builtin_cpu_supports.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

SimdLevel simd_supported() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vbmi2")) {
    return SimdLevel::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && has_f16c()) {
    return SimdLevel::kAvx2;
  }
#endif
  return SimdLevel::kScalar;
}

SimdLevel simd_level() {
  return current_level().load(std::memory_order_relaxed);
}

SimdLevel force_simd_level(SimdLevel level) {
  current_level().store(std::min(level, simd_supported()), std::memory_order_relaxed);
  return simd_level();
}

}  // namespace laconic::compress
