#include "cli/app.h"

#include <algorithm>
#include <exception>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/job_text.h"
#include "common/core/exit_codes.h"
#include "common/wire/channel.h"

namespace laconic::cli {
namespace {

// Whether a command line that could not be parsed asked for JSON.
bool asks_for_json(const std::vector<std::string>& arguments) {
  for (size_t at = 0; at < arguments.size(); ++at) {
    const std::string& word = arguments[at];
    if (word == "-ojson" || word == "--output=json") {
      return true;
    }
    if ((word == "-o" || word == "--output") && at + 1 < arguments.size() &&
        arguments[at + 1] == "json") {
      return true;
    }
  }
  return false;
}

int usage_error(Session& session, const CLI::App& app, const std::string& message) {
  // The innermost command that was named knows best what it takes.
  const CLI::App* command = &app;
  std::string path = "laconic";
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    path += " " + command->get_name();
  }
  return session.fail_usage(
      absl::InvalidArgumentError(absl::StrCat(message, "; see ", path, " --help")));
}

// What is wrong with a command line that could not be parsed. CLI11 misses the command before it
// looks at a word that is none.
std::string parse_problem(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining();
  if (!app.get_subcommands().empty() || unknown.empty()) {
    return error.what();
  }
  if (unknown.front().starts_with("-")) {
    return absl::StrCat(unknown.front(), " is no option of laconic");
  }
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return absl::StrCat("'", unknown.front(),
                      "' is no command; allowed: ", absl::StrJoin(names, ", "));
}

// Without a port gRPC would try 443 and say that nobody listens there.
absl::Status check_server(const std::string& address) {
  const absl::StatusOr<std::string> host = wire::host_of(address);
  return address.starts_with("unix:") || host.ok()
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat("--server or LACONIC_SERVER: ",
                                                       std::string(host.status().message())));
}

void add_global_options(CLI::App& app, Session& session) {
  GlobalOptions& options = session.options;
  if (!session.console.server_variable.empty()) {
    options.server = session.console.server_variable;
  }
  app.add_option("-o,--output", options.output, "What is printed on standard output")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("FORMAT")
      ->capture_default_str();
  app.add_option("--server", options.server, "laconic-server; also from LACONIC_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--timeout", options.timeout, "Longest wait for an answer of the server")
      ->type_name("DURATION")
      ->capture_default_str();
  app.add_flag("--no-color", options.no_color, "No colours; also from NO_COLOR");
  app.add_flag("-q,--quiet", options.quiet, "No progress and no hints");
  app.add_flag("-v,--verbose", options.verbose, "Codes and reasons with every error");
}

}  // namespace

void add_completion(CLI::App& app, Session& session) {
  CLI::App* command = add_command(app, "completion", "Print a script that completes command lines",
                                  "source <(laconic completion bash)");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&app, &session, shell] {
    session.action = [&app, &session, shell] {
      session.console.out << (*shell == "bash"  ? bash_completion(app)
                              : *shell == "zsh" ? zsh_completion(app)
                                                : fish_completion(app));
      return static_cast<int>(core::kExitOk);
    };
  });
}

void build_app(CLI::App& app, Session& session) {
  app.require_subcommand(1);
  app.footer("Example:\n  laconic run -f examples/fashion_mnist.yaml --out runs/fashion");
  add_global_options(app, session);
  for (const auto add : {add_run, add_submit, add_validate, add_list, add_status, add_why,
                         add_watch, add_wait, add_logs, add_events, add_cancel, add_delete,
                         add_report, add_bench, add_nodes, add_version, add_completion}) {
    add(app, session);
  }
}

int run_command_line(const std::vector<std::string>& arguments, Console& console) {
  Session session(console);
  CLI::App app("Train one model on many machines that say little to each other.", "laconic");
  build_app(app, session);
  try {
    // CLI11 takes the words from the back.
    std::vector<std::string> words(arguments.rbegin(), arguments.rend());
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    // The innermost command that was named.
    const CLI::App* command = &app;
    std::string path;
    while (!command->get_subcommands().empty()) {
      absl::StrAppend(&path, path.empty() ? "" : " ", command->get_name());
      command = command->get_subcommands().front();
    }
    console.out << command->help(path) << std::flush;
    return core::kExitOk;
  } catch (const CLI::ParseError& error) {
    session.options.output = asks_for_json(arguments) ? "json" : "table";
    return usage_error(session, app, parse_problem(app, error));
  }
  const absl::StatusOr<absl::Duration> timeout = parse_duration(session.options.timeout);
  if (!timeout.ok()) {
    return usage_error(session, app,
                       absl::StrCat("--timeout: ", std::string(timeout.status().message())));
  }
  session.timeout = *timeout;
  if (const absl::Status server = check_server(session.options.server); !server.ok()) {
    return usage_error(session, app, std::string(server.message()));
  }
  try {
    return session.action();
  } catch (const std::exception& error) {
    // Out of memory, or a bug: either way not a crash with a core dump for the user.
    return session.fail(absl::InternalError(absl::StrCat("internal error: ", error.what())));
  }
}

}  // namespace laconic::cli
