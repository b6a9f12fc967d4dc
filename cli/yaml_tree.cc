#include "cli/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace laconic::cli {
namespace {

// yaml-cpp counts from 0, and from -1 where it does not know.
Position position_of(const YAML::Mark& mark) {
  return {.line = std::max(1, mark.line + 1), .column = std::max(1, mark.column + 1)};
}

[[noreturn]] void refuse(const YAML::Mark& mark, const std::string& text) {
  throw YAML::ParserException(mark, text);
}

// Builds the tree from yaml-cpp's events; throws YAML::ParserException to stop the parser.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& text)
      : lines_(absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      refuse(mark, "a second document begins here; allowed: one job per file");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    static_cast<void>(anchor);  // An anchor without an alias is harmless.
    const std::string word = null_word(mark);
    if (expects_key()) {
      if (word.empty()) {
        refuse(mark, "a key is missing");
      }
      return take_key(mark, word);
    }
    YamlNode node;
    node.text = word;
    add(mark, std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    static_cast<void>(anchor);
    refuse(mark, "aliases (*name) are not supported; write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    static_cast<void>(anchor);
    check_tag(mark, tag);
    if (expects_key()) {
      return take_key(mark, value);
    }
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = value;
    node.quoted = tag == "!";
    add(mark, std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    static_cast<void>(anchor);
    static_cast<void>(style);
    open(mark, tag, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { stack_.pop_back(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    static_cast<void>(anchor);
    static_cast<void>(style);
    open(mark, tag, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { stack_.pop_back(); }

 private:
  bool expects_key() const {
    return !stack_.empty() && stack_.back()->kind == YamlNode::Kind::kMap &&
           stack_.back()->keys.size() == stack_.back()->children.size();
  }

  static void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      refuse(mark, "tags (!name) are not supported; the field decides how its value is read");
    }
  }

  // yaml-cpp reports "~", "null" and nothing at all alike; a name may well be "null".
  std::string null_word(const YAML::Mark& mark) const {
    if (mark.line < 0 || static_cast<size_t>(mark.line) >= lines_.size() || mark.column < 0) {
      return "";
    }
    const std::string& line = lines_[static_cast<size_t>(mark.line)];
    const auto column = static_cast<size_t>(mark.column);
    for (const std::string word : {"~", "null", "Null", "NULL"}) {
      if (line.compare(std::min(column, line.size()), word.size(), word) != 0) {
        continue;
      }
      // A missing value is reported where the next key begins, and that may be called "null".
      const size_t after = line.find_first_not_of(" \t", column + word.size());
      const bool is_key = after != std::string::npos && line[after] == ':';
      return is_key && !expects_key() ? "" : word;
    }
    return "";
  }

  void take_key(const YAML::Mark& mark, const std::string& key) {
    count_node(mark);
    stack_.back()->keys.push_back(key);
    stack_.back()->key_positions.push_back(position_of(mark));
  }

  void count_node(const YAML::Mark& mark) {
    if (++nodes_ > kYamlNodesMax) {
      refuse(mark, absl::StrCat("too many values; allowed: at most ", kYamlNodesMax));
    }
  }

  // Pointers into children stay valid: a parent grows only while it is the innermost open node.
  YamlNode* add(const YAML::Mark& mark, YamlNode node) {
    count_node(mark);
    node.position = position_of(mark);
    if (stack_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    stack_.back()->children.push_back(std::move(node));
    return &stack_.back()->children.back();
  }

  void open(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind) {
    check_tag(mark, tag);
    if (expects_key()) {
      refuse(mark, "a key is a list or a map; allowed: a plain word");
    }
    if (stack_.size() >= kYamlDepthMax) {
      refuse(mark, absl::StrCat("nested too deep; allowed: at most ", kYamlDepthMax, " levels"));
    }
    YamlNode node;
    node.kind = kind;
    stack_.push_back(add(mark, std::move(node)));
  }

  const std::vector<std::string> lines_;
  YamlNode root_;
  std::vector<YamlNode*> stack_;
  int documents_ = 0;
  int nodes_ = 0;
};

}  // namespace

bool parse_yaml(const std::string& text, YamlNode& root, YamlProblem& problem) {
  TreeBuilder builder(text);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    problem = {.position = position_of(error.mark), .text = error.msg};
    return false;
  }
  root = builder.take();
  return true;
}

}  // namespace laconic::cli
