// What laconic-server may not forget, in SQLite: DIR/laconic.db, WAL, synchronous=FULL.
//
// A commit that returned OK survives kill -9 and power loss. Heartbeats, progress and reasons of
// waiting are never written: they follow from what the workers say.
//
//   jobs         id, name, state, job (v1::Job without history), peer_token, expired
//   tasks        job_id, rank, incarnation, task_token, gone: what the job message does not show
//   history      job_id, step, point (v1::HistoryPoint)
//   events       job_id, sequence, event (v1::Event)
//   request_ids  request_id, job_id, digest of the submitted job, created
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/job_record.h"

struct sqlite3;
struct sqlite3_stmt;

namespace laconic::server {

// Which job a request id stands for, and a digest of what was asked for.
struct RequestRow {
  std::string request_id;
  std::string job_id;
  std::string digest;
  absl::Time created;
};

// One transaction. Pointers stay the caller's.
struct StoreBatch {
  std::vector<const JobRecord*> jobs;
  std::vector<std::pair<std::string, v1::Event>> events;
  std::vector<std::pair<std::string, v1::HistoryPoint>> history;
  std::vector<const JobRecord*> history_rewritten;
  std::optional<RequestRow> request;
  std::optional<std::string> delete_job;

  bool empty() const {
    return jobs.empty() && events.empty() && history.empty() && history_rewritten.empty() &&
           !request && !delete_job;
  }
};

// Not thread-safe: owned by the engine's thread.
class JobStore {
 public:
  static constexpr int kSchemaVersion = 1;

  // Opens or makes the database; the file is readable by its owner only (it holds task tokens).
  // Errors: FailedPrecondition SCHEMA_TOO_NEW for a database of a newer release; Unavailable
  // STORE_FAILED with SQLite's text for anything else.
  static absl::StatusOr<std::unique_ptr<JobStore>> open(const std::string& path);
  ~JobStore();
  JobStore(const JobStore&) = delete;
  JobStore& operator=(const JobStore&) = delete;

  // All or nothing; OK means: on disk.
  // Errors: ResourceExhausted STORE_FULL when the disk is full; Unavailable STORE_FAILED.
  absl::Status commit(const StoreBatch& batch);

  absl::StatusOr<std::vector<JobRecord>> load_jobs();
  absl::StatusOr<std::vector<RequestRow>> load_requests();
  // Drops request ids made before `time`.
  absl::Status forget_requests(absl::Time time);
  // Of the database and its log, 0 if unknown.
  int64_t size_bytes() const;
  // Holds the database to `pages` more pages than now, so that a test meets a full disk.
  absl::Status limit_growth(int pages);

 private:
  class Statement;
  JobStore(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  absl::Status run(const std::string& sql);
  absl::Status error(const std::string& what) const;
  absl::Status write(const StoreBatch& batch);
  absl::Status write_job(const JobRecord& record);
  absl::Status write_point(const std::string& id, const v1::HistoryPoint& point);
  absl::Status rewrite_history(const JobRecord& record);
  absl::Status delete_job(const std::string& id);
  absl::StatusOr<int64_t> number(const std::string& sql);
  absl::Status load_tasks(JobRecord& record);
  absl::Status load_history(JobRecord& record);
  absl::Status load_events(JobRecord& record);

  sqlite3* db_;
  std::string path_;
};

}  // namespace laconic::server
