#include "worker/trainer/whole_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace laconic::trainer {
namespace {

absl::Status not_written(const std::string& path, int error) {
  return absl::InternalError(absl::StrCat(path, ": ", std::generic_category().message(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) {
      close(number_);
    }
  }
  int get() const { return number_; }

 private:
  const int number_;
};

// 0, or the system's error number.
int write_all(int descriptor, const void* data, size_t size) {
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = write(descriptor, bytes, size);
    if (written < 0 && errno != EINTR) {
      return errno;
    }
    if (written > 0) {
      bytes += written;
      size -= static_cast<size_t>(written);
    }
  }
  return 0;
}

absl::Status sync_to_disk(const std::string& path, int flags) {
  const Descriptor file(open(path.c_str(), flags | O_CLOEXEC));
  if (file.get() < 0 || fsync(file.get()) != 0) {
    return not_written(path, errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status write_parts(const std::string& path,
                         std::span<const std::span<const std::byte>> parts) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) {
    return not_written(path, errno);
  }
  for (const std::span<const std::byte> part : parts) {
    if (const int error = write_all(file.get(), part.data(), part.size()); error != 0) {
      return not_written(path, error);
    }
  }
  return absl::OkStatus();
}

absl::Status write_whole(const std::string& path,
                         const std::function<absl::Status(const std::string& temporary)>& write) {
  const std::string temporary = absl::StrCat(path, kPartialSuffix, getpid());
  absl::Status status = write(temporary);
  if (status.ok()) {
    status = sync_to_disk(temporary, O_RDONLY);
  }
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = not_written(path, errno);
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  const size_t slash = path.rfind('/');
  return sync_to_disk(slash == std::string::npos ? "." : path.substr(0, slash + 1),
                      O_RDONLY | O_DIRECTORY);
}

}  // namespace laconic::trainer
