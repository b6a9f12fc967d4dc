#include "worker/agent/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "worker/agent/errno_status.h"

namespace laconic::agent {
namespace {

absl::Status failed(const std::string& what, const std::string& path) {
  const int error = errno;  // Before anything else changes it.
  return errno_status(error, absl::StrCat("cannot ", what, " ", path));
}

}  // namespace

absl::Status make_private_directory(const std::string& path) {
  const std::filesystem::path directory(path);
  if (directory.has_parent_path() && !std::filesystem::exists(directory.parent_path())) {
    LACONIC_RETURN_IF_ERROR(make_private_directory(directory.parent_path()));
  }
  struct stat info {};
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return failed("make the directory", path);
  }
  if (stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    errno = ENOTDIR;
    return failed("make the directory", path);
  }
  return absl::OkStatus();
}

absl::Status write_private_file(const std::string& path, const std::string& content) {
  unlink(path.c_str());  // Whatever mode and owner it had; if it stays, open() says why.
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    return failed("write", path);
  }
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t count = write(fd, content.data() + done, content.size() - done);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      absl::Status status = failed("write", path);
      close(fd);
      return status;
    }
    done += static_cast<size_t>(count);
  }
  // A full disk may show only here.
  return close(fd) == 0 ? absl::OkStatus() : failed("write", path);
}

absl::Status replace_file(const std::string& path, const std::string& content) {
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".new");
  LACONIC_RETURN_IF_ERROR(write_private_file(temporary, content));
  return rename(temporary.c_str(), path.c_str()) == 0 ? absl::OkStatus() : failed("write", path);
}

}  // namespace laconic::agent
