// Runs a test once per level of vector instructions.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "common/compress/simd.h"

namespace laconic::compress {

// Skips, and says so, where the machine lacks the level.
class EachSimdLevel : public ::testing::TestWithParam<SimdLevel> {
 protected:
  void SetUp() override {
    if (force_simd_level(GetParam()) != GetParam()) {
      GTEST_SKIP() << "this machine lacks the instructions of level "
                   << static_cast<int>(GetParam()) << ", its kernels are NOT tested";
    }
  }
  void TearDown() override { force_simd_level(before_); }

 private:
  const SimdLevel before_ = simd_level();
};

inline std::string level_name(const ::testing::TestParamInfo<SimdLevel>& info) {
  switch (info.param) {
    case SimdLevel::kScalar:
      return "Scalar";
    case SimdLevel::kAvx2:
      return "Avx2";
    case SimdLevel::kAvx512:
      return "Avx512";
  }
  return "Unknown";
}

}  // namespace laconic::compress

// Instantiates a test of a class derived from EachSimdLevel.
#define LACONIC_ON_EACH_SIMD_LEVEL(Test)                                               \
  INSTANTIATE_TEST_SUITE_P(Levels, Test,                                               \
                           ::testing::Values(::laconic::compress::SimdLevel::kScalar,  \
                                             ::laconic::compress::SimdLevel::kAvx2,    \
                                             ::laconic::compress::SimdLevel::kAvx512), \
                           ::laconic::compress::level_name)
