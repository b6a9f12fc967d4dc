#include "cli/follow.h"

#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/job_text.h"
#include "cli/progress.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"

namespace laconic::cli {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kReopenPause = absl::Milliseconds(500);

absl::Status check_limits(Client& client, const FollowOptions& options, int interrupts_seen,
                          const v1::Job& job) {
  if (client.interrupt().count() > interrupts_seen) {
    return absl::CancelledError("interrupted");
  }
  if (absl::Now() >= options.deadline) {
    return wire::with_error_info(
        absl::DeadlineExceededError(absl::StrCat(
            "job ", job.id(), " is still ", state_name(job.state()), "; the time to wait is over")),
        {.reason = kWaitTimeoutReason, .metadata = {{"state", state_name(job.state())}}});
  }
  return options.tick ? options.tick(job) : absl::OkStatus();
}

// The server may come back: a closed stream is opened again until `give_up`.
bool worth_reopening(const absl::Status& status, absl::Time give_up) {
  const bool away = status.ok() || status.code() == absl::StatusCode::kUnavailable;
  return away && absl::Now() < give_up;
}

}  // namespace

absl::StatusOr<v1::Job> follow_job(Client& client, const std::string& id,
                                   const FollowOptions& options) {
  const int interrupts_seen = client.interrupt().count();
  v1::Job job;
  job.set_id(id);
  auto stream = client.watch_job(id);
  bool ever_heard = false;
  bool away = false;
  absl::Time give_up = absl::Now() + client.timeout();
  absl::Time reopen_at = absl::InfinitePast();
  for (;;) {
    LACONIC_RETURN_IF_ERROR(check_limits(client, options, interrupts_seen, job));
    if (const std::optional<v1::WatchJobResponse> response = stream->next(kTick)) {
      ever_heard = true;
      away = false;
      give_up = absl::Now() + client.timeout();
      merge_update(response->job(), job);
      if (options.update) {
        options.update(job, response->job());
      }
      if (is_final(job.state())) {
        return job;
      }
      continue;
    }
    const std::optional<absl::Status> end = stream->ended();
    if (end) {
      // A server that was never there is a wrong address: no use in waiting for it.
      if (!ever_heard || !worth_reopening(*end, give_up)) {
        return end->ok() ? absl::InternalError(absl::StrCat(
                               "laconic-server ended the watch of job ", id, " before its end"))
                         : client.explain(*end);
      }
      if (!away && options.away) {
        options.away();
      }
      away = true;
      if (reopen_at == absl::InfinitePast()) {
        reopen_at = absl::Now() + kReopenPause;
      }
      absl::SleepFor(kTick);
      if (absl::Now() >= reopen_at) {
        stream = client.watch_job(id);
        reopen_at = absl::InfinitePast();
      }
    }
  }
}

}  // namespace laconic::cli
