// laconic-worker: the agent of one node. See docs/operations.md.
#include <fcntl.h>
#include <grpc/grpc.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "absl/strings/str_cat.h"
#include "common/core/exit_codes.h"
#include "worker/agent/agent.h"
#include "worker/agent/command_line.h"
#include "worker/agent/private_file.h"

namespace laconic::agent {
namespace {

int refuse(const std::string& message) {
  spdlog::error("{}", message);
  return core::kExitUsage;
}

// The lock goes with the process. Two workers in one directory would mix up their tasks.
absl::Status lock_directory(const std::string& path) {
  if (absl::Status status = make_private_directory(path); !status.ok()) {
    return status;
  }
  const int fd = open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--work-dir ", path, " cannot be locked (", std::generic_category().message(errno),
        "): another worker uses it, or it is not writable. Give each worker its own --work-dir"));
  }
  return absl::OkStatus();
}

int work(const Flags& flags, pid_t parent) {
  // Blocked before any thread starts, so that all of them inherit it and only signal_fd sees them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  // The last object of gRPC to go would shut the library down and wait, for up to 10 s, for its
  // poll of a socket with an unfinished write. It is kept instead, and nothing waits at the end.
  grpc_init();
  if (flags.die_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
      return refuse("--die-with-parent: the parent has ended already");
    }
  }
  absl::StatusOr<AgentOptions> options = checked_options(flags);
  if (!options.ok()) {
    return refuse(std::string(options.status().message()));
  }
  if (absl::Status status = lock_directory(options->work_dir); !status.ok()) {
    return refuse(std::string(status.message()));
  }
  spdlog::info("worker {}: {} slot(s), trainers reachable at {}, tasks in {}", options->name,
               options->slots, options->peer_host, options->work_dir);
  absl::StatusOr<std::unique_ptr<Agent>> agent = Agent::create(*std::move(options));
  const absl::Status status = agent.ok() ? (*agent)->run(signal_fd) : agent.status();
  if (!status.ok()) {
    spdlog::error("{}", std::string(status.message()));
    return core::kExitInternal;
  }
  return core::kExitOk;
}

}  // namespace
}  // namespace laconic::agent

int main(int argc, char** argv) try {
  const pid_t parent = getppid();
  spdlog::set_default_logger(spdlog::stderr_logger_mt("laconic-worker"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v");
  laconic::agent::Flags flags;
  CLI::App app("laconic-worker: runs trainers on this node for a laconic-server");
  app.footer(
      "Example, on each of several hosts of a trusted network:\n"
      "  laconic-worker --server 10.0.0.1:7070 --slots 2 --work-dir /var/lib/laconic --insecure");
  app.set_version_flag("--version", LACONIC_VERSION);
  app.add_option("--server", flags.server, "Address of laconic-server, host:port")->required();
  app.add_option("--name", flags.name,
                 "Name of this node, 1..63 of [a-z0-9.-]; default: host name");
  app.add_option("--slots", flags.slots, "Ranks at once, 1..1024; default: one per CPU");
  app.add_option("--work-dir", flags.work_dir,
                 "Directory of tasks; default: laconic/NAME below the user's state directory");
  app.add_option("--peer-host", flags.peer_host,
                 "Address of this host for trainers of other nodes; default: that of its route to "
                 "the server");
  app.add_option("--trainer", flags.trainer,
                 "Trainer; default: laconic-trainer beside this program");
  app.add_flag("--insecure", flags.insecure, "Allow plaintext between hosts");
  app.add_option("--ready-file", flags.ready_file, "Written once registered, JSON");
  app.add_flag("--die-with-parent", flags.die_with_parent, "End all and exit when the parent dies");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? laconic::core::kExitOk : laconic::core::kExitUsage;
  }
  const int code = laconic::agent::work(flags, parent);
  spdlog::shutdown();
  // gRPC's threads still run; no destructor of a library may pull anything from under them.
  ::_exit(code);
} catch (const std::exception& error) {  // Of a library, while it starts: no memory.
  std::fprintf(stderr, "laconic-worker: cannot start: %s\n", error.what());
  return laconic::core::kExitInternal;
}
