#include "server/log_store.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace laconic::server {
namespace fs = std::filesystem;

std::string LogStore::path(const std::string& job_id, int32_t rank, v1::LogSource source) const {
  return absl::StrCat(directory_, "/", job_id, "/", rank,
                      source == v1::STDERR ? ".stderr" : ".stdout");
}

int64_t LogStore::arrived(const std::string& job_id, int32_t rank, v1::LogSource source) {
  std::error_code error;
  const auto size = fs::file_size(path(job_id, rank, source), error);
  return error ? 0 : std::min(static_cast<int64_t>(size), limit_);
}

absl::Status LogStore::append(const v1::LogChunk& chunk) {
  const std::string& job_id = chunk.key().job_id();
  const int32_t rank = chunk.key().rank();
  if (chunk.data().size() > kChunkBytesMax || chunk.offset() < 0 || rank < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "log chunk of job ", job_id, " rank ", rank, ": ", chunk.data().size(), " bytes at offset ",
        chunk.offset(), "; allowed: at most ", kChunkBytesMax, " bytes, offset and rank >= 0"));
  }
  const int64_t have = arrived(job_id, rank, chunk.source());
  const auto size = static_cast<int64_t>(chunk.data().size());
  if (chunk.offset() > have && have < limit_) {
    return absl::FailedPreconditionError(absl::StrCat("log chunk of job ", job_id, " rank ", rank,
                                                      " at offset ", chunk.offset(), ", but only ",
                                                      have, " bytes have arrived"));
  }
  const int64_t skip = have - chunk.offset();
  if (have >= limit_) {
    dropped_bytes_ += size;
    return absl::OkStatus();
  }
  if (skip >= size) {
    return absl::OkStatus();
  }
  const int64_t take = std::min(size - skip, limit_ - have);
  const std::string file = path(job_id, rank, chunk.source());
  std::error_code error;
  fs::create_directories(fs::path(file).parent_path(), error);
  std::ofstream out(file, std::ios::binary | std::ios::app);
  out.write(chunk.data().data() + skip, take);
  if (have + take == limit_) {
    dropped_bytes_ += size - skip - take;
    out << "\nlaconic: the limit of " << limit_
        << " bytes per log is reached; the rest is only on the node\n";
  }
  out.flush();
  if (!out) {
    // A part may have been written: arrived() says how much.
    return absl::UnavailableError(absl::StrCat("cannot write ", file, "; is the disk full?"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> LogStore::read(const std::string& job_id, int32_t rank,
                                           v1::LogSource source, int64_t position) const {
  std::ifstream in(path(job_id, rank, source), std::ios::binary);
  if (!in) {
    return std::string();  // Nothing was written yet.
  }
  in.seekg(position);
  std::string data(kChunkBytesMax, '\0');
  in.read(data.data(), static_cast<std::streamsize>(data.size()));
  if (in.bad()) {
    return absl::UnavailableError(absl::StrCat("cannot read ", path(job_id, rank, source)));
  }
  data.resize(static_cast<size_t>(in.gcount()));
  return data;
}

int64_t LogStore::tail_start(const std::string& job_id, int32_t rank, v1::LogSource source,
                             int32_t lines) const {
  std::ifstream in(path(job_id, rank, source), std::ios::binary | std::ios::ate);
  if (!in) {
    return 0;
  }
  const auto size = static_cast<int64_t>(in.tellg());
  if (lines <= 0) {
    return size;
  }
  int64_t begin = size;
  int64_t found = 0;
  std::string block;
  while (begin > 0) {
    const int64_t length = std::min<int64_t>(begin, kChunkBytesMax);
    begin -= length;
    block.resize(static_cast<size_t>(length));
    in.seekg(begin);
    in.read(block.data(), length);
    for (int64_t i = length - 1; i >= 0; --i) {
      const bool ends_file = begin + i == size - 1;
      if (block[static_cast<size_t>(i)] == '\n' && !ends_file && ++found == lines) {
        return begin + i + 1;
      }
    }
  }
  return 0;
}

void LogStore::drop(const std::string& job_id) {
  std::error_code error;  // A directory that is not there is as good as deleted.
  fs::remove_all(fs::path(directory_) / job_id, error);
}

}  // namespace laconic::server
