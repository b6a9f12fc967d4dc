#include "server/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

namespace fs = std::filesystem;

absl::Status failed(const std::string& path, const std::string& what, const std::string& why) {
  return wire::with_error_info(
      absl::UnavailableError(absl::StrCat("--data-dir ", path, ": ", what, ": ", why,
                                          "; make it writable for this user, or give another")),
      {kStoreFailed, {{"path", path}}});
}

absl::Status make_private(const std::string& path) {
  std::error_code error;
  const fs::path parent = fs::path(path).parent_path();
  if (!parent.empty()) {
    fs::create_directories(parent, error);
  }
  if (error) {
    return failed(path, "cannot be made", error.message());
  }
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return failed(path, "cannot be made", std::generic_category().message(errno));
  }
  if (!fs::is_directory(path, error)) {
    return failed(path, "cannot be used", "it is not a directory");
  }
  return absl::OkStatus();
}

// What the holder of the lock has written: its process id, or nothing yet.
std::string holder_of(int fd) {
  std::array<char, 16> text{};
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  return count > 0
             ? absl::StrCat(" (process ", std::string(text.data(), static_cast<size_t>(count)), ")")
             : std::string();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::open(const std::string& path) {
  LACONIC_RETURN_IF_ERROR(make_private(path));
  LACONIC_RETURN_IF_ERROR(make_private(path + "/logs"));
  const std::string file = path + "/lock";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (fd < 0) {
    return failed(path, "cannot be locked", std::generic_category().message(errno));
  }
  std::unique_ptr<DataDirectory> directory(new DataDirectory(fd));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return failed(path, "cannot be locked", std::generic_category().message(errno));
    }
    return wire::with_error_info(
        absl::FailedPreconditionError(
            absl::StrCat("--data-dir ", path, ": another laconic-server", holder_of(fd),
                         " uses it; stop that one, or give this one another --data-dir")),
        {kDataDirInUse, {{"path", path}}});
  }
  const std::string pid = absl::StrCat(::getpid());
  // Only for the message above: the lock holds without it.
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    errno = 0;
  }
  return directory;
}

DataDirectory::~DataDirectory() {
  ::close(lock_fd_);
}

}  // namespace laconic::server
