#include "tests/fuzz/scratch_files.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/checks.h"

namespace laconic::fuzz {
namespace {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "laconic-fuzz-XXXXXX").string();
    check(mkdtemp(name.data()) != nullptr, "a directory can be made as " + name);
    path_ = name;
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace

std::string write_scratch(const std::string& name, const std::string& content) {
  static const ScratchDirectory kDirectory;
  const std::string path = kDirectory.file(name);
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  check(file.good(), path + " can be written");
  return path;
}

std::string write_scratch(const std::string& name, std::span<const uint8_t> content) {
  return write_scratch(name, std::string(content.begin(), content.end()));
}

}  // namespace laconic::fuzz
