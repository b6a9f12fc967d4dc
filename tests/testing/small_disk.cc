#include "tests/testing/small_disk.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace laconic::testing {

SmallDisk::SmallDisk(std::filesystem::path path, int64_t bytes) : path_(std::move(path)) {
  // Mounts of its own, so that nothing stays on the machine, whatever becomes of the test.
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("none", path_.c_str(), "tmpfs", 0, absl::StrCat("mode=0700,size=", bytes).c_str()) !=
          0) {
    why_not_ = absl::StrCat("NOT TESTED: a tmpfs of ", bytes, " bytes cannot be mounted here (",
                            std::generic_category().message(errno), "); run as root");
  }
}

SmallDisk::~SmallDisk() {
  if (why_not_.empty()) {
    umount2(path_.c_str(), MNT_DETACH);
  }
}

int64_t SmallDisk::free_bytes() const {
  struct statvfs info {};
  statvfs(path_.c_str(), &info);
  return static_cast<int64_t>(info.f_bavail * info.f_frsize);
}

void SmallDisk::fill(int64_t bytes) const {
  std::ofstream ballast(path_ / ".ballast", std::ios::binary | std::ios::app);
  ballast << std::string(static_cast<size_t>(std::max<int64_t>(free_bytes() - bytes, 0)), 'x');
}

void SmallDisk::free() const {
  std::filesystem::remove(path_ / ".ballast");
}

}  // namespace laconic::testing
