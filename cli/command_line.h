// The parts of a command line that commands have in common.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

#include "cli/session.h"

namespace laconic::cli {

// Adds a command: name, what it does, its example. The caller says what runs it.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& example);

// Adds the argument that names a job, required.
void add_job_argument(CLI::App* command, std::string& job);

// Finishes a command whose only argument is a job: `run` gets what names it.
void add_job_command(CLI::App* command, Session& session, int (*run)(Session&, const std::string&));

}  // namespace laconic::cli
