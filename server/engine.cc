// The thread, the queue, and what happens after each command. Calls are in engine_calls.cc.
#include "server/engine.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <future>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"
#include "server/reasons.h"
#include "server/tokens.h"

namespace laconic::server {
namespace {

// Jumps of the wall clock must not expire anything: it is read once.
std::function<absl::Time()> anchored_clock() {
  const absl::Time wall = absl::Now();
  const auto steady = std::chrono::steady_clock::now();
  return
      [wall, steady] { return wall + absl::FromChrono(std::chrono::steady_clock::now() - steady); };
}

absl::Status stopping() {
  return wire::with_error_info(
      absl::UnavailableError("the server is stopping; try again once it is back"),
      {kServerStopping, {}});
}

}  // namespace

Engine::Engine(Options options, std::unique_ptr<DataDirectory> directory,
               std::unique_ptr<JobStore> store, metrics::Metrics& metrics)
    : options_(std::move(options)),
      directory_(std::move(directory)),
      coordinator_(options_.limits, random_token),
      store_(std::move(store)),
      logs_(options_.data_dir + "/logs", options_.limits),
      last_commit_(absl::InfinitePast()),
      last_second_(absl::InfinitePast()),
      last_forget_(absl::InfinitePast()),
      metrics_(metrics, options_.limits) {
  if (!options_.clock) {
    options_.clock = anchored_clock();
  }
  metrics_.set_service(options_.insecure);
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::open(Options options, metrics::Metrics& metrics) {
  LACONIC_ASSIGN_OR_RETURN(auto directory, DataDirectory::open(options.data_dir));
  LACONIC_ASSIGN_OR_RETURN(auto store, JobStore::open(options.data_dir + "/laconic.db"));
  std::unique_ptr<Engine> engine(
      new Engine(std::move(options), std::move(directory), std::move(store), metrics));
  LACONIC_RETURN_IF_ERROR(engine->load());
  return engine;
}

Engine::~Engine() {
  stop();
}

absl::Status Engine::load() {
  LACONIC_ASSIGN_OR_RETURN(std::vector<JobRecord> records, store_->load_jobs());
  LACONIC_ASSIGN_OR_RETURN(const std::vector<RequestRow> requests, store_->load_requests());
  const absl::Time at = now();
  for (JobRecord& record : records) {
    coordinator_.load(std::move(record), at);
  }
  for (const RequestRow& row : requests) {
    requests_[row.request_id] = {row.job_id, row.digest, row.created};
  }
  spdlog::info("store holds {} jobs", records.size());
  return absl::OkStatus();
}

void Engine::start() {
  thread_ = std::thread([this] { run(); });
}

bool Engine::post(std::function<void()> command) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stopping_) {
    return false;
  }
  queue_.push_back(std::move(command));
  wake_.notify_one();
  return true;
}

bool Engine::try_post(std::function<void()> command) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stopping_ || queue_.size() >= options_.limits.engine_queue_max) {
    return false;
  }
  queue_.push_back(std::move(command));
  wake_.notify_one();
  return true;
}

absl::Status Engine::busy() {
  return wire::with_error_info(absl::UnavailableError("the server is busy or stopping; try again"),
                               {kServerBusy, {}});
}

void Engine::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Engine::run() {
  auto next_tick = std::chrono::steady_clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait_until(lock, next_tick, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty() && stopping_) {
      lock.unlock();
      flush().IgnoreError();  // What could wait for company until now; failures are in the log.
      return;
    }
    if (!queue_.empty()) {
      std::function<void()> command = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      command();
      command = nullptr;       // What it holds may end here; never under the lock.
      settle().IgnoreError();  // Kept, told in the log, and tried again at every tick.
      lock.lock();
    }
    if (std::chrono::steady_clock::now() >= next_tick) {
      lock.unlock();
      tick();
      lock.lock();
      next_tick =
          std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(options_.limits.tick);
    }
  }
}

void Engine::tick() {
  const absl::Time at = now();
  // A slow disk or SIGSTOP held this thread up: heartbeats wait unread in queues and sockets.
  if (at - last_tick_ > options_.limits.session_silence / 2 && last_tick_ > absl::InfinitePast()) {
    spdlog::warn("the server stood still for {}; no worker is blamed for its silence",
                 absl::FormatDuration(at - last_tick_));
    coordinator_.excuse_silence(at);
  }
  last_tick_ = at;
  coordinator_.set_scheduling(!store_failing_);
  coordinator_.tick(at);
  settle().IgnoreError();  // As in run().
  check_sessions();
  // A log stream of a final job waits for the last output, which no change announces.
  std::vector<std::shared_ptr<JobWatcher>> waiting;
  for (const auto& [id, weak] : watchers_) {
    const JobRecord* record = coordinator_.find(id);
    if (std::shared_ptr<JobWatcher> watcher = weak.lock();
        watcher != nullptr && (record == nullptr || is_final(record->job.state()))) {
      waiting.push_back(std::move(watcher));
    }
  }
  for (const std::shared_ptr<JobWatcher>& watcher : waiting) {
    watcher->poke();
  }
  for (auto it = watchers_.begin(); it != watchers_.end();) {
    it = it->second.expired() ? watchers_.erase(it) : std::next(it);
  }
  if (at - last_second_ >= absl::Seconds(1)) {
    last_second_ = at;
    metrics_.refresh_totals(coordinator_, sessions_.size(), watchers_.size(), at);
    metrics_.set_store(store_->size_bytes(), logs_.dropped_bytes());
    forget_old_requests();
  }
}

void Engine::forget_old_requests() {
  const absl::Time at = now();
  if (at - last_forget_ < absl::Minutes(10)) {
    return;
  }
  last_forget_ = at;
  const absl::Time oldest = at - options_.limits.request_id_memory;
  for (auto it = requests_.begin(); it != requests_.end();) {
    it = it->second.created < oldest ? requests_.erase(it) : std::next(it);
  }
  if (const absl::Status status = store_->forget_requests(oldest); !status.ok()) {
    spdlog::warn("old request ids stay for now: {}", status.ToString());
  }
}

// ---- After each command: store, then tell the workers, then the watchers -----------------------

absl::Status Engine::settle() {
  const Effects& effects = coordinator_.effects();
  const bool rows = !effects.jobs.empty() || new_request_.has_value();
  const bool lazy =
      !effects.events.empty() || !effects.history.empty() || !effects.history_rewritten.empty();
  absl::Status status;
  if (rows || (lazy && now() - last_commit_ >= options_.limits.lazy_commit)) {
    status = commit(rows);
    if (status.ok() == store_failing_) {
      store_failing_ = !status.ok();
      if (store_failing_) {
        spdlog::error("the store cannot write, no job starts or changes until it can: {}",
                      status.ToString());
      } else {
        spdlog::info("the store can write again");
      }
    }
  }
  if (status.ok()) {
    deliver();
  }
  poke_touched();
  return status;
}

absl::Status Engine::flush() {
  last_commit_ = absl::InfinitePast();
  return settle();
}

absl::Status Engine::commit(bool rows) {
  const auto began = std::chrono::steady_clock::now();
  Effects& effects = coordinator_.effects();
  StoreBatch batch;
  std::set<std::string> ids = effects.lazy_jobs;
  ids.insert(effects.jobs.begin(), effects.jobs.end());
  for (const std::string& id : ids) {
    if (const JobRecord* record = coordinator_.find(id)) {
      batch.jobs.push_back(record);
    }
  }
  for (const std::string& id : effects.history_rewritten) {
    if (const JobRecord* record = coordinator_.find(id)) {
      batch.history_rewritten.push_back(record);
    }
  }
  batch.events = effects.events;
  batch.history = effects.history;
  batch.request = new_request_;
  absl::Status status = store_->commit(batch);
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began);
  metrics_.store_transaction(rows ? "state" : "notes", seconds.count());
  if (!status.ok()) {
    return status;
  }
  last_commit_ = now();
  std::set<std::string> with_new_events;
  for (const auto& [id, event] : effects.events) {
    with_new_events.insert(id);
  }
  effects.jobs.clear();
  effects.lazy_jobs.clear();
  effects.events.clear();
  effects.history.clear();
  effects.history_rewritten.clear();
  new_request_.reset();
  for (const std::string& id : with_new_events) {
    poke(id);  // Streams of events wait for the disk.
  }
  return status;
}

void Engine::deliver() {
  Effects& effects = coordinator_.effects();
  for (const std::string& id : std::exchange(effects.logs_dropped, {})) {
    drop_logs(id);
  }
  const std::vector<Command> commands = std::exchange(effects.commands, {});
  for (const Command& command : commands) {
    const auto& nodes = coordinator_.membership().nodes();
    const auto node = nodes.find(command.node);
    const auto session =
        node == nodes.end() ? sessions_.end() : sessions_.find(node->second.session);
    if (session != sessions_.end()) {
      if (const std::shared_ptr<SessionLink> link = session->second.link.lock()) {
        link->send(command.message);
      }
    }
  }
  metrics_.count(coordinator_, effects);
  effects.finished.clear();
  effects.queue_waits.clear();
  effects.reservations_expired = 0;
}

void Engine::poke_touched() {
  for (const std::string& id : std::exchange(coordinator_.effects().touched, {})) {
    if (coordinator_.find(id) != nullptr) {
      ++versions_[id];
    } else {
      versions_.erase(id);
    }
    metrics_.job_changed(id);
    poke(id);
  }
}

void Engine::poke(const std::string& id) {
  std::vector<std::shared_ptr<JobWatcher>> watchers;
  const auto [begin, end] = watchers_.equal_range(id);
  for (auto it = begin; it != end; ++it) {
    if (std::shared_ptr<JobWatcher> watcher = it->second.lock()) {
      watchers.push_back(std::move(watcher));
    }
  }
  for (const std::shared_ptr<JobWatcher>& watcher : watchers) {
    watcher->poke();
  }
}

// ---- Streams and sessions ----------------------------------------------------------------------

uint64_t Engine::version(const std::string& id) const {
  const auto found = versions_.find(id);
  return found == versions_.end() ? 0 : found->second;
}

int64_t Engine::first_unstored_event(const std::string& id) const {
  for (const auto& [job_id, event] : coordinator_.effects().events) {
    if (job_id == id) {
      return event.sequence();
    }
  }
  return INT64_MAX;
}

absl::Status Engine::subscribe(const std::string& job_id,
                               const std::shared_ptr<JobWatcher>& watcher) {
  if (draining_) {
    return stopping();
  }
  if (watchers_.size() >= options_.limits.streams_max) {
    return wire::with_error_info(
        absl::ResourceExhaustedError(absl::StrCat("the server has ", watchers_.size(),
                                                  " open streams, which is its limit; end some "
                                                  "'laconic watch' or 'laconic logs -f'")),
        {kStreamLimit, {{"limit", absl::StrCat(options_.limits.streams_max)}}});
  }
  watchers_.emplace(job_id, watcher);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Engine::open_session(const std::shared_ptr<SessionLink>& link) {
  if (draining_) {
    return stopping();
  }
  if (sessions_.size() >= options_.limits.sessions_max) {
    return wire::with_error_info(
        absl::ResourceExhaustedError(absl::StrCat("the server has ", sessions_.size(),
                                                  " worker sessions, which is its limit")),
        {kStreamLimit, {{"limit", absl::StrCat(options_.limits.sessions_max)}}});
  }
  sessions_[++last_session_] = {link, "", now()};
  return last_session_;
}

void Engine::close_session(uint64_t session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) {
    return;
  }
  if (!found->second.node.empty()) {
    coordinator_.leave(found->second.node, session, now());
    spdlog::info("node={} session={} ended", found->second.node, session);
  }
  sessions_.erase(found);
}

void Engine::check_sessions() {
  std::vector<std::pair<std::shared_ptr<SessionLink>, absl::Status>> ended;
  for (const auto& [id, session] : sessions_) {
    std::shared_ptr<SessionLink> link = session.link.lock();
    const auto& nodes = coordinator_.membership().nodes();
    const auto node = nodes.find(session.node);
    const uint64_t live = node == nodes.end() ? 0 : node->second.session;
    if (link == nullptr || (!session.node.empty() && live == id)) {
      continue;
    }
    if (session.node.empty() && now() - session.opened <= options_.limits.session_silence) {
      continue;
    }
    const bool replaced = !session.node.empty() && live != 0;
    const absl::Status status =
        replaced ? wire::with_error_info(
                       absl::AbortedError(absl::StrCat("a newer session of node ", session.node,
                                                       " has taken over")),
                       {kSessionReplaced, {{"node", session.node}}})
                 : wire::with_error_info(absl::DeadlineExceededError(absl::StrCat(
                                             "nothing was heard from the worker for ",
                                             absl::FormatDuration(options_.limits.session_silence),
                                             "; open a new session")),
                                         {kSessionSilent, {{"node", session.node}}});
    ended.emplace_back(std::move(link), status);
  }
  for (const auto& [link, status] : ended) {
    link->end(status);
  }
}

void Engine::drain() {
  std::promise<void> done;
  const bool posted = post([this, &done] {
    draining_ = true;
    const auto watchers = watchers_;
    for (const auto& [id, weak] : watchers) {
      if (const std::shared_ptr<JobWatcher> watcher = weak.lock()) {
        watcher->end(stopping());
      }
    }
    const auto sessions = sessions_;
    for (const auto& [id, session] : sessions) {
      if (const std::shared_ptr<SessionLink> link = session.link.lock()) {
        link->end(stopping());
      }
    }
    done.set_value();
  });
  if (posted) {
    done.get_future().wait();
  }
}

}  // namespace laconic::server
