// The whole command line: every command, parsed and run.
#pragma once

#include <string>
#include <vector>

#include "cli/session.h"

namespace laconic::cli {

// Adds the global options and every command to `app`.
void build_app(CLI::App& app, Session& session);

// Runs one command line (without the program's name) and returns the exit code.
int run_command_line(const std::vector<std::string>& arguments, Console& console);

}  // namespace laconic::cli
