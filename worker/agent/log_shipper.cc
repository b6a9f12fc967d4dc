#include "worker/agent/log_shipper.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace laconic::agent {
namespace {

int64_t size_of(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

}  // namespace

void LogShipper::add(const TaskId& id, const std::string& stdout_path,
                     const std::string& stderr_path) {
  tails_[{id, v1::STDOUT}].path = stdout_path;
  tails_[{id, v1::STDERR}].path = stderr_path;
}

void LogShipper::remove(const TaskId& id) {
  const bool all_sent = drained(id);
  for (const v1::LogSource source : {v1::STDOUT, v1::STDERR}) {
    const auto found = tails_.find({id, source});
    if (found == tails_.end()) {
      continue;
    }
    if (all_sent) {
      std::error_code ignored;  // A file that stays is no harm.
      std::filesystem::remove(found->second.path, ignored);
    }
    tails_.erase(found);
  }
}

void LogShipper::resume(const google::protobuf::RepeatedPtrField<v1::LogOffset>& offsets) {
  for (auto& [key, tail] : tails_) {
    tail.offset = 0;
    tail.wait_until = absl::InfinitePast();
  }
  for (const v1::LogOffset& offset : offsets) {
    const auto found = tails_.find({task_id(offset.key()), offset.source()});
    if (found != tails_.end()) {
      found->second.offset = std::max<int64_t>(offset.offset(), 0);
    }
  }
}

void LogShipper::resend(const v1::LogOffset& offset, absl::Time now) {
  const auto found = tails_.find({task_id(offset.key()), offset.source()});
  if (found == tails_.end()) {
    return;
  }
  found->second.offset = std::max<int64_t>(offset.offset(), 0);
  found->second.wait_until = now + kLogResendWait;
}

std::optional<v1::LogChunk> LogShipper::next_chunk(absl::Time now) {
  if (now > allowance_time_) {
    const double more = absl::ToDoubleSeconds(now - allowance_time_) * kLogBytesPerSecond;
    allowance_bytes_ = std::min<double>(kLogBurstBytes, allowance_bytes_ + more);
    allowance_time_ = now;
  }
  if (allowance_bytes_ < 0 || tails_.empty()) {
    return std::nullopt;
  }
  auto at = tails_.upper_bound(last_);
  for (size_t i = 0; i < tails_.size(); ++i, ++at) {
    if (at == tails_.end()) {
      at = tails_.begin();
    }
    if (now < at->second.wait_until) {
      continue;
    }
    const int64_t offset = at->second.offset;
    std::optional<std::string> data = read(at->second);
    if (!data.has_value()) {
      continue;
    }
    last_ = at->first;
    allowance_bytes_ -= static_cast<double>(data->size());
    v1::LogChunk chunk;
    *chunk.mutable_key() = task_key(at->first.id);
    chunk.set_source(at->first.source);
    chunk.set_offset(offset);
    chunk.set_data(*std::move(data));
    return chunk;
  }
  return std::nullopt;
}

// The next piece of one file; moves its offset on.
std::optional<std::string> LogShipper::read(Tail& tail) {
  const int64_t size = size_of(tail.path);
  tail.cut = tail.cut || size > file_bytes_max_;
  if (size > file_bytes_max_ + kLastLinesTailBytes) {
    // The trainer appends, so it goes on behind the cut and the disk stays free.
    [[maybe_unused]] const int done = truncate(tail.path.c_str(), file_bytes_max_);
  }
  if (tail.cut && tail.offset >= file_bytes_max_ && bytes_left(tail) > 0) {
    std::string note = cut_note().substr(static_cast<size_t>(tail.offset - file_bytes_max_));
    tail.offset += static_cast<int64_t>(note.size());
    return note;
  }
  const int64_t count =
      std::min({size - tail.offset, file_bytes_max_ - tail.offset, kLogChunkBytesMax});
  std::ifstream in(tail.path, std::ios::binary);
  if (count <= 0 || !in) {
    return std::nullopt;
  }
  std::string data(static_cast<size_t>(count), '\0');
  in.seekg(tail.offset);
  in.read(data.data(), count);
  data.resize(static_cast<size_t>(in.gcount()));
  tail.offset += in.gcount();
  return data.empty() ? std::nullopt : std::optional<std::string>(std::move(data));
}

std::string LogShipper::cut_note() const {
  return absl::StrCat("\n[laconic-worker: cut here, a log holds at most ", file_bytes_max_,
                      " bytes]\n");
}

int64_t LogShipper::bytes_left(const Tail& tail) const {
  const int64_t size = size_of(tail.path);
  const int64_t end =
      size > file_bytes_max_ ? file_bytes_max_ + static_cast<int64_t>(cut_note().size()) : size;
  return std::max<int64_t>(end - tail.offset, 0);
}

bool LogShipper::drained(const TaskId& id) const {
  return std::all_of(tails_.begin(), tails_.end(), [&](const auto& item) {
    return item.first.id != id || bytes_left(item.second) == 0;
  });
}

}  // namespace laconic::agent
