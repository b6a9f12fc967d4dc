#include "cli/yaml_to_proto.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/scalar_values.h"
#include "common/core/format.h"

namespace laconic::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kShownMax = 60;

std::string joined(const std::string& path, const std::string& key) {
  return path.empty() ? key : absl::StrCat(path, ".", key);
}

std::string named(const std::string& path) {
  return path.empty() ? "the job" : path;
}

// Letters to insert, delete or replace to get from one word to the other (Levenshtein).
size_t edit_distance(const std::string& from, const std::string& to) {
  std::vector<size_t> row(to.size() + 1);
  for (size_t j = 0; j <= to.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= to.size(); ++j) {
      const size_t replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[to.size()];
}

std::string field_names(const Descriptor& type) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(type.field_count()));
  for (int i = 0; i < type.field_count(); ++i) {
    names.push_back(type.field(i)->name());
  }
  return names.empty() ? "nothing, write {}" : absl::StrJoin(names, ", ");
}

// "is unknown; did you mean batch_size? Allowed: ..."
std::string unknown_text(const Descriptor& type, const std::string& key) {
  std::string nearest;
  size_t nearest_distance = std::max<size_t>(2, key.size() / 3) + 1;
  for (int i = 0; i < type.field_count() && key.size() <= kShownMax; ++i) {
    const size_t distance = edit_distance(key, type.field(i)->name());
    if (distance < nearest_distance) {
      nearest = type.field(i)->name();
      nearest_distance = distance;
    }
  }
  const std::string guess = nearest.empty() ? "" : absl::StrCat("did you mean ", nearest, "? ");
  return absl::StrCat(" is unknown; ", guess, "allowed: ", field_names(type));
}

// By the name in job.proto, or by its lowerCamelCase form, which protobuf writes in JSON.
const FieldDescriptor* find_field(const Descriptor& type, const std::string& key) {
  const FieldDescriptor* field = type.FindFieldByName(key);
  return field != nullptr ? field : type.FindFieldByCamelcaseName(key);
}

std::string member_names(const google::protobuf::OneofDescriptor& oneof) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(oneof.field_count()));
  for (int i = 0; i < oneof.field_count(); ++i) {
    names.push_back(oneof.field(i)->name());
  }
  return absl::StrJoin(names, ", ");
}

// Reads one message: remembers which fields it has met.
class MessageReader {
 public:
  MessageReader(const std::string& path, const Origin& origin, Message& message, JobSource& source)
      : path_(path), origin_(origin), message_(message), source_(source) {}

  void read(const YamlNode& node) {
    for (size_t i = 0; i < node.keys.size(); ++i) {
      read_key(node.keys[i], node.key_positions[i], node.children[i]);
    }
  }

  void read_field(const FieldDescriptor& field, const Position& key, const YamlNode& node) {
    const std::string path = joined(path_, field.name());
    // A nested value is found by its key; a missing value has no place of its own.
    const Position& position = node.kind == YamlNode::Kind::kScalar ? node.position : key;
    source_.locations[path] = origin_.at(position);
    if (field.is_map()) {
      read_map(field, path, position, node);
    } else if (field.is_repeated()) {
      read_list(field, path, position, node);
    } else if (is_scalar_field(field)) {
      read_scalar(field, path, position, node);
    } else {
      read_nested(field, path, position, node);
    }
  }

 private:
  void problem(const Position& position, const std::string& text) {
    source_.problems.push_back(absl::StrCat(origin_.at(position), ": ", text));
  }

  void read_key(const std::string& key, const Position& position, const YamlNode& node) {
    const FieldDescriptor* field = find_field(*message_.GetDescriptor(), key);
    if (field == nullptr) {
      return problem(position, joined(path_, core::shortened(key, kShownMax)) +
                                   unknown_text(*message_.GetDescriptor(), key));
    }
    const auto [first, is_new] = met_.try_emplace(field, position);
    if (!is_new) {
      return problem(position,
                     absl::StrCat(joined(path_, key), " occurs twice; the first is in line ",
                                  first->second.line, ", keep one"));
    }
    const auto* oneof = field->real_containing_oneof();
    if (oneof != nullptr) {
      const auto [member, is_first] = members_.try_emplace(oneof, field);
      if (!is_first) {
        return problem(position, absl::StrCat(joined(path_, key), " cannot stand beside ",
                                              member->second->name(), "; allowed: one of ",
                                              member_names(*oneof)));
      }
    }
    read_field(*field, position, node);
  }

  void read_scalar(const FieldDescriptor& field, const std::string& path, const Position& position,
                   const YamlNode& node) {
    if (node.kind == YamlNode::Kind::kMap || node.kind == YamlNode::Kind::kSequence) {
      const bool is_map = node.kind == YamlNode::Kind::kMap;
      return problem(position, absl::StrCat(path, is_map ? " is a map" : " is a list",
                                            "; allowed: one value"));
    }
    if (const auto wrong = set_scalar(message_, field, node)) {
      problem(position, absl::StrCat(path, " ", *wrong));
    }
  }

  void read_list(const FieldDescriptor& field, const std::string& path, const Position& position,
                 const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kSequence) {
      return problem(position, path + " is not a list; allowed: a list such as [128, 64]");
    }
    for (size_t i = 0; i < node.children.size(); ++i) {
      const YamlNode& item = node.children[i];
      const std::string item_path = absl::StrCat(path, "[", i, "]");
      source_.locations[item_path] = origin_.at(item.position);
      read_scalar(field, item_path, item.position, item);
    }
  }

  void read_map(const FieldDescriptor& field, const std::string& path, const Position& position,
                const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kMap) {
      return problem(position, path + " is not a map; allowed: a map such as {team: vision}");
    }
    std::map<std::string, Position> met;
    for (size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& key = node.keys[i];
      const auto [first, is_new] = met.try_emplace(key, node.key_positions[i]);
      if (!is_new) {
        problem(node.key_positions[i], absl::StrCat(joined(path, core::shortened(key, kShownMax)),
                                                    " occurs twice; the first is in line ",
                                                    first->second.line, ", keep one"));
        continue;
      }
      read_entry(field, path, key, node.key_positions[i], node.children[i]);
    }
  }

  // An entry of map<string, string>, the only kind of map in a job.
  void read_entry(const FieldDescriptor& field, const std::string& path, const std::string& key,
                  const Position& key_position, const YamlNode& node) {
    const std::string entry_path = joined(path, key);
    const Position& position = node.kind == YamlNode::Kind::kScalar ? node.position : key_position;
    source_.locations[entry_path] = origin_.at(position);
    Message* entry = message_.GetReflection()->AddMessage(&message_, &field);
    entry->GetReflection()->SetString(entry, field.message_type()->map_key(), key);
    MessageReader(path, origin_, *entry, source_)
        .read_scalar(*field.message_type()->map_value(), entry_path, position, node);
  }

  void read_nested(const FieldDescriptor& field, const std::string& path, const Position& position,
                   const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kMap && node.kind != YamlNode::Kind::kNull) {
      return problem(
          position,
          absl::StrCat(path, " is not a map; allowed: ", field_names(*field.message_type())));
    }
    if (!node.text.empty()) {  // Protobuf JSON reads null as unset, YAML users as empty.
      return problem(position,
                     absl::StrCat(path, " is ", node.text, "; allowed: {}, or leave the key out"));
    }
    Message* nested = message_.GetReflection()->MutableMessage(&message_, &field);
    MessageReader(path, origin_, *nested, source_).read(node);
  }

  const std::string path_;
  const Origin& origin_;
  Message& message_;
  JobSource& source_;
  std::map<const FieldDescriptor*, Position> met_;
  std::map<const google::protobuf::OneofDescriptor*, const FieldDescriptor*> members_;
};

}  // namespace

std::string Origin::at(const Position& position) const {
  return has_positions ? absl::StrCat(name, ":", position.line, ":", position.column) : name;
}

std::string JobSource::location_of(const std::string& path) const {
  std::string nearest = path;
  while (true) {
    const auto found = locations.find(nearest);
    if (found != locations.end()) {
      return found->second;
    }
    if (nearest.empty()) {
      return "job";
    }
    const size_t cut = nearest.find_last_of(".[");
    nearest.resize(cut == std::string::npos ? 0 : cut);
  }
}

void read_message(const YamlNode& node, const std::string& path, const Origin& origin,
                  Message& message, JobSource& source) {
  source.locations[path] = origin.at(node.position);
  if (node.kind != YamlNode::Kind::kMap) {
    source.problems.push_back(
        absl::StrCat(origin.at(node.position), ": ", named(path),
                     " is not a map; allowed: ", field_names(*message.GetDescriptor())));
    return;
  }
  MessageReader(path, origin, message, source).read(node);
}

void apply_override(const std::string& text, Message& message, JobSource& source) {
  const Origin origin = {.name = absl::StrCat("--set ", core::shortened(text, 2 * kShownMax)),
                         .has_positions = false};
  const auto problem = [&](const std::string& what) {
    source.problems.push_back(absl::StrCat(origin.name, ": ", what));
  };
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return problem("is not PATH=VALUE; write for example --set spec.train.steps=10");
  }
  const std::vector<std::string> keys = absl::StrSplit(text.substr(0, equals), '.');
  const std::string value = text.substr(equals + 1);
  Message* target = &message;
  std::string path;
  for (size_t i = 0; i < keys.size(); ++i) {
    const FieldDescriptor* field = find_field(*target->GetDescriptor(), keys[i]);
    if (field == nullptr) {
      return problem(joined(path, keys[i]) + unknown_text(*target->GetDescriptor(), keys[i]));
    }
    const bool last = i + 1 == keys.size();
    if (!last && (field->is_repeated() || is_scalar_field(*field))) {
      return problem(absl::StrCat(joined(path, keys[i]), " has no field ", keys[i + 1],
                                  "; allowed: --set ", joined(path, keys[i]), "=VALUE"));
    }
    if (!last) {
      target = target->GetReflection()->MutableMessage(target, field);
      path = joined(path, field->name());
      continue;
    }
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = value;
    YamlProblem wrong;
    if ((field->is_repeated() || !is_scalar_field(*field)) && !parse_yaml(value, node, wrong)) {
      return problem(absl::StrCat("the value is not YAML: ", wrong.text));
    }
    target->GetReflection()->ClearField(target, field);
    const std::string full = joined(path, field->name());
    std::erase_if(source.locations, [&full](const auto& entry) {
      return entry.first.compare(0, full.size() + 1, full + ".") == 0;
    });
    MessageReader(path, origin, *target, source).read_field(*field, {}, node);
  }
}

}  // namespace laconic::cli
