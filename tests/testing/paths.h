// Where the source tree and the built programs are. Functions and not macros: a macro with a path
// in every test file would keep ccache from serving a second checkout.
#pragma once

#include <string>

namespace laconic::testing {

std::string source_dir();
std::string bin_dir();

}  // namespace laconic::testing
