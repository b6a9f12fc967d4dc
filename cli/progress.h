// What a person sees while a job trains. Pure functions but for ProgressDisplay.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "cli/session.h"
#include "laconic/v1/control.pb.h"

namespace laconic::cli {

struct ProgressNumbers {
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  std::string message;  // shown while the job does not train
  int64_t step = 0;     // of the slowest rank
  int64_t steps = 0;    // wanted
  int64_t round = 0;
  std::optional<double> loss;          // mean over ranks
  std::optional<double> accuracy;      // of the last evaluation, 0..1
  int64_t sent_bytes = 0;              // by the rank that sent most
  double times_less = 0;               // 0: not known
  std::optional<absl::Duration> left;  // estimate
};

ProgressNumbers progress_numbers(const v1::Job& job);

// One line, at most `columns` letters: the least important fields are left out first.
// "step 320/700  round 10  loss 0.412  accuracy 0.883  sent 1.20 MB  504x less  1 min 20 s left"
std::string progress_line(const ProgressNumbers& numbers, int columns);

// The short report at the end of a run, several aligned lines. `report` is the path of the HTML
// page; empty: there is none.
std::string summary_text(const v1::Job& job, const std::string& report);

// `stored` (what was seen before) brought up to date with `update`, whose history holds only points
// that were not sent before on its stream.
void merge_update(const v1::Job& update, v1::Job& stored);

// Shows progress on standard error: on a terminal one line that is rewritten, elsewhere a line for
// each new state and one every ten seconds. Nothing with --quiet.
class ProgressDisplay {
 public:
  explicit ProgressDisplay(Session& session) : session_(session) {}
  // Ends the live line, if there is one.
  ~ProgressDisplay() { end_line(); }
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void show(const v1::Job& job, absl::Time now);
  // So that something else can be printed on a line of its own.
  void end_line();

 private:
  Session& session_;
  bool line_open_ = false;
  v1::JobState shown_state_ = v1::JOB_STATE_UNSPECIFIED;
  absl::Time shown_at_ = absl::InfinitePast();
};

}  // namespace laconic::cli
