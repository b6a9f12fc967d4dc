// The edge around the coordinator: one thread that owns the coordinator, the store and the logs,
// takes commands from a bounded queue, and ticks.
//
// A gRPC handler decodes, posts, and returns; this thread applies, commits, answers. So no state
// is shared, no lock is held across I/O, and the disk is only touched here: a commit is one fsync,
// a log chunk at most 64 KiB.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/v1/control.pb.h"
#include "server/coordinator.h"
#include "server/data_directory.h"
#include "server/job_metrics.h"
#include "server/job_store.h"
#include "server/log_store.h"

namespace laconic::server {

// A stream about one job that wants to know when the job changes. Called on the engine's thread.
class JobWatcher {
 public:
  virtual ~JobWatcher() = default;
  virtual void poke() = 0;
  virtual void end(const absl::Status& status) = 0;
};

// The stream to one worker. Called on the engine's thread.
class SessionLink {
 public:
  virtual ~SessionLink() = default;
  virtual void send(const v1::SessionResponse& message) = 0;
  virtual void end(const absl::Status& status) = 0;
};

class Engine {
 public:
  struct Options {
    std::string data_dir;
    Limits limits;
    std::function<absl::Time()> clock;  // unset: the wall clock at the start, then monotonic
    bool insecure = false;              // for the metric
  };

  // Opens the store and loads what it holds; `metrics` must outlive the engine.
  // Errors: those of DataDirectory::open() and JobStore::open().
  static absl::StatusOr<std::unique_ptr<Engine>> open(Options options, metrics::Metrics& metrics);
  ~Engine();

  // ---- Any thread.
  void start();
  // Runs `command` on the engine's thread; false once stop() was called.
  bool post(std::function<void()> command);
  // As post(), but also false while the queue is full: for calls that can be refused.
  bool try_post(std::function<void()> command);
  // What such a call is refused with: Unavailable SERVER_BUSY.
  static absl::Status busy();
  // Ends all streams with Unavailable SERVER_STOPPING and refuses new ones. Returns when done.
  void drain();
  // Handles what is queued, then ends the thread.
  void stop();
  JobMetrics& metrics() { return metrics_; }
  const Limits& limits() const { return options_.limits; }

  // ---- The engine's thread only: what the services call.
  absl::StatusOr<v1::Job> create_job(const v1::CreateJobRequest& request);
  absl::StatusOr<v1::Job> get_job(const std::string& key) const;
  absl::Status list_jobs(const v1::ListJobsRequest& request, v1::ListJobsResponse& response) const;
  absl::StatusOr<v1::Job> cancel_job(const std::string& key);
  absl::Status delete_job(const std::string& key);
  absl::StatusOr<v1::ExplainJobResponse> explain_job(const std::string& key) const;
  v1::ListNodesResponse list_nodes() const;

  absl::StatusOr<std::string> resolve(const std::string& key) const {
    return coordinator_.resolve(key);
  }
  const JobRecord* find(const std::string& id) const { return coordinator_.find(id); }
  // Grows with every change of the job.
  uint64_t version(const std::string& id) const;
  // True when the job is final and no more output will come: all its processes are gone, or the
  // wait for them is over.
  bool output_is_complete(const std::string& id) const;
  LogStore& logs() { return logs_; }

  // Events of the job from this sequence on are not on disk yet; INT64_MAX: all are.
  int64_t first_unstored_event(const std::string& id) const;

  // Errors: Unavailable SERVER_STOPPING; ResourceExhausted STREAM_LIMIT.
  absl::Status subscribe(const std::string& job_id, const std::shared_ptr<JobWatcher>& watcher);
  // Errors: as subscribe(). The id names the session from here on.
  absl::StatusOr<uint64_t> open_session(const std::shared_ptr<SessionLink>& link);
  // One message of a worker; an error ends the session.
  absl::Status session_message(uint64_t session, const v1::SessionRequest& request);
  void close_session(uint64_t session);

 private:
  struct Session {
    std::weak_ptr<SessionLink> link;
    std::string node;  // empty until it has registered
    absl::Time opened;
  };
  struct Request {
    std::string job_id;
    std::string digest;
    absl::Time created;
  };

  Engine(Options options, std::unique_ptr<DataDirectory> directory, std::unique_ptr<JobStore> store,
         metrics::Metrics& metrics);
  absl::Status load();
  void run();
  void tick();
  absl::Time now() const { return options_.clock(); }
  absl::Status settle();
  absl::Status flush();  // as settle(), but lets nothing wait for company
  absl::Status commit(bool rows);
  void deliver();
  void poke_touched();
  void poke(const std::string& id);
  void check_sessions();
  absl::Status enter(uint64_t session, Session& state, const v1::Register& request);
  v1::SessionResponse welcome(const v1::Register& request);
  void drop_logs(const std::string& job_id);
  void append_log(const Session& session, const v1::LogChunk& chunk);
  std::optional<absl::StatusOr<v1::Job>> known_request(const std::string& request_id,
                                                       const std::string& digest) const;
  void forget_old_requests();

  // Const after the construction.
  Options options_;
  const std::unique_ptr<DataDirectory> directory_;  // locked until all below is gone

  // Guarded by mutex_.
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;

  // Owned by the engine's thread.
  Coordinator coordinator_;
  std::unique_ptr<JobStore> store_;
  LogStore logs_;
  // Logs of which something could not be written: told once, and again when they go on.
  std::set<std::pair<TaskId, v1::LogSource>> logs_behind_;
  std::unordered_map<std::string, Request> requests_;
  std::optional<RequestRow> new_request_;
  std::unordered_map<std::string, uint64_t> versions_;
  std::multimap<std::string, std::weak_ptr<JobWatcher>> watchers_;
  std::map<uint64_t, Session> sessions_;
  uint64_t last_session_ = 0;
  bool draining_ = false;
  bool store_failing_ = false;
  absl::Time last_commit_;
  absl::Time last_tick_ = absl::InfinitePast();
  absl::Time last_second_;
  absl::Time last_forget_;

  JobMetrics metrics_;  // thread-safe
  std::thread thread_;
};

}  // namespace laconic::server
