// What trainers wrote, as files: DIR/logs/<job_id>/<rank>.stdout and .stderr. An offset is a
// position in the trainer's own file, so chunks that come twice are written once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/v1/control.pb.h"
#include "server/limits.h"

namespace laconic::server {

// Not thread-safe: owned by the engine's thread. Each call reads or writes at most one chunk
// (64 KiB) but tail_start(), which may read one whole file.
class LogStore {
 public:
  static constexpr size_t kChunkBytesMax = 64 << 10;

  LogStore(std::string directory, const Limits& limits)
      : directory_(std::move(directory)), limit_(limits.log_bytes_max) {}

  // Appends what is new in the chunk. Beyond limits.log_bytes_max the rest is dropped, after one
  // line that says so.
  // Errors: InvalidArgument for a negative offset or rank, or a chunk over 64 KiB;
  // FailedPrecondition for a gap; Unavailable when the disk refuses. After the last two, what
  // follows arrived() must come again.
  absl::Status append(const v1::LogChunk& chunk);
  // Bytes of the trainer's file that have arrived; the limit when the rest is not wanted.
  int64_t arrived(const std::string& job_id, int32_t rank, v1::LogSource source);
  // At most 64 KiB from `position` of our file; empty at its end.
  absl::StatusOr<std::string> read(const std::string& job_id, int32_t rank, v1::LogSource source,
                                   int64_t position) const;
  // Where the last `lines` lines begin.
  int64_t tail_start(const std::string& job_id, int32_t rank, v1::LogSource source,
                     int32_t lines) const;
  // Deletes all output of a job.
  void drop(const std::string& job_id);
  int64_t dropped_bytes() const { return dropped_bytes_; }

 private:
  std::string path(const std::string& job_id, int32_t rank, v1::LogSource source) const;

  const std::string directory_;
  const int64_t limit_;
  int64_t dropped_bytes_ = 0;
};

}  // namespace laconic::server
