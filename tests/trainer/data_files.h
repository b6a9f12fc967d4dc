// Small data files and jobs for the trainer's tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"

namespace laconic::trainer {

// A directory that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "laconic-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  std::string write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(file(name)).parent_path());
    std::ofstream(file(name), std::ios::binary) << content;
    return file(name);
  }

 private:
  std::string path_;
};

inline std::string big_endian(uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes += static_cast<char>(number >> shift & 0xff);
  }
  return bytes;
}

inline std::string idx_images(uint32_t count, uint32_t height, uint32_t width,
                              const std::string& pixels) {
  return big_endian(0x803) + big_endian(count) + big_endian(height) + big_endian(width) + pixels;
}

inline std::string idx_labels(uint32_t count, const std::string& labels) {
  return big_endian(0x801) + big_endian(count) + labels;
}

// 8x8 images of 4 classes: the quadrant of the class is bright, with noise. Learnt in few steps.
struct QuadrantImages {
  std::string images;
  std::string labels;
};
inline QuadrantImages quadrant_images(uint32_t count, uint64_t seed) {
  core::Random random(seed);
  std::string pixels;
  std::string labels;
  for (uint32_t i = 0; i < count; ++i) {
    const auto label = static_cast<uint32_t>(random.below(4));
    labels += static_cast<char>(label);
    for (uint32_t y = 0; y < 8; ++y) {
      for (uint32_t x = 0; x < 8; ++x) {
        const bool bright = (y / 4) * 2 + x / 4 == label;
        pixels += static_cast<char>((bright ? 120 : 0) + static_cast<int>(random.below(100)));
      }
    }
  }
  return {.images = idx_images(count, 8, 8, pixels), .labels = idx_labels(count, labels)};
}

}  // namespace laconic::trainer
