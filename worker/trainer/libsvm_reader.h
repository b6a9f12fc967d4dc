// Lines "label index:value index:value ..." with ascending indices from 1; '#' begins a comment.
// Source: Chang, Lin, LIBSVM, README, "svm-train usage".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::trainer {

inline constexpr int64_t kFeaturesMax = 10'000'000;

// Rows in compressed form: row i has the entries row_begin[i] .. row_begin[i+1]-1.
struct SparseRows {
  std::string path;                // For messages.
  std::vector<int64_t> row_begin;  // [n + 1]
  std::vector<int32_t> columns;    // From 0.
  std::vector<float> values;
  std::vector<float> labels;   // [n]
  std::vector<int64_t> lines;  // [n], line in the file, from 1
  int64_t features = 0;        // Largest index that occurs.

  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

// features: largest index allowed, 0: kFeaturesMax.
// Errors: InvalidArgument, reason BAD_DATA, with file:line, what was found and what is expected: no
// number, NaN or infinity, an index that is below 1, too large or not above the one before, no
// line; and those of read_unpacked().
absl::StatusOr<SparseRows> read_libsvm(const std::string& path, int64_t features);

// Labels as classes from 0: 0, 1, 2, .. stay; -1 and +1 become 0 and 1.
//   signed_labels  the data set (all its files together) holds a label -1
//   classes        labels must be below it; 0: any
// Errors: InvalidArgument, reason BAD_DATA, with file:line, for any other label.
absl::StatusOr<std::vector<int64_t>> class_labels(const SparseRows& rows, bool signed_labels,
                                                  int64_t classes);
bool has_minus_one(const SparseRows& rows);

}  // namespace laconic::trainer
