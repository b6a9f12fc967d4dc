// Aligned text tables.
#pragma once

#include <string>
#include <vector>

namespace laconic::cli {

// Columns two spaces apart, as wide as their widest cell, no spaces at line ends. The first row is
// the heading. Width is counted in UTF-8 letters. Rows may have fewer cells than the heading.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

// Letters of UTF-8 text: bytes that do not continue another.
size_t display_width(const std::string& text);

}  // namespace laconic::cli
