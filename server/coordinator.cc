// Users and time. What workers report is in coordinator_tasks.cc, what goes out in
// coordinator_effects.cc.
#include "server/coordinator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/core/format.h"
#include "common/wire/job_spec.h"
#include "common/wire/status.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

wire::Timeouts timeouts(const JobRecord& record) {
  return wire::derive_timeouts(record.job.job());
}

}  // namespace

// ---- Users -----------------------------------------------------------------------------------

const JobRecord* Coordinator::find(const std::string& id) const {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : &found->second;
}

JobRecord* Coordinator::find_mutable(const std::string& id) {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : &found->second;
}

absl::StatusOr<std::string> Coordinator::resolve(const std::string& key) const {
  constexpr size_t kKeyShownMax = 80;
  if (jobs_.count(key) > 0) {
    return key;
  }
  std::vector<std::string> ids;
  for (const auto& [id, record] : jobs_) {
    if (record.job.job().metadata().name() == key) {
      ids.push_back(id);
    }
  }
  const std::string shown = shortened(key, kKeyShownMax);
  if (ids.empty()) {
    return wire::with_error_info(
        absl::NotFoundError(
            absl::StrCat("no job has the id or name '", shown, "'; 'laconic list' shows all jobs")),
        {kJobNotFound, {{"job", shown}}});
  }
  if (ids.size() > 1) {
    // The newest few: an error travels in HTTP/2 headers, where gRPC takes 8 KiB at most.
    constexpr size_t kIdsShownMax = 10;
    std::sort(ids.begin(), ids.end(), [this](const auto& a, const auto& b) {
      return from_proto(jobs_.at(a).job.create_time()) > from_proto(jobs_.at(b).job.create_time());
    });
    const size_t count = ids.size();
    ids.resize(std::min(count, kIdsShownMax));
    return wire::with_error_info(
        absl::FailedPreconditionError(absl::StrCat(
            count, " jobs have the name '", shown, "'; use an id: ", absl::StrJoin(ids, ", "),
            count > kIdsShownMax ? ", or an older one" : "")),
        {kNameNotUnique,
         {{"name", shown}, {"count", absl::StrCat(count)}, {"ids", absl::StrJoin(ids, ",")}}});
  }
  return ids[0];
}

absl::Status Coordinator::submit(const v1::TrainJob& job, const std::string& id, absl::Time now) {
  if (jobs_.size() >= limits_.jobs_max || queue_.size() >= limits_.queued_max) {
    const bool queued = jobs_.size() < limits_.jobs_max;
    const size_t limit = queued ? limits_.queued_max : limits_.jobs_max;
    return wire::with_error_info(
        absl::ResourceExhaustedError(absl::StrCat(
            "the server holds ", limit, queued ? " waiting" : "", " jobs, which is its limit; ",
            queued ? "wait or cancel some" : "delete finished ones")),
        {kJobLimit, {{"limit", absl::StrCat(limit)}}});
  }
  JobRecord& record = jobs_[id];
  record.job.set_id(id);
  *record.job.mutable_job() = job;
  *record.job.mutable_create_time() = to_proto(now);
  queue_.push_back(id);
  enter_state(record, v1::QUEUED, kSubmitted, "accepted; waits for its turn", now);
  return absl::OkStatus();
}

absl::Status Coordinator::cancel(const std::string& id, absl::Time now) {
  JobRecord& record = jobs_.at(id);
  const v1::JobState state = record.job.state();
  if (state == v1::CANCELLED || state == v1::CANCELLING) {
    return absl::OkStatus();
  }
  if (is_final(state)) {
    return wire::with_error_info(
        absl::FailedPreconditionError(absl::StrCat("job ", id, " is already ",
                                                   v1::JobState_Name(state),
                                                   ", so there is nothing to cancel")),
        {kJobFinished, {{"job", id}, {"state", v1::JobState_Name(state)}}});
  }
  if (state == v1::QUEUED) {
    enter_state(record, v1::CANCELLED, kCancelled, "cancelled while it waited; nothing had started",
                now);
    return absl::OkStatus();
  }
  enter_state(record, v1::CANCELLING, kCancelRequested,
              "cancel was asked for; the trainers are being ended", now);
  stop_all(record, "the job was cancelled");
  check_cancelled(record, now);
  return absl::OkStatus();
}

absl::Status Coordinator::check_deletable(const std::string& id) const {
  const v1::JobState state = jobs_.at(id).job.state();
  if (is_final(state)) {
    return absl::OkStatus();
  }
  return wire::with_error_info(
      absl::FailedPreconditionError(absl::StrCat("job ", id, " is ", v1::JobState_Name(state),
                                                 "; cancel it before you delete it")),
      {kJobNotFinished, {{"job", id}, {"state", v1::JobState_Name(state)}}});
}

void Coordinator::forget(const std::string& id) {
  const auto is_of = [&id](const auto& entry) { return entry.first == id; };
  queue_.erase(std::remove(queue_.begin(), queue_.end(), id), queue_.end());
  open_.erase(id);
  jobs_.erase(id);
  Effects& e = effects_;
  e.jobs.erase(id);
  e.lazy_jobs.erase(id);
  e.history_rewritten.erase(id);
  e.events.erase(std::remove_if(e.events.begin(), e.events.end(), is_of), e.events.end());
  e.history.erase(std::remove_if(e.history.begin(), e.history.end(), is_of), e.history.end());
  e.touched.insert(id);
}

void Coordinator::restore(JobRecord before) {
  const std::string id = before.id();
  const bool queued = before.job.state() == v1::QUEUED;
  effects_ = Effects();
  jobs_[id] = std::move(before);
  if (queued && std::find(queue_.begin(), queue_.end(), id) == queue_.end()) {
    queue_.push_back(id);
    std::stable_sort(queue_.begin(), queue_.end(), [this](const auto& a, const auto& b) {
      return from_proto(jobs_.at(a).job.create_time()) < from_proto(jobs_.at(b).job.create_time());
    });
  }
  touch(jobs_[id]);
}

v1::ExplainJobResponse Coordinator::explain(const std::string& id, absl::Time now) const {
  const v1::Job& job = jobs_.at(id).job;
  v1::ExplainJobResponse response;
  response.set_reason(job.reason());
  response.set_message(job.message());
  response.set_slots_wanted(jobs_.at(id).world_size());
  for (const NodeSlots& node : membership_.live_slots()) {
    response.set_slots_free(response.slots_free() + node.free);
    response.set_slots_total(response.slots_total() + node.slots);
  }
  if (job.state() == v1::RUNNING && job.ranks_size() > 0) {
    int64_t step = INT64_MAX;
    for (const v1::Rank& rank : job.ranks()) {
      step = std::min(step, rank.has_finished() ? rank.finished().steps() : rank.progress().step());
    }
    response.set_message(absl::StrCat(
        "trains since ", core::format_duration(now - from_proto(job.start_time())), ": step ", step,
        " of ", job.job().spec().train().steps(), " on the slowest rank"));
  }
  if (job.state() != v1::QUEUED) {
    return response;
  }
  for (const Verdict& v : verdicts()) {
    if (v.job_id == id) {
      response.set_position(v.position);
      response.set_slots_free(v.slots_free);
      response.set_slots_total(v.slots_total);
      if (v.placement.empty()) {
        response.set_reason(v.reason);
        response.set_message(v.message);
      }
      response.mutable_blockers()->Assign(v.blockers.begin(), v.blockers.end());
    }
  }
  return response;
}

bool Coordinator::holds_slots(const std::string& id) const {
  const JobRecord* record = find(id);
  return record != nullptr && std::any_of(record->tasks.begin(), record->tasks.end(),
                                          [](const Task& task) { return !task.gone; });
}

// ---- Time ------------------------------------------------------------------------------------

// The tasks of an expired reservation are not in the record any more, so after a restart they hold
// no slot here. Nothing is booked twice for all that: slots are given on live nodes only, and a
// node becomes live by a registration that names every task its worker has not released, running
// ones among them; each holds its slot from then on. A StartTask that was still on its way to the
// worker has ended with the old server's stream.
void Coordinator::load(JobRecord record, absl::Time now) {
  const std::string id = record.id();
  record.clock_base = now;
  record.causes = 0;
  for (int32_t rank = 0; rank < record.job.ranks_size(); ++rank) {
    Task& task = record.tasks[static_cast<size_t>(rank)];
    const v1::Rank& r = record.job.ranks(rank);
    task.gone = task.gone || r.has_exit();
    task.confirmed = task.confirmed || r.state() > v1::RESERVED;
    if (!task.gone) {
      membership_.expect(r.node(), now).tasks.insert({id, record.job.generation(), rank});
    }
  }
  const v1::JobState state = record.job.state();
  JobRecord& stored = jobs_[id] = std::move(record);
  open_.insert(id);
  if (state == v1::QUEUED) {
    queue_.push_back(id);
    std::stable_sort(queue_.begin(), queue_.end(), [this](const auto& a, const auto& b) {
      return from_proto(jobs_.at(a).job.create_time()) < from_proto(jobs_.at(b).job.create_time());
    });
  } else if (!is_final(state)) {
    add_event(stored, kServerRestarted, "the server was started again; the job goes on",
              std::nullopt, now);
    for (int32_t rank = 0; rank < stored.job.ranks_size(); ++rank) {
      const v1::Rank& r = stored.job.ranks(rank);
      if (r.has_failure() || (r.has_exit() && !r.has_finished())) {
        note_trouble(stored, rank, now);
      }
    }
  }
}

std::vector<Verdict> Coordinator::verdicts() const {
  std::vector<QueuedJob> queued;
  for (const std::string& id : queue_) {
    queued.push_back({id, jobs_.at(id).world_size()});
  }
  std::set<std::string> holders;
  for (const auto& [name, node] : membership_.nodes()) {
    for (const TaskId& task : node.tasks) {
      if (node.live()) {
        holders.insert(task.job_id);
      }
    }
  }
  return schedule(queued, membership_.live_slots(), {holders.begin(), holders.end()});
}

void Coordinator::schedule_queue(absl::Time now) {
  if (queue_.empty() || !scheduling_) {
    return;
  }
  for (const Verdict& verdict : verdicts()) {
    JobRecord& record = jobs_.at(verdict.job_id);
    if (verdict.placement.empty()) {
      wait_with(record, verdict, now);
    } else {
      reserve(record, verdict.placement, now);
    }
  }
}

void Coordinator::wait_with(JobRecord& record, const Verdict& verdict, absl::Time now) {
  v1::Job& job = record.job;
  if (job.message() == verdict.message && job.reason() == verdict.reason) {
    return;
  }
  const bool new_reason = job.reason() != verdict.reason;
  job.set_reason(verdict.reason);
  job.set_message(verdict.message);
  touch(record);  // Not stored: it follows from what is.
  if (new_reason) {
    add_event(record, verdict.reason, verdict.message, std::nullopt, now);
  }
}

void Coordinator::reserve(JobRecord& record, const std::vector<std::string>& placement,
                          absl::Time now) {
  v1::Job& job = record.job;
  effects_.queue_waits.push_back(now - from_proto(job.state_since()));
  job.set_generation(job.generation() + 1);
  job.clear_ranks();
  record.tasks.assign(placement.size(), Task());
  record.peer_token = tokens_();
  record.trouble_since = absl::InfiniteFuture();
  record.causes = 0;
  record.open_points.clear();
  for (size_t i = 0; i < placement.size(); ++i) {
    const auto rank = static_cast<int32_t>(i);
    v1::Rank& r = *job.add_ranks();
    r.set_rank(rank);
    r.set_node(placement[i]);
    r.set_state(v1::RESERVED);
    record.tasks[i].task_token = tokens_();
    record.tasks[i].incarnation = membership_.find(placement[i])->incarnation;
    membership_.hold(placement[i], {job.id(), job.generation(), rank});
  }
  const std::set<std::string> nodes(placement.begin(), placement.end());
  add_event(record, kSlotsReserved,
            absl::StrCat("reserved ", placement.size(), " slots on ", absl::StrJoin(nodes, ", ")),
            std::nullopt, now);
  enter_state(record, v1::STARTING, kTrainersStarting,
              absl::StrCat("starts ", placement.size(), " trainers"), now);
  for (int32_t rank = 0; rank < job.ranks_size(); ++rank) {
    send_start(record, rank);
  }
}

void Coordinator::release_reservation(JobRecord& record, absl::Time now) {
  std::vector<std::string> silent;
  for (int32_t rank = 0; rank < record.job.ranks_size(); ++rank) {
    if (!record.tasks[static_cast<size_t>(rank)].confirmed) {
      silent.push_back(absl::StrCat("rank ", rank, " on ", record.job.ranks(rank).node()));
    }
  }
  ++effects_.reservations_expired;
  ++record.expired_reservations;
  const std::string message =
      absl::StrCat("no worker confirmed ", absl::StrJoin(silent, ", "), " within ",
                   core::format_duration(timeouts(record).reservation_ttl));
  if (record.expired_reservations >= limits_.reservations_max) {
    fail(record, kReservationExpired,
         absl::StrCat(message, "; tried ", record.expired_reservations,
                      " times; look at the log of laconic-worker on these nodes"),
         now);
    return;
  }
  stop_all(record, "the reservation expired");
  // The tasks keep their slots until their workers say that nothing runs.
  record.job.clear_ranks();
  record.tasks.clear();
  record.open_points.clear();
  effects_.logs_dropped.insert(record.id());
  enter_state(record, v1::QUEUED, kReservationExpired, absl::StrCat(message, "; back in the queue"),
              now);
  // It was the first of those that fit: back to its place by age.
  const absl::Time created = from_proto(record.job.create_time());
  const auto later = std::find_if(queue_.begin(), queue_.end(), [&](const std::string& id) {
    return from_proto(jobs_.at(id).job.create_time()) > created;
  });
  queue_.insert(later, record.id());
}

// Nobody waits for these tasks any more, so their node may be forgotten. If it returns after all,
// its registration makes it known again, with what still runs on it.
void Coordinator::free_stale_tasks(absl::Time now) {
  for (const auto& [node, task] : membership_.stale_tasks(now)) {
    const JobRecord* record = find(task.job_id);
    if (record == nullptr || !record->is_current(task.generation, task.rank) ||
        is_final(record->job.state())) {
      membership_.free(node, task);
    }
  }
}

void Coordinator::tick(absl::Time now) {
  free_stale_tasks(now);
  for (const std::string& name : membership_.expire(now)) {
    leave(name, 0, now);
  }
  const std::vector<std::string> open(open_.begin(), open_.end());
  for (const std::string& id : open) {
    tick_job(jobs_.at(id), now);
  }
  schedule_queue(now);
}

void Coordinator::tick_job(JobRecord& record, absl::Time now) {
  const v1::TrainJob& job = record.job.job();
  switch (record.job.state()) {
    case v1::QUEUED:
      if (job.spec().limits().has_queue_deadline() &&
          now - from_proto(record.job.create_time()) >
              from_proto(job.spec().limits().queue_deadline())) {
        fail(record, kQueueDeadline,
             absl::StrCat("waited longer than limits.queue_deadline; last reason: ",
                          record.job.reason(), ": ", record.job.message()),
             now);
      }
      return;
    case v1::STARTING:
      tick_starting(record, now);
      return;
    case v1::RUNNING:
      collect_history(record, now, /*all=*/false);
      check_trouble(record, now);
      if (record.job.state() == v1::RUNNING && job.spec().limits().has_active_deadline() &&
          now - from_proto(record.job.start_time()) >
              from_proto(job.spec().limits().active_deadline())) {
        fail(record, kActiveDeadline,
             absl::StrCat("ran longer than limits.active_deadline, ",
                          core::format_duration(from_proto(job.spec().limits().active_deadline()))),
             now);
      }
      return;
    case v1::CANCELLING:
      tick_cancelling(record, now);
      return;
    default:
      if (record.job.state() == v1::SUCCEEDED && !record.stragglers_stopped &&
          now - record.clock_base > timeouts(record).stop_grace) {
        record.stragglers_stopped = true;
        stop_all(record, "the job has succeeded");
      }
      if (!holds_slots(record.id())) {
        open_.erase(record.id());
      }
  }
}

void Coordinator::tick_starting(JobRecord& record, absl::Time now) {
  check_trouble(record, now);
  if (record.job.state() != v1::STARTING) {
    return;
  }
  const wire::Timeouts limits = timeouts(record);
  const bool all_confirmed = std::all_of(record.tasks.begin(), record.tasks.end(),
                                         [](const Task& task) { return task.confirmed; });
  if (!all_confirmed && now - record.clock_base > limits.reservation_ttl) {
    release_reservation(record, now);
    return;
  }
  if (now - record.clock_base > limits.start_deadline) {
    std::vector<std::string> late;
    for (const v1::Rank& rank : record.job.ranks()) {
      if (!rank.has_hello()) {
        late.push_back(absl::StrCat("rank ", rank.rank(), " on ", rank.node(),
                                    membership_.live(rank.node()) ? "" : " (unreachable)"));
      }
    }
    fail(record, kStartDeadline,
         absl::StrCat(absl::StrJoin(late, ", "), " not ready within ",
                      core::format_duration(limits.start_deadline),
                      "; see 'laconic logs', or raise exchange.round_deadline"),
         now);
  }
}

void Coordinator::tick_cancelling(JobRecord& record, absl::Time now) {
  if (now - record.clock_base <= timeouts(record).stop_grace + limits_.cancel_slack) {
    return;
  }
  std::vector<std::string> open;
  for (int32_t rank = 0; rank < record.job.ranks_size(); ++rank) {
    if (!record.tasks[static_cast<size_t>(rank)].gone) {
      open.push_back(absl::StrCat("rank ", rank, " on ", record.job.ranks(rank).node()));
    }
  }
  enter_state(record, v1::CANCELLED, kCancelled,
              absl::StrCat("cancelled; the end of ", absl::StrJoin(open, ", "),
                           " is not confirmed, its worker is told when it is back"),
              now);
}

void Coordinator::check_cancelled(JobRecord& record, absl::Time now) {
  if (record.job.state() == v1::CANCELLING && !holds_slots(record.id())) {
    enter_state(record, v1::CANCELLED, kCancelled, "cancelled; all trainers have ended", now);
  }
}

}  // namespace laconic::server
