#include "worker/agent/agent.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/core/status_macros.h"
#include "common/core/version.h"
#include "worker/agent/last_lines.h"
#include "worker/agent/monotonic_clock.h"
#include "worker/agent/private_file.h"

namespace laconic::agent {
namespace {

constexpr size_t kJobIdBytesMax = 63;

uint64_t random_number() {
  uint64_t number = 0;
  // Blocks only before the system's pool is filled at boot; 8 bytes come whole.
  [[maybe_unused]] const ssize_t count = getrandom(&number, sizeof number, 0);
  return number;
}

// The id becomes part of a path.
bool is_job_id(const std::string& id) {
  return !id.empty() && id.size() <= kJobIdBytesMax && id[0] != '-' &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

std::string describe(const ProcessExit& exit) {
  return exit.signal != 0
             ? absl::StrCat("killed by signal ", exit.signal, " (", sigdescr_np(exit.signal), ")")
             : absl::StrCat("exit code ", exit.exit_code);
}

std::string stdout_of(const std::string& directory) {
  return directory + "/stdout.log";
}
std::string stderr_of(const std::string& directory) {
  return directory + "/stderr.log";
}
std::string job_of(const std::string& directory) {
  return directory + "/job.pb";
}

}  // namespace

Agent::Agent(AgentOptions options)
    : options_(std::move(options)),
      incarnation_(absl::StrCat(absl::Hex(random_number(), absl::kZeroPad16))) {}

Agent::~Agent() = default;

absl::StatusOr<std::unique_ptr<Agent>> Agent::create(AgentOptions options) {
  std::unique_ptr<Agent> agent(new Agent(std::move(options)));
  LACONIC_ASSIGN_OR_RETURN(
      agent->trainers_,
      TrainerServer::start(agent->inbox_,
                           [self = agent.get()](const TaskId& id, const v1::TrainerReport& report) {
                             self->table_.reported(id, report);
                           }));
  Session::Calls calls{
      .make_register = [self = agent.get()] { return self->make_register(); },
      .on_message = [self = agent.get()](const v1::SessionResponse& m) { self->handle(m); }};
  agent->session_ = std::make_unique<Session>(agent->inbox_, agent->options_.server,
                                              random_number(), std::move(calls));
  return agent;
}

absl::Status Agent::run(int signal_fd) {
  bool ready_written = options_.ready_file.empty();
  while (stop_requests_ == 0 || !processes_.empty() || !ended_.empty()) {
    const absl::Time now = monotonic_now();
    // Before the first heartbeat: who has heard one may read the file.
    if (!ready_written && welcomed_) {
      ready_written = true;
      if (absl::Status status = write_ready_file(); !status.ok()) {
        return status;
      }
    }
    session_->tick(now);
    collect_ends(now);
    settle_ends(now);
    finish_logs(now);
    pump(now);
    wait(signal_fd, now);
    inbox_.run_all();
  }
  say_goodbye(signal_fd);
  return absl::OkStatus();
}

void Agent::wait(int signal_fd, absl::Time now) {
  std::vector<pollfd> fds = {{.fd = signal_fd, .events = POLLIN, .revents = 0},
                             {.fd = inbox_.fd(), .events = POLLIN, .revents = 0}};
  processes_.append_poll_fds(fds);
  const absl::Duration timeout =
      std::clamp(processes_.next_deadline(now) - now, absl::ZeroDuration(), kTick);
  poll(fds.data(), fds.size(),
       static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)))));
  if ((fds[0].revents & POLLIN) == 0) {
    return;
  }
  signalfd_siginfo info;
  if (read(signal_fd, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) {
    return;
  }
  ++stop_requests_;
  spdlog::info("signal {}: ending {} task(s){}", info.ssi_signo, table_.running().size(),
               stop_requests_ > 1 ? " at once" : "");
  stop_all(stop_requests_ > 1 ? absl::ZeroDuration() : kStopGrace);
}

void Agent::stop_all(absl::Duration grace) {
  for (const TaskId& id : table_.running()) {
    end({id, "this worker is shutting down", grace});
  }
}

// Tells the server how the tasks ended, if it is there.
void Agent::say_goodbye(int signal_fd) {
  const absl::Time until = monotonic_now() + kGoodbyeMax;
  bool finishing = false;
  while (session_->registered() && !session_->finished() && monotonic_now() < until) {
    const absl::Time now = monotonic_now();
    session_->tick(now);
    finish_logs(now);
    pump(now);
    if (!finishing && logs_awaited_.empty() && table_.all_told()) {
      finishing = true;
      session_->finish();
    }
    wait(signal_fd, now);
    inbox_.run_all();
  }
}

v1::Register Agent::make_register() {
  v1::Register message;
  message.set_node(options_.name);
  message.set_incarnation(incarnation_);
  message.set_slots(options_.slots);
  message.set_version(core::kVersion);
  for (v1::TaskSnapshot& snapshot : table_.snapshots()) {
    *message.add_tasks() = std::move(snapshot);
  }
  return message;
}

void Agent::handle(const v1::SessionResponse& message) {
  if (message.has_welcome()) {
    welcomed_ = true;
    welcome_time_ = monotonic_now();
    logs_.resume(message.welcome().log_offsets());
  } else if (message.has_resend_log()) {
    logs_.resend(message.resend_log(), monotonic_now());
  }
  act(table_.apply(message));
}

void Agent::act(const std::vector<Action>& actions) {
  for (const Action& action : actions) {
    if (const auto* start = std::get_if<SpawnTask>(&action)) {
      spawn(start->command);
    } else if (const auto* stop = std::get_if<EndTask>(&action)) {
      end(*stop);
    } else if (const auto* pass = std::get_if<PassLaunch>(&action)) {
      v1::AttachResponse command;
      *command.mutable_launch() = pass->launch;
      if (!trainers_->send(pass->id, command)) {
        spdlog::warn("task {}: launch not passed on, its trainer is not attached",
                     to_string(pass->id));
      }
    } else if (const auto* done = std::get_if<ForgetTask>(&action)) {
      forget(done->id);
    }
  }
}

void Agent::spawn(const v1::StartTask& command) {
  const TaskId id = task_id(command.key());
  const absl::StatusOr<pid_t> pid = try_spawn(command);
  if (pid.ok()) {
    names_[to_string(id)] = id;
    table_.spawned(id, static_cast<int32_t>(*pid));
    spdlog::info("task {}: started as process {}", to_string(id), *pid);
    return;
  }
  v1::Failure failure;
  failure.set_reason("SPAWN_FAILED");
  failure.set_message(valid_utf8(
      absl::StrCat("worker ", options_.name, ": ", std::string(pid.status().message()))));
  spdlog::error("task {}: {}", to_string(id), failure.message());
  trainers_->dismiss(id);
  table_.could_not_spawn(id, failure);
}

absl::StatusOr<pid_t> Agent::try_spawn(const v1::StartTask& command) {
  const TaskId id = task_id(command.key());
  if (stop_requests_ > 0) {
    return absl::UnavailableError("is shutting down; start the job again");
  }
  if (!is_job_id(id.job_id) || id.rank < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the job id \"", id.job_id, "\" or the rank ", id.rank,
                     " is not valid; allowed: 1..63 of [a-z0-9-], rank >= 0. Is the server of "
                     "another version?"));
  }
  const std::string directory = directory_of(id);
  const std::string remedy =
      absl::StrCat(". Check that ", options_.work_dir,
                   " is writable and has room, or start the worker with another --work-dir");
  for (const absl::Status& status :
       {make_private_directory(directory),
        write_private_file(job_of(directory), command.job().SerializeAsString()),
        write_private_file(stdout_of(directory), ""),
        write_private_file(stderr_of(directory), "")}) {
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat(std::string(status.message()), remedy));
    }
  }
  if (access(options_.trainer.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("the trainer ", options_.trainer, " cannot be run: ",
                                            std::generic_category().message(errno),
                                            ". Install laconic-trainer beside laconic-worker, or "
                                            "start the worker with --trainer PATH"));
  }
  const int threads = std::max(command.job().spec().workers().threads_per_rank(), 1);
  ProcessSpec spec;
  spec.name = to_string(id);
  spec.argv = {options_.trainer,
               "--job",
               job_of(directory),
               "--job-id",
               id.job_id,
               "--rank",
               absl::StrCat(id.rank),
               "--world-size",
               absl::StrCat(command.world_size()),
               "--worker",
               trainers_->address(),
               "--peer-host",
               options_.peer_host,
               "--directory",
               directory};
  spec.environment = {absl::StrCat("LACONIC_TASK_TOKEN=", command.task_token()),
                      absl::StrCat("LACONIC_PEER_TOKEN=", command.peer_token()),
                      absl::StrCat("OMP_NUM_THREADS=", threads)};
  spec.directory = directory;
  spec.stdout_path = stdout_of(directory);
  spec.stderr_path = stderr_of(directory);
  trainers_->admit(id, command.task_token());
  LACONIC_ASSIGN_OR_RETURN(const pid_t pid, processes_.spawn(spec));
  logs_.add(id, spec.stdout_path, spec.stderr_path);
  return pid;
}

void Agent::end(const EndTask& action) {
  spdlog::info("task {}: stopping: {}", to_string(action.id), action.reason);
  v1::AttachResponse command;
  command.mutable_stop()->set_reason(action.reason);
  // One that is not attached yet ends by its signal.
  [[maybe_unused]] const bool sent = trainers_->send(action.id, command);
  processes_.stop(to_string(action.id), action.grace, monotonic_now());
}

// Logs that the server has, and the job, are not needed any more; results stay.
void Agent::forget(const TaskId& id) {
  logs_.remove(id);
  logs_awaited_.erase(id);
  trainers_->dismiss(id);
  const std::string directory = directory_of(id);
  if (!is_job_id(id.job_id)) {
    return;
  }
  std::error_code ignored;  // Only empty directories go.
  std::filesystem::remove(job_of(directory), ignored);
  std::filesystem::remove(directory, ignored);
  std::filesystem::remove(std::filesystem::path(directory).parent_path(), ignored);
}

void Agent::collect_ends(absl::Time now) {
  for (const ProcessExit& exit : processes_.collect(now)) {
    const auto found = names_.find(exit.name);
    spdlog::info("task {}: {}", exit.name, describe(exit));
    ended_[found->second] = {exit, now + kReportPatience};
    names_.erase(found);
  }
}

// A trainer's last words may still be on their way through its stream when its process is gone.
void Agent::settle_ends(absl::Time now) {
  for (auto at = ended_.begin(); at != ended_.end();) {
    const auto& [id, ended] = *at;
    if (trainers_->attached(id) && now < ended.report_until) {
      ++at;
      continue;
    }
    trainers_->dismiss(id);
    inbox_.run_all();  // What it reported before its stream ended is in there.
    v1::RankExit exit;
    exit.set_exit_code(ended.exit.exit_code);
    exit.set_signal(ended.exit.signal);
    for (std::string& line : last_lines_of_file(stderr_of(directory_of(id)))) {
      exit.add_last_lines(std::move(line));
    }
    logs_awaited_[id] = now;
    const std::vector<Action> actions = table_.exited(id, exit);
    at = ended_.erase(at);
    act(actions);
  }
}

void Agent::finish_logs(absl::Time now) {
  if (!session_->registered()) {
    return;
  }
  for (auto at = logs_awaited_.begin(); at != logs_awaited_.end();) {
    const absl::Time since = std::max(at->second, welcome_time_);
    if (logs_.drained(at->first) || now - since > kLogPatience) {
      table_.logs_shipped(at->first);
      at = logs_awaited_.erase(at);
    } else {
      ++at;
    }
  }
}

void Agent::pump(absl::Time now) {
  if (!session_->registered()) {
    return;
  }
  while (session_->queued() < kLogQueueMax) {
    std::optional<v1::LogChunk> chunk = logs_.next_chunk(now);
    if (!chunk.has_value()) {
      break;
    }
    v1::SessionRequest request;
    *request.mutable_log_chunk() = *std::move(chunk);
    session_->send(std::move(request));
  }
  finish_logs(now);
  while (session_->queued() < kSendQueueMax) {
    std::optional<v1::TaskUpdate> update = table_.next_update();
    if (!update.has_value()) {
      break;
    }
    v1::SessionRequest request;
    *request.mutable_task_update() = *std::move(update);
    // If the stream has just ended, the next registration tells it.
    session_->send(std::move(request));
  }
}

absl::Status Agent::write_ready_file() const {
  // Neither holds a character that JSON would escape: names are checked, the socket is our own.
  return replace_file(options_.ready_file,
                      absl::StrCat("{\"pid\":", getpid(), ",\"name\":\"", options_.name,
                                   "\",\"socket\":\"", trainers_->address(), "\"}\n"));
}

std::string Agent::directory_of(const TaskId& id) const {
  return absl::StrCat(options_.work_dir, "/", id.job_id, "/", id.generation, ".", id.rank);
}

}  // namespace laconic::agent
