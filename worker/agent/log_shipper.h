// Sends what the trainers print to the server, each byte once, from where the server says it
// stands.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "laconic/v1/control.pb.h"
#include "worker/agent/last_lines.h"
#include "worker/agent/task_table.h"

namespace laconic::agent {

inline constexpr int64_t kLogChunkBytesMax = 64 << 10;
inline constexpr int64_t kLogFileBytesMax = 128 << 20;  // two files per task: 256 MiB
inline constexpr int64_t kLogBytesPerSecond = 8 << 20;  // of one worker, all tasks together
inline constexpr int64_t kLogBurstBytes = 1 << 20;
inline constexpr absl::Duration kLogResendWait = absl::Seconds(1);  // for the server's disk

// Tails two files per task. A file above kLogFileBytesMax is cut there, with a line that says so;
// what its trainer prints later is lost to the server (but not to the report of its last lines).
// Owned by one thread.
class LogShipper {
 public:
  explicit LogShipper(int64_t file_bytes_max = kLogFileBytesMax)
      : file_bytes_max_(file_bytes_max) {}

  void add(const TaskId& id, const std::string& stdout_path, const std::string& stderr_path);
  // Forgets the task; deletes its files if all of them was sent.
  void remove(const TaskId& id);

  // A new session: goes on from what the server has; a file that is not listed begins at 0.
  void resume(const google::protobuf::RepeatedPtrField<v1::LogOffset>& offsets);

  // The server could not write what came after `offset`: goes on from there after kLogResendWait.
  // Nothing happens if the task is not known any more.
  void resend(const v1::LogOffset& offset, absl::Time now);

  // The next piece, or nothing: all is sent, or the rate is used up. Tasks take turns.
  std::optional<v1::LogChunk> next_chunk(absl::Time now);

  // True once all that the files hold was given out.
  bool drained(const TaskId& id) const;

 private:
  struct Tail {
    std::string path;
    int64_t offset = 0;  // of the next byte to send
    bool cut = false;    // was longer than allowed
    absl::Time wait_until = absl::InfinitePast();
  };
  struct TailKey {
    TaskId id;
    v1::LogSource source = v1::LOG_SOURCE_UNSPECIFIED;
    auto operator<=>(const TailKey&) const = default;
  };

  std::optional<std::string> read(Tail& tail);
  std::string cut_note() const;
  int64_t bytes_left(const Tail& tail) const;

  const int64_t file_bytes_max_;
  std::map<TailKey, Tail> tails_;
  TailKey last_;
  double allowance_bytes_ = kLogBurstBytes;
  absl::Time allowance_time_ = absl::InfinitePast();
};

}  // namespace laconic::agent
