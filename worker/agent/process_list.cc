#include "worker/agent/process_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace laconic::agent {
namespace {

// Not a std::ifstream: its buffer throws when the process ends between open() and read().
std::string read_all(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return "";
  }
  std::string text;
  std::array<char, 4096> chunk;
  ssize_t count = 0;
  do {
    count = read(fd, chunk.data(), chunk.size());
    if (count > 0) {
      text.append(chunk.data(), static_cast<size_t>(count));
    }
  } while (count > 0 || (count < 0 && errno == EINTR));
  close(fd);
  return count < 0 ? "" : text;
}

std::optional<ProcessEntry> read_entry(const char* name) {
  ProcessEntry entry;
  if (!absl::SimpleAtoi(name, &entry.pid)) {
    return std::nullopt;
  }
  const std::string text = read_all(absl::StrCat("/proc/", name, "/stat"));
  // The second field is the program's name in brackets and may hold anything, brackets too.
  const size_t end_of_name = text.rfind(')');
  if (end_of_name == std::string::npos) {
    return std::nullopt;
  }
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(end_of_name + 1), ' ', absl::SkipEmpty());
  if (fields.size() < 3 || !absl::SimpleAtoi(fields[1], &entry.parent) ||
      !absl::SimpleAtoi(fields[2], &entry.group)) {
    return std::nullopt;
  }
  entry.state = fields[0][0];
  return entry;
}

}  // namespace

std::vector<ProcessEntry> all_processes() {
  std::vector<ProcessEntry> result;
  DIR* directory = opendir("/proc");
  if (directory == nullptr) {
    return result;
  }
  // Only this thread uses this stream, which is what readdir() needs to be safe.
  while (const dirent* item = readdir(directory)) {  // NOLINT(concurrency-mt-unsafe)
    if (const std::optional<ProcessEntry> entry = read_entry(item->d_name)) {
      result.push_back(*entry);
    }
  }
  closedir(directory);
  return result;
}

std::string environment_of(pid_t pid) {
  return read_all(absl::StrCat("/proc/", pid, "/environ"));
}

}  // namespace laconic::agent
