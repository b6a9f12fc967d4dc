#include "common/compress/sparse_mean.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/compress/test_vectors.h"

namespace laconic::compress {
namespace {

struct Terms {
  std::vector<uint32_t> positions;
  std::vector<float> values;
  std::vector<size_t> ends;

  SparseTerms view() const { return {.positions = positions, .values = values, .ends = ends}; }
};

// Every (r + 2)-th element of vector r, so that some places are in several vectors.
Terms terms_of(size_t ranks, size_t elements) {
  Terms terms;
  for (size_t r = 0; r < ranks; ++r) {
    const std::vector<float> numbers = gauss(r + 1, static_cast<int64_t>(elements));
    for (size_t i = r; i < elements; i += r + 2) {
      terms.positions.push_back(static_cast<uint32_t>(i));
      terms.values.push_back(numbers[i]);
    }
    terms.ends.push_back(terms.positions.size());
  }
  return terms;
}

std::vector<float> plain_mean(const Terms& terms, size_t elements) {
  std::vector<float> mean(elements);
  size_t i = 0;
  for (const size_t end : terms.ends) {
    for (; i < end; ++i) {
      mean[terms.positions[i]] += terms.values[i];
    }
  }
  for (float& sum : mean) {
    sum /= static_cast<float>(terms.ends.size());
  }
  return mean;
}

TEST(SparseMeanTest, IsTheOrderedSumOverPAndZeroElsewhere) {
  for (const size_t elements : {0, 1, 2, 4095, 4096, 4097, 10007}) {
    for (const size_t ranks : {1, 2, 3, 7}) {
      const Terms terms = terms_of(ranks, elements);
      std::vector<float> out(elements, 5.0F);
      mean_of_kept(terms.view(), out);
      EXPECT_TRUE(out == plain_mean(terms, elements)) << elements << " elements of " << ranks;
    }
  }
}

// So many elements are written past the caches, unless `out` begins at an odd place.
TEST(SparseMeanTest, LargeVectorsAreTheSameAtEveryAlignment) {
  constexpr size_t kElements = (size_t{16} << 18) + 3;
  const Terms terms = terms_of(3, kElements);
  const std::vector<float> expected = plain_mean(terms, kElements);
  std::vector<float> memory(kElements + 4, 5.0F);
  for (const size_t offset : {0, 1, 2, 3, 4}) {
    const std::span<float> out = std::span(memory).subspan(offset, kElements);
    mean_of_kept(terms.view(), out);
    EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size_bytes()), 0) << offset;
  }
}

TEST(SparseMeanTest, VectorsWithoutElementsCountInP) {
  const Terms terms = {.positions = {3}, .values = {4.0F}, .ends = {0, 1, 1, 1}};
  std::vector<float> out(5, 5.0F);
  mean_of_kept(terms.view(), out);
  EXPECT_EQ(out, (std::vector<float>{0, 0, 0, 1, 0}));
}

}  // namespace
}  // namespace laconic::compress
