// YAML text -> a tree with positions, and nothing guessed: every scalar stays text.
//
// The only module that calls yaml-cpp, which throws. Refused, each with its position: syntax
// errors, aliases, tags, keys that are no words, a second document, and more depth or nodes than
// the limits below. Duplicate keys are kept for the reader of the tree to refuse.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace laconic::cli {

constexpr int kYamlDepthMax = 32;
constexpr int kYamlNodesMax = 20'000;

// Where something stands in a file; both count from 1.
struct Position {
  int line = 1;
  int column = 1;
};

struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kSequence, kMap };

  Kind kind = Kind::kNull;
  Position position;
  std::string text;               // kScalar: the text; kNull: "null", "~" as written, or ""
  bool quoted = false;            // kScalar: in quotes or a block
  std::vector<std::string> keys;  // kMap: in the order of the file, duplicates kept
  std::vector<Position> key_positions;
  std::vector<YamlNode> children;  // kMap: one per key; kSequence: the items
};

// A syntax error; `text` says what is wrong and what to do.
struct YamlProblem {
  Position position;
  std::string text;
};

// Returns the problem through `problem` and false, or the only document of `text` and true.
bool parse_yaml(const std::string& text, YamlNode& root, YamlProblem& problem);

}  // namespace laconic::cli
