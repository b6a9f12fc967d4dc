#include "server/job_record.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/reasons.h"

namespace laconic::server {
namespace {

// Every rank has reported `step` or a later one, or will report nothing more.
bool all_passed(const JobRecord& record, int64_t step) {
  for (int32_t rank = 0; rank < record.job.ranks_size(); ++rank) {
    const v1::Rank& r = record.job.ranks(rank);
    if (r.has_finished() || r.has_exit()) {
      continue;
    }
    bool passed = false;
    for (auto it = record.open_points.lower_bound(step); it != record.open_points.end() && !passed;
         ++it) {
      passed = it->second.losses.count(rank) > 0;
    }
    if (!passed) {
      return false;
    }
  }
  return true;
}

// Keeps the last point: it is where the curve stands.
void drop_every_second(v1::Job& job) {
  google::protobuf::RepeatedPtrField<v1::HistoryPoint> kept;
  const int last = job.history_size() - 1;
  for (int i = 0; i <= last; ++i) {
    if ((last - i) % 2 == 0) {
      kept.Add(std::move(*job.mutable_history(i)));
    }
  }
  job.mutable_history()->Swap(&kept);
}

const char* signal_name(int signal) {
  switch (signal) {
    case 2:
      return "SIGINT";
    case 4:
      return "SIGILL";
    case 6:
      return "SIGABRT";
    case 7:
      return "SIGBUS";
    case 8:
      return "SIGFPE";
    case 9:
      return "SIGKILL";
    case 11:
      return "SIGSEGV";
    case 13:
      return "SIGPIPE";
    case 15:
      return "SIGTERM";
    default:
      return "";
  }
}

}  // namespace

bool is_final(v1::JobState state) {
  return state == v1::CANCELLED || state == v1::SUCCEEDED || state == v1::FAILED;
}

bool is_active(v1::JobState state) {
  return state == v1::STARTING || state == v1::RUNNING;
}

bool add_point(JobRecord& record, int32_t rank, const v1::HistoryPoint& point, absl::Time now) {
  const auto& history = record.job.history();
  if (point.step() < 0 || (!history.empty() && point.step() <= history.rbegin()->step())) {
    return false;
  }
  auto [it, is_new] = record.open_points.try_emplace(point.step());
  OpenPoint& open = it->second;
  if (is_new) {
    open.since = now;
    open.merged = point;
    open.merged.clear_eval_loss();
    open.merged.clear_eval_accuracy();
  }
  if (!open.losses.emplace(rank, point.train_loss()).second) {
    return false;
  }
  open.merged.set_round(std::max(open.merged.round(), point.round()));
  open.merged.set_seconds(std::max(open.merged.seconds(), point.seconds()));
  open.merged.set_sent_bytes(std::max(open.merged.sent_bytes(), point.sent_bytes()));
  if (point.has_eval_loss()) {
    open.merged.set_eval_loss(point.eval_loss());
  }
  if (point.has_eval_accuracy()) {
    open.merged.set_eval_accuracy(point.eval_accuracy());
  }
  return true;
}

std::vector<v1::HistoryPoint> close_points(JobRecord& record, const Limits& limits, absl::Time now,
                                           bool all, bool& thinned) {
  std::vector<v1::HistoryPoint> closed;
  while (!record.open_points.empty()) {
    const auto first = record.open_points.begin();
    OpenPoint& open = first->second;
    if (!all && now - open.since <= limits.history_wait && !all_passed(record, first->first)) {
      break;
    }
    double sum = 0;
    for (const auto& [rank, loss] : open.losses) {
      sum += loss;
    }
    open.merged.set_train_loss(sum / static_cast<double>(open.losses.size()));
    closed.push_back(open.merged);
    *record.job.add_history() = std::move(open.merged);
    record.open_points.erase(first);
    if (record.job.history_size() > limits.history_points_max) {
      drop_every_second(record.job);
      thinned = true;
    }
  }
  return closed;
}

v1::Failure bounded(v1::Failure failure, const Limits& limits) {
  if (!is_reason(failure.reason())) {
    failure.set_reason(kTrainerFailed);
  }
  failure.set_message(shortened(failure.message(), limits.message_bytes_max));
  return failure;
}

v1::RankExit bounded(v1::RankExit exit, int32_t world_size, const Limits& limits) {
  auto& lines = *exit.mutable_last_lines();
  if (lines.size() > limits.last_lines_max) {
    lines.DeleteSubrange(0, lines.size() - limits.last_lines_max);
  }
  for (std::string& line : lines) {
    line = shortened(line, limits.line_bytes_max);
  }
  // All ranks of a job travel in one message.
  const size_t share = limits.lines_bytes_max / static_cast<size_t>(std::max(1, world_size));
  size_t bytes = 0;
  int kept = 0;
  while (kept < lines.size() && bytes + lines[lines.size() - 1 - kept].size() <= share) {
    bytes += lines[lines.size() - 1 - kept].size();
    ++kept;
  }
  lines.DeleteSubrange(0, lines.size() - kept);
  return exit;
}

v1::Finished bounded(v1::Finished finished, const Limits& limits) {
  auto& files = *finished.mutable_files();
  if (static_cast<size_t>(files.size()) > limits.files_max) {
    files.DeleteSubrange(static_cast<int>(limits.files_max),
                         files.size() - static_cast<int>(limits.files_max));
  }
  for (std::string& file : files) {
    file = shortened(file, limits.message_bytes_max);
  }
  return finished;
}

std::string rank_text(const v1::Rank& rank) {
  return absl::StrCat("rank ", rank.rank(), " on ", rank.node());
}

std::string exit_text(const v1::RankExit& exit) {
  if (exit.signal() == 0) {
    return absl::StrCat("exit code ", exit.exit_code());
  }
  const std::string name = signal_name(exit.signal());
  return absl::StrCat("signal ", exit.signal(), name.empty() ? "" : " (", name,
                      name.empty() ? "" : ")");
}

}  // namespace laconic::server
