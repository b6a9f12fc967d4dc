#include "worker/trainer/checkpoint_store.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/core/state_bytes.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/whole_file.h"

namespace laconic::trainer {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".ckpt";

std::string prefix_of(int rank) {
  return absl::StrCat("rank-", rank, "-step-");
}

absl::Status not_written(absl::string_view what) {
  return failure(absl::StatusCode::kInternal, kCheckpointNotWritten,
                 absl::StrCat(what,
                              "; make room, or set spec.train.checkpoint.directory to a place that "
                              "this node can write to"));
}

// Names of the files in the directory; none where it cannot be read.
std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    if (entry.is_regular_file(ignored)) {
      names.push_back(entry.path().filename().string());
    }
  }
  return names;
}

}  // namespace

absl::StatusOr<CheckpointStore> CheckpointStore::open(const std::string& directory, int rank) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return not_written(absl::StrCat(directory, ": ", error.message()));
  }
  if (access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    return not_written(absl::StrCat(directory, ": ", std::generic_category().message(errno)));
  }
  for (const std::string& name : names_in(directory)) {
    if (absl::StartsWith(name, prefix_of(rank)) &&
        absl::StrContains(name, absl::StrCat(kSuffix, kPartialSuffix))) {
      fs::remove(fs::path(directory) / name, error);
    }
  }
  return CheckpointStore(directory, rank);
}

std::string CheckpointStore::path_of(int64_t step) const {
  return (fs::path(directory_) / absl::StrCat(prefix_of(rank_), step, kSuffix)).string();
}

std::optional<int64_t> CheckpointStore::step_of(const std::string& name) const {
  absl::string_view digits = name;
  int64_t step = 0;
  if (!absl::ConsumePrefix(&digits, prefix_of(rank_)) || !absl::ConsumeSuffix(&digits, kSuffix) ||
      !absl::SimpleAtoi(digits, &step) || step < 1 || absl::StrCat(step) != digits) {
    return std::nullopt;
  }
  return step;
}

std::vector<int64_t> CheckpointStore::named_steps() const {
  std::vector<int64_t> steps;
  for (const std::string& name : names_in(directory_)) {
    if (const std::optional<int64_t> step = step_of(name); step.has_value()) {
      steps.push_back(*step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> whole;
  for (const int64_t step : named_steps()) {
    absl::StatusOr<std::vector<uint8_t>> state = read(step);
    absl::Status status = state.status();
    if (status.ok()) {
      status = core::StateReader::open(*state).status();
    }
    if (status.ok()) {
      whole.push_back(step);
    } else {
      spdlog::warn("{} is not used: {}", path_of(step), std::string(status.message()));
    }
  }
  return whole;
}

absl::Status CheckpointStore::write(int64_t step, std::span<const uint8_t> state) {
  const std::string path = path_of(step);
  const std::span<const std::byte> bytes = std::as_bytes(state);
  const absl::Status status = write_whole(path, [&](const std::string& temporary) {
    return write_parts(temporary, {&bytes, 1});
  });
  return status.ok() ? status : not_written(status.message());
}

absl::StatusOr<std::vector<uint8_t>> CheckpointStore::read(int64_t step) const {
  std::ifstream file(path_of(step), std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  std::vector<uint8_t> bytes(size > 0 ? static_cast<size_t>(size) : 0);
  file.seekg(0);
  if (size < 0 || !file.read(reinterpret_cast<char*>(bytes.data()), size)) {
    return failure(
        absl::StatusCode::kInternal, kBadCheckpoint,
        absl::StrCat(path_of(step), ": cannot be read: ", std::generic_category().message(errno)));
  }
  return bytes;
}

void CheckpointStore::keep_only(int64_t step) {
  for (const int64_t other : named_steps()) {
    if (other != step) {
      remove(other);
    }
  }
}

void CheckpointStore::remove(int64_t step) {
  unlink(path_of(step).c_str());  // What stays is found, and judged, at the next start.
}

}  // namespace laconic::trainer
