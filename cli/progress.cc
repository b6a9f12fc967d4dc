#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/convex_text.h"
#include "cli/job_text.h"
#include "cli/report_data.h"
#include "cli/table.h"
#include "common/core/format.h"

namespace laconic::cli {
namespace {

constexpr absl::Duration kPlainPeriod = absl::Seconds(10);
// Rewriting faster than this only flickers.
constexpr absl::Duration kLivePeriod = absl::Milliseconds(200);

struct Field {
  std::string text;
  int importance = 0;  // the lowest is left out first
};

std::string join(const std::vector<Field>& fields) {
  std::string line;
  for (const Field& field : fields) {
    absl::StrAppend(&line, line.empty() ? "" : "  ", field.text);
  }
  return line;
}

std::string number(double value) {
  return std::isfinite(value) ? absl::StrFormat("%.3f", value) : "not finite";
}

std::vector<Field> training_fields(const ProgressNumbers& numbers) {
  std::vector<Field> fields = {
      {absl::StrCat("step ", numbers.step, "/", numbers.steps), 9},
      {absl::StrCat("round ", numbers.round), 2},
  };
  if (numbers.loss) {
    fields.push_back({"loss " + number(*numbers.loss), 8});
  }
  if (numbers.accuracy) {
    fields.push_back({"accuracy " + number(*numbers.accuracy), 5});
  }
  fields.push_back({"sent " + core::format_bytes(numbers.sent_bytes), 4});
  if (numbers.times_less > 0) {
    fields.push_back({core::format_ratio(numbers.times_less) + " less", 6});
  }
  if (numbers.left) {
    fields.push_back({core::format_duration(*numbers.left) + " left", 7});
  }
  return fields;
}

// The width may change while a job runs.
int terminal_columns(int fallback) {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : fallback;
}

std::string loss_text(const ReportData& data) {
  std::string text;
  if (data.train_loss) {
    absl::StrAppend(&text, number(*data.train_loss), " training");
  }
  if (data.eval_loss) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", number(*data.eval_loss), " held-out");
  }
  return text;
}

std::string sent_text(const ReportData& data) {
  if (data.world_size <= 1) {
    return "nothing: one worker has no one to talk to";
  }
  if (!data.compared_with_dense) {
    return absl::StrCat(core::format_bytes(data.sent_bytes_max), " by the rank that sent most");
  }
  return absl::StrCat(core::format_bytes(data.sent_bytes_max),
                      " per worker; dense: ", core::format_bytes(data.dense_equivalent_bytes), "; ",
                      core::format_ratio(data.times_less), " less");
}

std::string digests_text(const ReportData& data) {
  if (data.digests_equal && data.ranks.size() == 1) {
    return data.ranks[0].digest;
  }
  if (data.digests_equal) {
    return absl::StrCat("equal on all ", data.ranks.size(), " ranks (", data.ranks[0].digest, ")");
  }
  return "not all equal";
}

std::string summary_line(const std::string& name, const std::string& value) {
  return value.empty() ? "" : absl::StrFormat("  %-9s %s\n", name, value);
}

}  // namespace

ProgressNumbers progress_numbers(const v1::Job& job) {
  const ReportData data = report_data(job);
  ProgressNumbers numbers;
  numbers.state = job.state();
  numbers.message = job.message();
  numbers.steps = data.steps_wanted;
  numbers.round = data.rounds;
  numbers.loss = data.train_loss;
  numbers.accuracy = data.eval_accuracy;
  numbers.sent_bytes = data.sent_bytes_max;
  // Before the first exchange the ratio says nothing: a digest against all steps so far.
  numbers.times_less = data.rounds > 0 ? data.times_less : 0;
  numbers.step = data.steps;
  for (const v1::Rank& rank : job.ranks()) {
    const int64_t step = rank.has_finished() ? rank.finished().steps() : rank.progress().step();
    numbers.step = std::min(numbers.step, step);
  }
  if (numbers.step > 0 && data.wall_seconds > 0) {
    const auto steps_left = static_cast<double>(std::max<int64_t>(0, numbers.steps - numbers.step));
    numbers.left =
        absl::Seconds(data.wall_seconds * steps_left / static_cast<double>(numbers.step));
  }
  return numbers;
}

std::string progress_line(const ProgressNumbers& numbers, int columns) {
  const auto width = static_cast<size_t>(std::max(1, columns));
  std::vector<Field> fields;
  if (numbers.state == v1::RUNNING) {
    fields = training_fields(numbers);
  } else {
    fields = {{state_name(numbers.state), 9}};
    if (!numbers.message.empty()) {
      fields.push_back({printable(numbers.message), 1});
    }
  }
  const auto by_importance = [](const Field& a, const Field& b) {
    return a.importance < b.importance;
  };
  // A message is cut rather than left out; numbers are left out rather than cut.
  while (numbers.state == v1::RUNNING && fields.size() > 1 && display_width(join(fields)) > width) {
    fields.erase(std::min_element(fields.begin(), fields.end(), by_importance));
  }
  std::string line = join(fields);
  std::replace(line.begin(), line.end(), '\n', ' ');
  while (display_width(line) > width) {
    line.pop_back();
  }
  return line;
}

std::string summary_text(const v1::Job& job, const std::string& report) {
  const ReportData data = report_data(job);
  std::string text = absl::StrCat(data.result, "  ", data.name, " (job ", data.id, ")\n");
  absl::StrAppend(
      &text, summary_line("trained",
                          absl::StrCat(core::format_count(data.steps), " steps x ", data.world_size,
                                       data.world_size == 1 ? " worker" : " workers", ", ",
                                       core::format_count(data.rounds),
                                       data.rounds == 1 ? " round" : " rounds")));
  absl::StrAppend(&text, summary_line("loss", loss_text(data)));
  if (data.eval_accuracy) {
    absl::StrAppend(&text, summary_line("accuracy", absl::StrFormat("%.4f", *data.eval_accuracy)));
  }
  if (data.convex.has_value()) {
    absl::StrAppend(&text, summary_line("convex", convex_text(*data.convex)));
  }
  absl::StrAppend(&text, summary_line("sent", sent_text(data)));
  absl::StrAppend(&text,
                  summary_line("time", core::format_duration(absl::Seconds(data.wall_seconds))));
  absl::StrAppend(&text, summary_line("digests", digests_text(data)));
  for (const std::string& file : data.files) {
    // Without a report of its own the job ran elsewhere: rank 0 wrote on its worker's machine.
    absl::StrAppend(
        &text, summary_line("model", report.empty() && !data.ranks.empty()
                                         ? absl::StrCat(file, " on worker ", data.ranks[0].node)
                                         : file));
  }
  absl::StrAppend(&text, summary_line("report", report));
  return text;
}

void merge_update(const v1::Job& update, v1::Job& stored) {
  google::protobuf::RepeatedPtrField<v1::HistoryPoint> history;
  history.Swap(stored.mutable_history());
  int64_t last_step = history.empty() ? -1 : history.rbegin()->step();
  // A stream that was opened again begins with the points we have.
  for (const v1::HistoryPoint& point : update.history()) {
    if (point.step() > last_step) {
      *history.Add() = point;
      last_step = point.step();
    }
  }
  stored = update;
  stored.mutable_history()->Swap(&history);
}

void ProgressDisplay::show(const v1::Job& job, absl::Time now) {
  if (session_.options.quiet || is_final(job.state())) {
    return;
  }
  const bool live = session_.console.err_is_terminal;
  const bool state_is_new = job.state() != shown_state_;
  if (!state_is_new && now - shown_at_ < (live ? kLivePeriod : kPlainPeriod)) {
    return;
  }
  shown_state_ = job.state();
  shown_at_ = now;
  const ProgressNumbers numbers = progress_numbers(job);
  if (!live) {
    constexpr int kPlainColumns = 500;  // a log file has no width
    session_.console.err << progress_line(numbers, kPlainColumns) << "\n" << std::flush;
    return;
  }
  // The last column stays free: a full line would wrap.
  const int columns = terminal_columns(session_.console.columns) - 1;
  session_.console.err << "\r\x1b[K" << progress_line(numbers, columns) << std::flush;
  line_open_ = true;
}

void ProgressDisplay::end_line() {
  if (line_open_) {
    session_.console.err << "\n" << std::flush;
    line_open_ = false;
  }
}

}  // namespace laconic::cli
