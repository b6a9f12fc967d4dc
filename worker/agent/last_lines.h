// The end of a trainer's output, as an error report shows it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace laconic::agent {

inline constexpr size_t kLastLinesMax = 50;
inline constexpr size_t kLastLineBytesMax = 400;          // of one line; the rest is cut
inline constexpr int64_t kLastLinesTailBytes = 64 << 10;  // of the file that are looked at

// `text` with every byte that is not part of valid UTF-8 replaced by U+FFFD, and control
// characters but tab by a blank: protobuf strings must be UTF-8, and a terminal shows them.
std::string valid_utf8(std::string_view text);

// The last lines of `tail`, oldest first, at most kLastLinesMax, each valid UTF-8 and cut to
// kLastLineBytesMax bytes (before replacement). A carriage return ends a line too: progress bars
// write them. Empty lines are left out.
std::vector<std::string> last_lines(std::string_view tail);

// last_lines() of the end of a file; empty when it cannot be read.
std::vector<std::string> last_lines_of_file(const std::string& path);

}  // namespace laconic::agent
