#include "cli/report_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "cli/report_data.h"
#include "cli/report_html.h"
#include "cli/report_json.h"
#include "common/core/status_macros.h"

namespace laconic::cli {
namespace {

absl::Status file_error(const std::string& what, const std::string& path, int error) {
  const std::string text =
      absl::StrCat("cannot ", what, " ", path, ": ", std::generic_category().message(error));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return absl::ResourceExhaustedError(
        absl::StrCat(text, "; free some space or choose another directory with --out"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(text, "; choose a directory that you may write with --out"));
}

// Returns 0 or the errno of the first step that failed.
int write_and_sync(int descriptor, const std::string& content) {
  size_t written = 0;
  while (written < content.size()) {
    const ssize_t count = write(descriptor, content.data() + written, content.size() - written);
    if (count < 0 && errno != EINTR) {
      return errno;
    }
    written += count > 0 ? static_cast<size_t>(count) : 0;
  }
  return fsync(descriptor) == 0 ? 0 : errno;
}

}  // namespace

absl::Status make_writable_directory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return file_error("make the directory", directory, error.value());
  }
  // Permission bits do not tell the truth on every file system: only writing does.
  std::string probe = directory + "/.laconic-XXXXXX";
  const int descriptor = mkstemp(probe.data());
  if (descriptor < 0) {
    return file_error("write in", directory, errno);
  }
  const int failed = write_and_sync(descriptor, std::string(4096, '\n'));
  close(descriptor);
  unlink(probe.c_str());
  return failed == 0 ? absl::OkStatus() : file_error("write in", directory, failed);
}

absl::Status write_file(const std::string& path, const std::string& content) {
  std::string temporary = path + ".XXXXXX";
  const int descriptor = mkostemp(temporary.data(), O_CLOEXEC);
  if (descriptor < 0) {
    return file_error("write", path, errno);
  }
  int failed = write_and_sync(descriptor, content);
  // mkostemp makes a file for its owner only; a report is for everyone who may see the directory.
  const mode_t mask = umask(0);
  umask(mask);
  if (failed == 0 && fchmod(descriptor, 0666 & ~mask) != 0) {
    failed = errno;
  }
  close(descriptor);
  if (failed == 0 && rename(temporary.c_str(), path.c_str()) != 0) {
    failed = errno;
  }
  if (failed != 0) {
    unlink(temporary.c_str());
    return file_error("write", path, failed);
  }
  return absl::OkStatus();
}

absl::Status write_report(const v1::Job& job, const std::string& directory,
                          const std::string& stem) {
  const ReportData data = report_data(job);
  LACONIC_RETURN_IF_ERROR(
      write_file(absl::StrCat(directory, "/", stem, ".json"), report_json(data)));
  return write_file(absl::StrCat(directory, "/", stem, ".html"), report_html(data));
}

}  // namespace laconic::cli
