// What all commands share: the global options, the console, and the one way to end.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "cli/console.h"
#include "cli/json.h"
#include "common/core/exit_codes.h"

namespace laconic::cli {

struct GlobalOptions {
  std::string output = "table";  // or "json"
  std::string server = "127.0.0.1:7070";
  std::string timeout = "30s";
  bool no_color = false;
  bool quiet = false;
  bool verbose = false;
};

// One per invocation. A command, once parsed, leaves what it does in `action`.
struct Session {
  explicit Session(Console& the_console) : console(the_console) {}

  Console& console;
  GlobalOptions options;
  absl::Duration timeout = absl::Seconds(30);  // of `options`, parsed
  std::function<int()> action;

  bool json() const { return options.output == "json"; }
  bool color() const {
    return console.out_is_terminal && !options.no_color && !console.no_color_variable;
  }
  Client connect() { return Client(options.server, timeout, console.interrupt); }

  // Writes one JSON envelope around `data`, which is JSON already.
  void write_json(const std::string& data);
  // One line of a stream: the envelope with "terminal" in it.
  void write_json_line(const std::string& data, bool terminal);
  // A line for a person on standard error; nothing with --quiet.
  void note(const std::string& text);
  // The note of a command that follows a job while the server is away.
  void note_away();
  // Says what went wrong (in JSON mode on standard output) and returns the exit code.
  int fail(const absl::Status& status);
  // The same for a command whose answer is a stream: the line says that it is the last one.
  int fail_stream(const absl::Status& status);
  // The same, with the exit code of a bad command line or job file whatever the status.
  int fail_usage(const absl::Status& status);
  // Ends a command that Ctrl-C took off a job; `command` is what follows the job again.
  int detached(const std::string& command);

  // Ends a command with what the server answered: an error fails it, a message is printed as JSON
  // or given to `show`, which prints it for a person.
  template <typename Message, typename Show>
  int answer(const absl::StatusOr<Message>& message, const Show& show) {
    if (!message.ok()) {
      return fail(message.status());
    }
    if (json()) {
      write_json(json_message(*message));
    } else {
      show(*message);
    }
    return core::kExitOk;
  }

 private:
  int report_failure(const absl::Status& status, bool streamed);
};

// The failure envelope on one line. `streamed`: it ends a stream, and says so.
std::string error_json(const absl::Status& status, bool streamed = false);

}  // namespace laconic::cli
