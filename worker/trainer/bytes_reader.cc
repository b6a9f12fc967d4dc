#include "worker/trainer/bytes_reader.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "worker/trainer/data_file.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

namespace fs = std::filesystem;

absl::Status unreadable(const fs::path& path, const std::error_code& error) {
  return bad_data(absl::StrCat(path.string(), ": ", error.message(),
                               "; the path must be readable on every node that trains"));
}

absl::StatusOr<std::vector<fs::path>> files_below(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> files;
  fs::recursive_directory_iterator entry(directory, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    // A dangling link is no file; that is no reason to refuse the rest.
    std::error_code dangling;
    if (entry->is_regular_file(dangling)) {
      files.push_back(entry->path());
    }
    if (static_cast<int64_t>(files.size()) > kTextFilesMax) {
      return bad_data(absl::StrCat(directory.string(), ": more than ", kTextFilesMax,
                                   " files; join them into fewer"));
    }
  }
  if (error) {
    return unreadable(directory, error);
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> read_text(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return read_data_file(path);
  }
  LACONIC_ASSIGN_OR_RETURN(const std::vector<fs::path> files, files_below(path));
  std::set<fs::path> seen;
  std::vector<uint8_t> text;
  for (const fs::path& file : files) {
    const fs::path real = fs::canonical(file, error);
    if (error) {
      return unreadable(file, error);
    }
    if (!seen.insert(real).second || fs::file_size(real, error) == 0) {
      continue;
    }
    LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, read_data_file(real.string()));
    text.insert(text.end(), bytes.begin(), bytes.end());
    if (static_cast<int64_t>(text.size()) > kTextBytesMax) {
      return bad_data(absl::StrCat(path, ": more than ", kTextBytesMax,
                                   " bytes of text; take a part of the directory"));
    }
  }
  if (text.empty()) {
    return bad_data(absl::StrCat(path, ": ", files.size(),
                                 " files and not one byte; a directory with text is expected"));
  }
  return text;
}

}  // namespace laconic::trainer
