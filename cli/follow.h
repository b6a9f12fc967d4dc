// Follows a job to its end, across restarts of the server.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "laconic/v1/control.pb.h"

namespace laconic::cli {

struct FollowOptions {
  absl::Time deadline = absl::InfiniteFuture();
  // With every message of the server: the job so far, and the message itself.
  std::function<void(const v1::Job& job, const v1::Job& update)> update;
  // Several times a second, with the job so far; an error ends the following.
  std::function<absl::Status(const v1::Job& job)> tick;
  // Once each time the server goes away and is waited for.
  std::function<void()> away;
};

// Returns the job in its final state, with its whole history. A server that goes away is waited for
// at most as long as the client's timeout.
// Errors: Cancelled after Ctrl-C; DeadlineExceeded with reason WAIT_TIMEOUT at the deadline; that
// of `tick`; those of Client.
absl::StatusOr<v1::Job> follow_job(Client& client, const std::string& id,
                                   const FollowOptions& options);

inline constexpr const char* kWaitTimeoutReason = "WAIT_TIMEOUT";

}  // namespace laconic::cli
