#include "cli/follow.h"

#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/job_text.h"
#include "cli/progress.h"
#include "cli/reconnect.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"

namespace laconic::cli {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);

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

}  // namespace

absl::StatusOr<v1::Job> follow_job(Client& client, const std::string& id,
                                   const FollowOptions& options) {
  const int interrupts_seen = client.interrupt().count();
  v1::Job job;
  job.set_id(id);
  auto stream = client.watch_job(id);
  Reconnect reconnect(client.timeout());
  for (;;) {
    LACONIC_RETURN_IF_ERROR(check_limits(client, options, interrupts_seen, job));
    if (const std::optional<v1::WatchJobResponse> response = stream->next(kTick)) {
      reconnect.heard();
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
    if (!end) {
      continue;
    }
    // A watch ends with the job, so a server that ended this one well is going away.
    const absl::Status away = end->ok() ? absl::UnavailableError("the watch has ended") : *end;
    switch (reconnect.ended(away, absl::Now())) {
      case Reconnect::Step::kGiveUp:
        return end->ok() ? absl::InternalError(absl::StrCat(
                               "laconic-server ended the watch of job ", id, " before its end"))
                         : client.explain(*end);
      case Reconnect::Step::kOpen:
        stream = client.watch_job(id);
        break;
      case Reconnect::Step::kAnnounce:
        if (options.away) {
          options.away();
        }
        [[fallthrough]];
      case Reconnect::Step::kWait:
        absl::SleepFor(kTick);
        break;
    }
  }
}

}  // namespace laconic::cli
