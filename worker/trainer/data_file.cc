#include "worker/trainer/data_file.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

struct CloseFile {
  void operator()(FILE* file) const { fclose(file); }
};
struct EndInflate {
  void operator()(z_stream* stream) const {
    inflateEnd(stream);
    delete stream;
  }
};

std::string error_text(int number) {
  return std::generic_category().message(number);
}

absl::Status damaged(const std::string& path, size_t offset, const std::string& what) {
  return bad_data(absl::StrCat(path, ": gzip data ", what, " at byte ", offset,
                               " of the packed file; fetch the file again"));
}

absl::Status too_large(const std::string& path, const char* what) {
  return bad_data(absl::StrCat(path, ": ", what, " exceeds the limit of ", kDataFileBytesMax,
                               " bytes per file; split the data"));
}

constexpr size_t kUnpackBytes = 1 << 20;

absl::StatusOr<std::vector<uint8_t>> unpack(const std::string& path, std::vector<uint8_t> packed) {
  std::unique_ptr<z_stream, EndInflate> stream(new z_stream{});
  constexpr int kGzipWindowBits = 15 + 16;
  if (inflateInit2(stream.get(), kGzipWindowBits) != Z_OK) {
    return failure(absl::StatusCode::kResourceExhausted, kOutOfMemory,
                   absl::StrCat(path, ": no memory to unpack gzip"));
  }
  std::vector<uint8_t> result;
  size_t taken = 0;
  while (true) {
    const size_t size = result.size();
    result.resize(size + kUnpackBytes);
    const size_t given = std::min(packed.size() - taken, kUnpackBytes);
    stream->next_in = packed.data() + taken;
    stream->avail_in = static_cast<uInt>(given);
    stream->next_out = result.data() + size;
    stream->avail_out = kUnpackBytes;
    const int code = inflate(stream.get(), Z_NO_FLUSH);
    taken += given - stream->avail_in;
    result.resize(size + kUnpackBytes - stream->avail_out);
    if (static_cast<int64_t>(result.size()) > kDataFileBytesMax) {
      return too_large(path, "the unpacked data");
    }
    if (code == Z_STREAM_END) {
      if (taken == packed.size()) {
        return result;
      }
      inflateReset(stream.get());  // gzip files may be joined
    } else if (code == Z_BUF_ERROR || (code == Z_OK && given == 0 && result.size() == size)) {
      return damaged(path, taken, "end early");
    } else if (code != Z_OK) {
      return damaged(path, taken, "are damaged");
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> read_data_file(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    return bad_data(absl::StrCat(path, ": ", error_text(errno),
                                 "; the file must be on every node that trains"));
  }
  if (!S_ISREG(status.st_mode)) {
    return bad_data(absl::StrCat(path, " is ", S_ISDIR(status.st_mode) ? "a directory" : "no file",
                                 ", a regular file is expected"));
  }
  if (status.st_size > kDataFileBytesMax) {
    return too_large(path, "the file");
  }
  const std::unique_ptr<FILE, CloseFile> file(fopen(path.c_str(), "rbe"));
  if (file == nullptr) {
    return bad_data(absl::StrCat(path, ": ", error_text(errno)));
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(status.st_size));
  const size_t got = fread(bytes.data(), 1, bytes.size(), file.get());
  if (got != bytes.size()) {
    const bool failed = ferror(file.get()) != 0;
    return bad_data(
        absl::StrCat(path, ": only ", got, " of ", bytes.size(), " bytes could be read: ",
                     failed ? error_text(errno) : "the file became shorter; is it being written?"));
  }
  if (bytes.empty()) {
    return bad_data(absl::StrCat(path, " is empty"));
  }
  return bytes;
}

absl::StatusOr<std::vector<uint8_t>> read_unpacked(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, read_data_file(path));
  const bool gzip = bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
  return gzip ? unpack(path, std::move(bytes)) : std::move(bytes);
}

}  // namespace laconic::trainer
