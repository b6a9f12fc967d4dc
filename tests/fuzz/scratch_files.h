// Files for decoders that read a path: rewritten for every input, removed when the process ends.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace laconic::fuzz {

// Writes `content` to a file of this name in a directory of this process; returns its path.
std::string write_scratch(const std::string& name, std::span<const uint8_t> content);
std::string write_scratch(const std::string& name, const std::string& content);

}  // namespace laconic::fuzz
