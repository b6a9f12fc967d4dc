// Every command of the program adds itself to the app; one file per group defines them.
#pragma once

#include "cli/command_line.h"

namespace laconic::cli {

// Adds the global options and every command to `app`.
void build_app(CLI::App& app, Session& session);

void add_run(CLI::App& app, Session& session);
void add_submit(CLI::App& app, Session& session);
void add_validate(CLI::App& app, Session& session);
void add_list(CLI::App& app, Session& session);
void add_status(CLI::App& app, Session& session);
void add_why(CLI::App& app, Session& session);
void add_watch(CLI::App& app, Session& session);
void add_wait(CLI::App& app, Session& session);
void add_logs(CLI::App& app, Session& session);
void add_events(CLI::App& app, Session& session);
void add_cancel(CLI::App& app, Session& session);
void add_delete(CLI::App& app, Session& session);
void add_report(CLI::App& app, Session& session);
void add_bench(CLI::App& app, Session& session);
void add_nodes(CLI::App& app, Session& session);
void add_version(CLI::App& app, Session& session);
void add_completion(CLI::App& app, Session& session);

}  // namespace laconic::cli
