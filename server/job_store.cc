#include "server/job_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

// What helps when a row makes no sense.
constexpr const char* kDamaged =
    "; put a copy of laconic.db in its place, or move it away to start without jobs";

constexpr const char* kSchema = R"(
CREATE TABLE jobs(id TEXT PRIMARY KEY, name TEXT NOT NULL, state INTEGER NOT NULL,
  job BLOB NOT NULL, peer_token TEXT NOT NULL, expired INTEGER NOT NULL);
CREATE TABLE tasks(job_id TEXT NOT NULL, rank INTEGER NOT NULL, incarnation TEXT NOT NULL,
  task_token TEXT NOT NULL, gone INTEGER NOT NULL, PRIMARY KEY(job_id, rank)) WITHOUT ROWID;
CREATE TABLE history(job_id TEXT NOT NULL, step INTEGER NOT NULL, point BLOB NOT NULL,
  PRIMARY KEY(job_id, step)) WITHOUT ROWID;
CREATE TABLE events(job_id TEXT NOT NULL, sequence INTEGER NOT NULL, event BLOB NOT NULL,
  PRIMARY KEY(job_id, sequence)) WITHOUT ROWID;
CREATE TABLE request_ids(request_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, digest TEXT NOT NULL,
  created INTEGER NOT NULL) WITHOUT ROWID;
)";

}  // namespace

// A prepared statement that binds in order and gives columns back in order.
class JobStore::Statement {
 public:
  Statement(JobStore& store, const char* sql) : store_(store) {
    code_ = sqlite3_prepare_v2(store.db_, sql, -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& text(const std::string& value) {
    keep(sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                           SQLITE_TRANSIENT));
    return *this;
  }
  Statement& blob(const std::string& value) {
    keep(sqlite3_bind_blob(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                           SQLITE_TRANSIENT));
    return *this;
  }
  Statement& integer(int64_t value) {
    keep(sqlite3_bind_int64(statement_, ++bound_, value));
    return *this;
  }
  // True: there is a row. False: none left, or an error that status() tells.
  bool step() {
    column_ = 0;
    if (code_ != SQLITE_OK && code_ != SQLITE_ROW) {
      return false;
    }
    code_ = sqlite3_step(statement_);
    return code_ == SQLITE_ROW;
  }
  std::string bytes() {
    const int size = sqlite3_column_bytes(statement_, column_);
    const void* data = sqlite3_column_blob(statement_, column_++);
    return data == nullptr ? std::string()
                           : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
  }
  int64_t integer() { return sqlite3_column_int64(statement_, column_++); }
  absl::Status status() const {
    const bool ok = code_ == SQLITE_OK || code_ == SQLITE_ROW || code_ == SQLITE_DONE;
    return ok ? absl::OkStatus() : store_.error("statement");
  }
  absl::Status run() {
    while (step()) {
    }
    return status();
  }

 private:
  void keep(int code) {
    if (code != SQLITE_OK) {
      code_ = code;
    }
  }

  JobStore& store_;
  sqlite3_stmt* statement_ = nullptr;
  int code_ = SQLITE_OK;
  int bound_ = 0;
  int column_ = 0;
};

absl::Status JobStore::error(const std::string& what) const {
  const int code = sqlite3_errcode(db_);
  const std::string text =
      absl::StrCat("store ", path_, ": ", what, ": ", sqlite3_errmsg(db_), " (", code, ")");
  if (code == SQLITE_FULL) {
    return wire::with_error_info(
        absl::ResourceExhaustedError(
            absl::StrCat(text, "; free space on the disk of --data-dir, then try again")),
        {kStoreFull, {{"path", path_}}});
  }
  const char* remedy = code == SQLITE_NOTADB ? "give another --data-dir, or move this file away"
                       : code == SQLITE_BUSY || code == SQLITE_LOCKED
                           ? "end the program that has this file open"
                           : "check the disk of --data-dir and the rights on it";
  return wire::with_error_info(absl::UnavailableError(absl::StrCat(text, "; ", remedy)),
                               {kStoreFailed, {{"path", path_}}});
}

absl::Status JobStore::run(const std::string& sql) {
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return error(sql.substr(0, sql.find(' ')));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> JobStore::number(const std::string& sql) {
  Statement query(*this, sql.c_str());
  if (query.step()) {
    return query.integer();
  }
  LACONIC_RETURN_IF_ERROR(query.status());
  return absl::InternalError(absl::StrCat("store ", path_, ": no answer to ", sql));
}

absl::StatusOr<std::unique_ptr<JobStore>> JobStore::open(const std::string& path) {
  sqlite3* db = nullptr;
  // Private from its first byte; the files that SQLite makes beside it copy its mode. SQLite itself
  // says why when this fails. (One that is there is not opened: closing it again would drop the
  // locks of this process on it.)
  if (const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
      fd >= 0) {
    ::close(fd);
  }
  const int code = sqlite3_open_v2(
      path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<JobStore> store(new JobStore(db, path));
  if (code != SQLITE_OK) {
    return store->error("open");
  }
  ::chmod(path.c_str(), S_IRUSR | S_IWUSR);
  constexpr int kBusyMilliseconds = 2000;
  sqlite3_busy_timeout(db, kBusyMilliseconds);
  LACONIC_ASSIGN_OR_RETURN(const int64_t version, store->number("PRAGMA user_version"));
  if (version > kSchemaVersion) {
    return wire::with_error_info(
        absl::FailedPreconditionError(absl::StrCat(
            "store ", path, ": schema version ", version, ", this laconic-server knows up to ",
            kSchemaVersion, "; start the newer release, or give another --data-dir")),
        {kSchemaTooNew, {{"version", absl::StrCat(version)}, {"path", path}}});
  }
  LACONIC_RETURN_IF_ERROR(store->run("PRAGMA journal_mode=WAL"));
  LACONIC_RETURN_IF_ERROR(store->run("PRAGMA synchronous=FULL"));
  if (version == 0) {
    LACONIC_RETURN_IF_ERROR(store->run(absl::StrCat(
        "BEGIN IMMEDIATE;", kSchema, "PRAGMA user_version=", kSchemaVersion, ";COMMIT")));
  }
  return store;
}

JobStore::~JobStore() {
  sqlite3_close(db_);
}

absl::Status JobStore::write_job(const JobRecord& record) {
  v1::Job row = record.job;
  row.clear_history();
  if (!is_final(row.state())) {
    for (v1::Rank& rank : *row.mutable_ranks()) {
      rank.clear_progress();
    }
  }
  LACONIC_RETURN_IF_ERROR(Statement(*this, "INSERT OR REPLACE INTO jobs VALUES(?,?,?,?,?,?)")
                              .text(record.id())
                              .text(record.job.job().metadata().name())
                              .integer(record.job.state())
                              .blob(row.SerializeAsString())
                              .text(record.peer_token)
                              .integer(record.expired_reservations)
                              .run());
  LACONIC_RETURN_IF_ERROR(
      Statement(*this, "DELETE FROM tasks WHERE job_id=?").text(record.id()).run());
  for (size_t rank = 0; rank < record.tasks.size(); ++rank) {
    const Task& task = record.tasks[rank];
    LACONIC_RETURN_IF_ERROR(Statement(*this, "INSERT INTO tasks VALUES(?,?,?,?,?)")
                                .text(record.id())
                                .integer(static_cast<int64_t>(rank))
                                .text(task.incarnation)
                                .text(task.task_token)
                                .integer(task.gone ? 1 : 0)
                                .run());
  }
  return absl::OkStatus();
}

absl::Status JobStore::write_point(const std::string& id, const v1::HistoryPoint& point) {
  return Statement(*this, "INSERT OR REPLACE INTO history VALUES(?,?,?)")
      .text(id)
      .integer(point.step())
      .blob(point.SerializeAsString())
      .run();
}

absl::Status JobStore::rewrite_history(const JobRecord& record) {
  LACONIC_RETURN_IF_ERROR(
      Statement(*this, "DELETE FROM history WHERE job_id=?").text(record.id()).run());
  for (const v1::HistoryPoint& point : record.job.history()) {
    LACONIC_RETURN_IF_ERROR(write_point(record.id(), point));
  }
  return absl::OkStatus();
}

absl::Status JobStore::delete_job(const std::string& id) {
  for (const char* sql :
       {"DELETE FROM jobs WHERE id=?", "DELETE FROM tasks WHERE job_id=?",
        "DELETE FROM history WHERE job_id=?", "DELETE FROM events WHERE job_id=?"}) {
    LACONIC_RETURN_IF_ERROR(Statement(*this, sql).text(id).run());
  }
  return absl::OkStatus();
}

absl::Status JobStore::write(const StoreBatch& batch) {
  for (const JobRecord* record : batch.jobs) {
    LACONIC_RETURN_IF_ERROR(write_job(*record));
  }
  for (const auto& [id, event] : batch.events) {
    LACONIC_RETURN_IF_ERROR(Statement(*this, "INSERT OR REPLACE INTO events VALUES(?,?,?)")
                                .text(id)
                                .integer(event.sequence())
                                .blob(event.SerializeAsString())
                                .run());
  }
  for (const auto& [id, point] : batch.history) {
    LACONIC_RETURN_IF_ERROR(write_point(id, point));
  }
  for (const JobRecord* record : batch.history_rewritten) {
    LACONIC_RETURN_IF_ERROR(rewrite_history(*record));
  }
  if (batch.request) {
    LACONIC_RETURN_IF_ERROR(Statement(*this, "INSERT INTO request_ids VALUES(?,?,?,?)")
                                .text(batch.request->request_id)
                                .text(batch.request->job_id)
                                .text(batch.request->digest)
                                .integer(absl::ToUnixSeconds(batch.request->created))
                                .run());
  }
  return batch.delete_job ? delete_job(*batch.delete_job) : absl::OkStatus();
}

absl::Status JobStore::commit(const StoreBatch& batch) {
  LACONIC_RETURN_IF_ERROR(run("BEGIN IMMEDIATE"));
  absl::Status status = write(batch);
  if (status.ok()) {
    status = run("COMMIT");
  }
  if (!status.ok() && sqlite3_get_autocommit(db_) == 0) {
    // The first error is the one to tell; a failed ROLLBACK leaves the transaction to the next
    // open.
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  return status;
}

absl::Status JobStore::load_tasks(JobRecord& record) {
  record.tasks.assign(static_cast<size_t>(record.job.ranks_size()), Task());
  Statement query(*this, "SELECT rank, incarnation, task_token, gone FROM tasks WHERE job_id=?");
  query.text(record.id());
  while (query.step()) {
    const int64_t rank = query.integer();
    if (rank < 0 || rank >= record.job.ranks_size()) {
      return absl::DataLossError(absl::StrCat("store ", path_, ": job ", record.id(), " has ",
                                              record.job.ranks_size(), " ranks but a task of rank ",
                                              rank, kDamaged));
    }
    Task& task = record.tasks[static_cast<size_t>(rank)];
    task.incarnation = query.bytes();
    task.task_token = query.bytes();
    task.gone = query.integer() != 0;
  }
  return query.status();
}

absl::Status JobStore::load_history(JobRecord& record) {
  Statement query(*this, "SELECT point FROM history WHERE job_id=? ORDER BY step");
  query.text(record.id());
  while (query.step()) {
    if (!record.job.add_history()->ParseFromString(query.bytes())) {
      return absl::DataLossError(absl::StrCat("store ", path_, ": history of job ", record.id(),
                                              " cannot be read", kDamaged));
    }
  }
  return query.status();
}

absl::Status JobStore::load_events(JobRecord& record) {
  Statement query(*this, "SELECT event FROM events WHERE job_id=? ORDER BY sequence");
  query.text(record.id());
  while (query.step()) {
    if (!record.events.emplace_back().ParseFromString(query.bytes())) {
      return absl::DataLossError(absl::StrCat("store ", path_, ": events of job ", record.id(),
                                              " cannot be read", kDamaged));
    }
  }
  return query.status();
}

absl::StatusOr<std::vector<JobRecord>> JobStore::load_jobs() {
  std::vector<JobRecord> records;
  Statement query(*this, "SELECT id, job, peer_token, expired FROM jobs");
  while (query.step()) {
    JobRecord& record = records.emplace_back();
    const std::string id = query.bytes();
    if (!record.job.ParseFromString(query.bytes()) || record.id() != id) {
      return absl::DataLossError(
          absl::StrCat("store ", path_, ": job ", id, " cannot be read", kDamaged));
    }
    record.peer_token = query.bytes();
    record.expired_reservations = static_cast<int>(query.integer());
  }
  LACONIC_RETURN_IF_ERROR(query.status());
  for (JobRecord& record : records) {
    LACONIC_RETURN_IF_ERROR(load_tasks(record));
    LACONIC_RETURN_IF_ERROR(load_history(record));
    LACONIC_RETURN_IF_ERROR(load_events(record));
  }
  return records;
}

absl::StatusOr<std::vector<RequestRow>> JobStore::load_requests() {
  std::vector<RequestRow> rows;
  Statement query(*this, "SELECT request_id, job_id, digest, created FROM request_ids");
  while (query.step()) {
    RequestRow& row = rows.emplace_back();
    row.request_id = query.bytes();
    row.job_id = query.bytes();
    row.digest = query.bytes();
    row.created = absl::FromUnixSeconds(query.integer());
  }
  LACONIC_RETURN_IF_ERROR(query.status());
  return rows;
}

absl::Status JobStore::forget_requests(absl::Time time) {
  return Statement(*this, "DELETE FROM request_ids WHERE created < ?")
      .integer(absl::ToUnixSeconds(time))
      .run();
}

int64_t JobStore::size_bytes() const {
  int64_t size = 0;
  for (const char* suffix : {"", "-wal"}) {
    struct stat info = {};
    if (::stat((path_ + suffix).c_str(), &info) == 0) {
      size += info.st_size;
    }
  }
  return size;
}

absl::Status JobStore::limit_growth(int pages) {
  LACONIC_ASSIGN_OR_RETURN(const int64_t now, number("PRAGMA page_count"));
  return number(absl::StrCat("PRAGMA max_page_count=", now + pages)).status();
}

}  // namespace laconic::server
