#include "cli/command_line.h"

#include <memory>

namespace laconic::cli {

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& example) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer(
      "Options of every command (--server, -o json, ...): laconic --help\n\nExample:\n  " +
      example);
  // Global options may stand behind the command, too.
  command->fallthrough();
  return command;
}

void add_job_argument(CLI::App* command, std::string& job) {
  command->add_option("JOB", job, "Id of the job, or its name where only one job has it")
      ->required();
}

void add_job_command(CLI::App* command, Session& session,
                     int (*run)(Session&, const std::string&)) {
  auto job = std::make_shared<std::string>();
  add_job_argument(command, *job);
  command->callback([&session, job, run] {
    session.action = [&session, job, run] { return run(session, *job); };
  });
}

}  // namespace laconic::cli
