// One rank's saved states as files: <directory>/rank-<rank>-step-<step>.ckpt.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic::trainer {

// Owned by one thread. Two ranks may share a directory, two jobs may not.
class CheckpointStore {
 public:
  // Makes the directory if it is missing, and removes what an interrupted write of this rank left.
  // Errors: Internal, reason CHECKPOINT_NOT_WRITTEN, if files cannot be made in it.
  static absl::StatusOr<CheckpointStore> open(const std::string& directory, int rank);

  // Steps of the states that are whole, ascending. Files that are not are logged and left out.
  // Reads all of them.
  std::vector<int64_t> steps() const;

  // state: made by core::StateWriter. On disk when it returns.
  // Errors: Internal, reason CHECKPOINT_NOT_WRITTEN; then there is no file for `step`.
  absl::Status write(int64_t step, std::span<const uint8_t> state);
  // Errors: Internal, reason BAD_CHECKPOINT, naming the file.
  absl::StatusOr<std::vector<uint8_t>> read(int64_t step) const;

  // Removes the states of all other steps, or that of `step`.
  void keep_only(int64_t step);
  void remove(int64_t step);

  std::string path_of(int64_t step) const;
  const std::string& directory() const { return directory_; }

 private:
  CheckpointStore(std::string directory, int rank)
      : directory_(std::move(directory)), rank_(rank) {}

  // The step that a file of this rank is named for.
  std::optional<int64_t> step_of(const std::string& name) const;
  std::vector<int64_t> named_steps() const;

  std::string directory_;
  int rank_;
};

}  // namespace laconic::trainer
