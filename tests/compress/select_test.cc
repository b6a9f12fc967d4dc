#include "common/compress/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "common/core/payload_size.h"
#include "tests/compress/each_simd_level.h"
#include "tests/compress/test_vectors.h"

namespace laconic::compress {
namespace {

using Floats = std::vector<float>;
using Positions = std::vector<uint32_t>;

// The plain way: sort all by magnitude, equal ones by index.
Positions sorted_top_k(const Floats& in, int64_t k) {
  Positions order(in.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return std::abs(in[a]) > std::abs(in[b]); });
  order.resize(static_cast<size_t>(k));
  std::sort(order.begin(), order.end());
  return order;
}

TEST(SelectTopKTest, AgreesWithSorting) {
  for (const int64_t size : {1, 2, 17, 251, 5000}) {
    const Floats in = gauss(static_cast<uint64_t>(size), size);
    for (int64_t k = 1; k <= size; k += 1 + k) {
      EXPECT_EQ(select_top_k(in, k), sorted_top_k(in, k)) << k << " of " << size;
    }
  }
}

TEST(SelectTopKTest, AgreesWithSortingWhenManyAreEqual) {
  Floats in = gauss(1, 5000);
  for (float& x : in) {
    x = std::round(x);
  }
  for (const int64_t k : {1, 10, 500, 2500, 4999, 5000}) {
    EXPECT_EQ(select_top_k(in, k), sorted_top_k(in, k)) << k;
  }
}

TEST(SelectTopKTest, BreaksTiesTowardLowerIndex) {
  EXPECT_EQ(select_top_k(Floats{1, -1, 1, -1, 2}, 3), (Positions{0, 1, 4}));
  EXPECT_EQ(select_top_k(Floats{0, -0.0F, 0}, 2), (Positions{0, 1}));
}

// Vectors that are hard to select from: name and elements.
struct Pattern {
  std::string name;
  Floats values;
};

std::vector<Pattern> patterns(int64_t size) {
  const Floats normal = gauss(static_cast<uint64_t>(size), size);
  std::vector<Pattern> all{{"gauss", normal}};
  const auto add = [&](const std::string& name, auto function) {
    Floats values(normal.size());
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = function(normal[i], static_cast<float>(i));
    }
    all.push_back({name, values});
  };
  add("zeros", [](float, float) { return 0.0F; });
  add("signed zeros", [](float x, float) { return x < 0 ? -0.0F : 0.0F; });
  add("equal magnitudes", [](float x, float) { return x < 0 ? -3.0F : 3.0F; });
  add("few magnitudes", [](float x, float) { return std::round(x); });
  add("mostly zero", [](float x, float) { return std::abs(x) > 2.8F ? x : 0.0F; });
  add("denormals", [](float x, float) { return x * 1e-41F; });
  add("huge", [](float x, float) { return x * 3e37F; });
  add("ascending", [](float x, float i) { return std::copysign(i, x); });
  add("descending", [](float x, float i) { return std::copysign(1 / (1 + i), x); });
  add("one bucket", [](float x, float) { return 1 + x * 1e-6F; });
  return all;
}

// What was selected, with the values as bits: 0 and -0 differ.
void expect_selected(const TopKSelector& selector, const Floats& a, const Positions& expected) {
  ASSERT_TRUE(selector.finite());
  const Positions positions(selector.positions().begin(), selector.positions().end());
  ASSERT_EQ(positions, expected);
  ASSERT_EQ(selector.values().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(selector.values()[i]),
              std::bit_cast<uint32_t>(a[expected[i]]));
  }
}

class SelectorTest : public EachSimdLevel {
 protected:
  void expect_exact(const Floats& in, int64_t k) {
    selector_.select_exact({.a = in}, k);
    // Sorting is faster than the specification's counters for short vectors.
    const Positions expected = in.size() <= 300 ? sorted_top_k(in, k) : select_top_k(in, k);
    expect_selected(selector_, in, expected);
    uint32_t smallest = kMagnitudeMask;
    for (const uint32_t at : expected) {
      smallest = std::min(smallest, magnitude_bits(in[at]));
    }
    EXPECT_EQ(selector_.smallest(), smallest);
  }

  TopKSelector selector_;
};
LACONIC_ON_EACH_SIMD_LEVEL(SelectorTest);

TEST_P(SelectorTest, SelectsWhatTheSpecificationSelectsAtEveryLength) {
  for (int64_t size = 1; size <= 300; ++size) {
    for (const Pattern& pattern : patterns(size)) {
      for (const int64_t k : {int64_t{1}, (size + 9) / 10, (size + 1) / 2, size}) {
        SCOPED_TRACE(absl::StrCat(pattern.name, ", ", k, " of ", size));
        expect_exact(pattern.values, k);
        ASSERT_FALSE(HasFatalFailure());
      }
    }
  }
}

TEST_P(SelectorTest, SelectsWhatTheSpecificationSelectsAroundBlocksAndChunks) {
  for (const int64_t size : {4095, 4096, 4097, 8193, 65535, 65536, 65537, 131'072, 150'001}) {
    for (const Pattern& pattern : patterns(size)) {
      for (const double density : {1e-4, 0.01, 0.5}) {
        SCOPED_TRACE(absl::StrCat(pattern.name, ", density ", density, " of ", size));
        expect_exact(pattern.values, core::kept_elements(density, size));
        ASSERT_FALSE(HasFatalFailure());
      }
    }
  }
}

TEST_P(SelectorTest, SumIsWrittenBackAndSelectedFrom) {
  constexpr float kDecay = 0.9F;
  for (const int64_t size : {1, 7, 8, 15, 17, 31, 300, 4097, 65'551}) {
    Floats a = gauss(1, size);
    const Floats v = gauss(2, size);
    Floats expected(a.size());
    for (size_t i = 0; i < a.size(); ++i) {
      const volatile float decayed = kDecay * a[i];  // no fused multiply-add
      expected[i] = decayed + v[i];
    }
    const int64_t k = core::kept_elements(0.1, size);
    selector_.select_exact({.a = a, .v = v, .sum = a, .decay = kDecay}, k);
    ASSERT_EQ(std::memcmp(a.data(), expected.data(), a.size() * sizeof(float)), 0) << size;
    expect_selected(selector_, expected, select_top_k(expected, k));
  }
}

TEST_P(SelectorTest, TouchesNothingBehindTheVector) {
  for (const size_t size : {1, 5, 8, 13, 16, 29}) {
    Floats a(size + 32, 7.0F);
    const Floats v(size + 32, 1.0F);
    const std::span<float> head = std::span(a).first(size);
    selector_.select_exact({.a = head, .v = std::span(v).first(size), .sum = head, .decay = 1.0F},
                           1);
    EXPECT_TRUE(std::all_of(head.begin(), head.end(), [](float x) { return x == 8; }));
    EXPECT_TRUE(std::all_of(a.begin() + static_cast<std::ptrdiff_t>(size), a.end(),
                            [](float x) { return x == 7; }));
  }
}

// The sample is 32 elements of every 4096. Here it sees only what is large, so the threshold is too
// high at first, and then only what is small, so nearly everything passes.
TEST_P(SelectorTest, MisleadingSampleCostsTimeButNotTheResult) {
  constexpr int64_t kSize = 200'000;
  Floats in = gauss(3, kSize);
  for (const float factor : {1000.0F, 1e-6F}) {
    Floats misleading = in;
    for (size_t i = 0; i < misleading.size(); ++i) {
      misleading[i] *= i % 4096 < 32 ? factor : 1.0F;
    }
    for (const int64_t k : {1, 100, 5000, 100'000}) {
      SCOPED_TRACE(absl::StrCat("factor ", factor, ", k ", k));
      expect_exact(misleading, k);
    }
  }
}

TEST_P(SelectorTest, AboveSelectsAllThatReachTheThreshold) {
  const Floats in = gauss(4, 70'003);
  const uint32_t threshold = magnitude_bits(2.5F);
  Positions expected;
  for (size_t i = 0; i < in.size(); ++i) {
    if (std::abs(in[i]) >= 2.5F) {
      expected.push_back(static_cast<uint32_t>(i));
    }
  }
  const auto reached = static_cast<int64_t>(expected.size());
  EXPECT_TRUE(selector_.select_above({.a = in}, threshold, reached, reached));
  expect_selected(selector_, in, expected);
  EXPECT_TRUE(selector_.select_above({.a = in}, threshold, 2 * reached, 2 * reached));
  expect_selected(selector_, in, expected);
}

TEST_P(SelectorTest, AboveSelectsExactlyTheLargestWhenTooManyReachTheThreshold) {
  for (const Pattern& pattern : patterns(70'003)) {
    for (const int64_t k : {1, 700, 30'000}) {
      SCOPED_TRACE(absl::StrCat(pattern.name, ", k ", k));
      // All of them reach it.
      EXPECT_FALSE(selector_.select_above({.a = pattern.values}, 0, k, k + k / 4));
      expect_selected(selector_, pattern.values, select_top_k(pattern.values, k));
    }
  }
}

TEST_P(SelectorTest, AboveMaySelectNothing) {
  const Floats in = gauss(5, 5000);
  EXPECT_TRUE(selector_.select_above({.a = in}, magnitude_bits(100.0F), 50, 62));
  EXPECT_TRUE(selector_.finite());
  EXPECT_TRUE(selector_.positions().empty());
  EXPECT_TRUE(selector_.values().empty());
}

TEST_P(SelectorTest, SeesNansAndInfinitiesWhereverTheyAre) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {0, 7, 8, 16, 4095, 4096, 9998, 9999, 10'000}) {
      Floats in(10'001, 1.0F);
      in[at] = bad;
      selector_.select_exact({.a = in}, 100);
      EXPECT_FALSE(selector_.finite()) << bad << " at " << at;
      selector_.select_above({.a = in}, magnitude_bits(2.0F), 100, 125);
      EXPECT_FALSE(selector_.finite()) << bad << " at " << at;
    }
  }
  selector_.select_exact({.a = Floats(5, std::numeric_limits<float>::max())}, 2);
  EXPECT_TRUE(selector_.finite());
}

}  // namespace
}  // namespace laconic::compress
