// laconic-server: accepts jobs, gives them slots, watches over them.
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "common/core/exit_codes.h"
#include "common/core/version.h"
#include "server/server.h"

namespace {

using laconic::server::Server;

constexpr unsigned kStopSecondsMax = 15;
constexpr const char* kExample =
    "Example:\n"
    "  laconic-server --data-dir /var/lib/laconic\n"
    "  laconic-worker --server 127.0.0.1:7070\n"
    "  laconic submit -f examples/fashion_mnist.yaml";

struct Flags {
  laconic::server::ServerOptions server;
  std::string ready_file;
  bool die_with_parent = false;
};

void add_flags(CLI::App& app, Flags& flags) {
  app.set_version_flag("--version", laconic::core::kVersion);
  app.footer(kExample);
  app.add_option("--listen", flags.server.listen, "host:port for clients and workers; port 0: any")
      ->capture_default_str();
  app.add_option("--metrics-listen", flags.server.metrics_listen,
                 "host:port of /metrics; port 0: any, \"\": off")
      ->capture_default_str();
  app.add_option("--data-dir", flags.server.data_dir, "Directory of the database and the logs")
      ->required();
  app.add_flag("--insecure", flags.server.insecure,
               "Allow addresses that are not loopback, although nothing is encrypted yet");
  app.add_option("--ready-file", flags.ready_file,
                 "Written once it listens: {\"pid\",\"address\",\"metrics_address\"}");
  app.add_flag("--die-with-parent", flags.die_with_parent, "End when the parent process ends");
}

// A hung disk holds up the thread that stop() waits for. What was acknowledged is on disk already.
void give_up_stopping(int /*signal*/) {
  constexpr char kMessage[] = "laconic-server: cannot stop, look after its disk. Ends.\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  ::_exit(laconic::core::kExitInternal);
}

int run(const Flags& flags, const sigset_t& signals, pid_t parent) {
  if (flags.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) {
      return laconic::core::kExitOk;  // It ended before the kernel was told.
    }
  }
  const auto server = Server::start(flags.server);
  if (!server.ok()) {
    spdlog::error("{}", std::string(server.status().message()));
    const bool usage = server.status().code() == absl::StatusCode::kInvalidArgument;
    return usage ? laconic::core::kExitUsage : laconic::core::kExitInternal;
  }
  if (flags.server.insecure) {
    spdlog::warn("--insecure: nothing is encrypted, and anybody who reaches {} can run jobs",
                 (*server)->address());
  }
  if (!flags.ready_file.empty()) {
    if (const auto written = write_ready_file(flags.ready_file, **server); !written.ok()) {
      spdlog::error("{}", std::string(written.message()));
      return laconic::core::kExitUsage;
    }
  }
  spdlog::info("laconic-server {} listens on {}, metrics on {}", laconic::core::kVersion,
               (*server)->address(),
               (*server)->metrics_address().empty() ? "(off)" : (*server)->metrics_address());
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("signal {}: stopping", signal);
  ::signal(SIGALRM, give_up_stopping);
  ::alarm(kStopSecondsMax);
  (*server)->stop(absl::Seconds(5));
  spdlog::info("stopped");
  spdlog::shutdown();
  // Libraries' threads may still run; their destructors have nothing to save.
  ::_exit(laconic::core::kExitOk);
}

}  // namespace

int main(int argc, char** argv) try {
  const pid_t parent = ::getppid();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // Before any thread: only sigwait() takes them.
  ::signal(SIGPIPE, SIG_IGN);
  spdlog::set_default_logger(spdlog::stderr_logger_mt("laconic-server"));

  CLI::App app("Accepts training jobs, gives them slots on workers, and watches over them.");
  Flags flags;
  add_flags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? laconic::core::kExitOk : laconic::core::kExitUsage;
  }
  return run(flags, signals, parent);
} catch (const std::exception& error) {  // Of a library, while it starts: no memory.
  std::fprintf(stderr, "laconic-server: cannot start: %s\n", error.what());
  return laconic::core::kExitInternal;
}
