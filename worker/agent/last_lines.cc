#include "worker/agent/last_lines.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace laconic::agent {
namespace {

bool is_continuation(char c) {
  return (static_cast<uint8_t>(c) & 0xC0) == 0x80;
}

// Length of the well-formed UTF-8 sequence that `text` begins with; 0: none.
// Source: Unicode 15, table 3-7.
size_t sequence_length(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) {
    return 1;
  }
  const size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 0;
  if (length == 0 || text.size() < length ||
      !std::all_of(text.begin() + 1, text.begin() + static_cast<ptrdiff_t>(length),
                   is_continuation)) {
    return 0;
  }
  const auto second = static_cast<uint8_t>(text[1]);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool outside = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
  return overlong || outside ? 0 : length;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    const auto first = static_cast<uint8_t>(text[0]);
    if (length == 0) {
      result += "\xEF\xBF\xBD";
    } else if (length == 1 && (first == 0x7F || (first < 0x20 && first != '\t'))) {
      result += ' ';
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result;
}

std::vector<std::string> last_lines(std::string_view tail) {
  std::vector<std::string> lines;
  while (!tail.empty() && lines.size() < kLastLinesMax) {
    const size_t end = tail.find_last_of("\r\n");
    const std::string_view line = end == std::string_view::npos ? tail : tail.substr(end + 1);
    if (!line.empty()) {
      lines.push_back(valid_utf8(line.substr(0, kLastLineBytesMax)));
    }
    tail = end == std::string_view::npos ? std::string_view() : tail.substr(0, end);
  }
  std::reverse(lines.begin(), lines.end());
  return lines;
}

std::vector<std::string> last_lines_of_file(const std::string& path) {
  std::error_code error;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  std::ifstream in(path, std::ios::binary);
  if (error || !in) {
    return {};
  }
  const int64_t count = std::min(size, kLastLinesTailBytes);
  std::string tail(static_cast<size_t>(count), '\0');
  in.seekg(size - count);
  in.read(tail.data(), count);
  tail.resize(static_cast<size_t>(in.gcount()));
  return last_lines(tail);
}

}  // namespace laconic::agent
