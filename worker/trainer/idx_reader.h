// Images and labels in the format of the MNIST family, plain or gzip.
// Source: yann.lecun.com/exdb/mnist, "The IDX file format".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::trainer {

inline constexpr int64_t kImageSideMax = 1024;

struct LabelledImages {
  int64_t count = 0;  // n >= 1
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> pixels;  // [n, height, width]
  std::vector<uint8_t> labels;  // [n]
};

// classes: labels must be below it; 0: any label.
// Errors: InvalidArgument, reason BAD_DATA, naming file, byte offset, what was found and what was
// expected: wrong magic, wrong sizes, truncated, trailing bytes, no image, counts that differ, a
// label out of range; and those of read_unpacked().
absl::StatusOr<LabelledImages> read_idx(const std::string& images_path,
                                        const std::string& labels_path, int64_t classes);

}  // namespace laconic::trainer
