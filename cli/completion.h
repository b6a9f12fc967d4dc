// Shell completion, generated from the commands and options themselves.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace laconic::cli {

// A script that the shell sources. Commands, their options and the closed lists of values are
// completed; everything else is a file name.
std::string bash_completion(const CLI::App& app);
std::string zsh_completion(const CLI::App& app);
std::string fish_completion(const CLI::App& app);

}  // namespace laconic::cli
