// The flags of laconic-worker, checked.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/agent/agent.h"

namespace laconic::agent {

struct Flags {
  std::string server, name, work_dir, peer_host, trainer, ready_file;
  int slots = 0;  // 0: one per CPU
  bool insecure = false;
  bool die_with_parent = false;
};

// Fills in the defaults (name: host name; slots: CPUs; trainer: beside this program; peer host: the
// local address of a route to the server; work directory: below the user's state directory).
// Errors: InvalidArgument with the flag, its value, what is allowed and the remedy.
absl::StatusOr<AgentOptions> checked_options(const Flags& flags);

}  // namespace laconic::agent
