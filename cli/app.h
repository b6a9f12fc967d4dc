// The whole command line: every command, parsed and run.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"

namespace laconic::cli {

// Runs one command line (without the program's name) and returns the exit code.
int run_command_line(const std::vector<std::string>& arguments, Console& console);

}  // namespace laconic::cli
