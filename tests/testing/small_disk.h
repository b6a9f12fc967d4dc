// A real file system that is soon full.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace laconic::testing {

// A tmpfs of `bytes` bytes (whole pages) over the directory `path`, seen by this thread and by the
// threads and processes that it starts later; gone with the last of them. Needs root.
//
//   SmallDisk disk(path, 64 << 10);
//   if (!disk.why_not().empty()) GTEST_SKIP() << disk.why_not();
class SmallDisk {
 public:
  SmallDisk(std::filesystem::path path, int64_t bytes);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  // Empty when it is there; otherwise what this machine does not allow.
  const std::string& why_not() const { return why_not_; }
  const std::filesystem::path& path() const { return path_; }
  int64_t free_bytes() const;
  // Takes all that is free but `bytes`.
  void fill(int64_t bytes = 0) const;
  // Gives back what fill() took.
  void free() const;

 private:
  std::filesystem::path path_;
  std::string why_not_;
};

}  // namespace laconic::testing
