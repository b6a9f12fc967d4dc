#include "worker/trainer/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

absl::Status not_written(const std::string& path, int error) {
  return failure(absl::StatusCode::kInternal, kResultNotWritten,
                 absl::StrCat(path, ": ", std::generic_category().message(error),
                              "; make room or set spec.result.directory to a place that rank 0 can "
                              "write to"));
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&result, "\\", std::string(1, c));
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&result, "\\u%04x", c);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string header(const std::vector<NamedTensor>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> entries;
  std::vector<std::string> notes;
  for (const auto& [key, value] : metadata) {
    notes.push_back(absl::StrCat(quoted(key), ":", quoted(value)));
  }
  entries.push_back(absl::StrCat("\"__metadata__\":{", absl::StrJoin(notes, ","), "}"));
  size_t begin = 0;
  for (const NamedTensor& tensor : tensors) {
    const size_t end = begin + tensor.values.size_bytes();
    entries.push_back(absl::StrCat(quoted(tensor.name), ":{\"dtype\":\"F32\",\"shape\":[",
                                   absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", begin,
                                   ",", end, "]}"));
    begin = end;
  }
  std::string text = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  // The format allows spaces at the end; with them the data are aligned.
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
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

absl::Status write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  return write_whole(path, [&](const std::string& temporary) {
    const Descriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) {
      return not_written(path, errno);
    }
    const std::string text = header(tensors, metadata);
    const uint64_t header_bytes = text.size();
    int error = write_all(file.get(), &header_bytes, sizeof header_bytes);
    error = error != 0 ? error : write_all(file.get(), text.data(), text.size());
    for (const NamedTensor& tensor : tensors) {
      error = error != 0 ? error
                         : write_all(file.get(), tensor.values.data(), tensor.values.size_bytes());
    }
    return error != 0 ? not_written(path, error) : absl::OkStatus();
  });
}

absl::Status write_bytes(const std::string& path, std::string_view bytes) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) {
    return not_written(path, errno);
  }
  const int error = write_all(file.get(), bytes.data(), bytes.size());
  return error != 0 ? not_written(path, error) : absl::OkStatus();
}

absl::Status write_whole(const std::string& path,
                         const std::function<absl::Status(const std::string& temporary)>& write) {
  const std::string temporary = absl::StrCat(path, ".partial.", getpid());
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
