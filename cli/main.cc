// laconic: the user's program. See docs/cli.md.
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/signal_watcher.h"
#include "common/core/exit_codes.h"

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): no other thread yet
  return value == nullptr ? "" : value;
}

std::string own_path() {
  std::string path(4096, '\0');
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return path;
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

int main(int argc, char** argv) {
  laconic::cli::Interrupt interrupt;
  const laconic::cli::SignalWatcher watcher(interrupt);
  laconic::cli::Console console{.out = std::cout,
                                .err = std::cerr,
                                .interrupt = interrupt,
                                .out_is_terminal = isatty(STDOUT_FILENO) == 1,
                                .err_is_terminal = isatty(STDERR_FILENO) == 1,
                                .columns = terminal_columns(),
                                .executable = own_path(),
                                .server_variable = variable("LACONIC_SERVER"),
                                .no_color_variable = !variable("NO_COLOR").empty()};
  const int code = laconic::cli::run_command_line({argv + 1, argv + argc}, console);
  std::cout.flush();
  if (!std::cout.good()) {
    std::cerr << "laconic: cannot write to standard output: is the disk full?\n";
    return laconic::core::kExitInternal;
  }
  return code;
}
