#include "cli/scalar_values.h"

#include <google/protobuf/duration.pb.h>

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/core/format.h"
#include "common/wire/time.h"

namespace laconic::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Problem = std::optional<std::string>;

constexpr size_t kShownMax = 60;
// About what google.protobuf.Duration holds; the ranges of the fields are far below.
constexpr int64_t kDaysMax = 3'650'000;

std::string shown(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kNull) {
    return node.text.empty() ? "has no value" : absl::StrCat("is ", node.text);
  }
  std::string text;
  for (const char c : core::shortened(node.text, kShownMax)) {
    text += absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? ' ' : c;
  }
  return absl::StrCat("is \"", text, node.text.size() > kShownMax ? "...\"" : "\"");
}

Problem refuse(const YamlNode& node, const std::string& allowed) {
  return absl::StrCat(shown(node), "; allowed: ", allowed);
}

// "-12", "0", "7": no other notation, and no leading zero that other programs read as octal.
bool is_whole_number(const std::string& text) {
  const size_t start = !text.empty() && text[0] == '-' ? 1 : 0;
  if (text.size() == start || (text[start] == '0' && text.size() > start + 1)) {
    return false;
  }
  return text.find_first_not_of("0123456789", start) == std::string::npos;
}

template <typename Integer>
std::optional<Integer> to_integer(const std::string& text) {
  Integer value = 0;
  if (!is_whole_number(text) || !absl::SimpleAtoi(text, &value)) {
    return std::nullopt;
  }
  return value;
}

template <typename Integer>
std::string integer_allowed() {
  return absl::StrCat("a whole number in decimal digits, ", std::numeric_limits<Integer>::min(),
                      "..", std::numeric_limits<Integer>::max());
}

std::optional<double> to_double(const std::string& text) {
  double value = 0;
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != std::string::npos ||
      !absl::SimpleAtod(text, &value) || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::optional<google::protobuf::Duration> to_duration(const std::string& text) {
  if (text.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(text[0]))) {
    return std::nullopt;
  }
  absl::Duration duration;
  int64_t days = 0;
  if (text.back() == 'd') {
    if (!absl::SimpleAtoi(text.substr(0, text.size() - 1), &days) || days > kDaysMax) {
      return std::nullopt;
    }
    duration = absl::Hours(24) * days;
  } else if (!absl::ParseDuration(text, &duration) || duration > absl::Hours(24) * kDaysMax ||
             text == "0") {
    return std::nullopt;
  }
  return wire::to_proto(duration);
}

std::string enum_names(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) {
      names.push_back(type.value(i)->name());
    }
  }
  return absl::StrJoin(names, ", ");
}

// Sets or appends: SetInt32 and AddInt32 and so on differ only in name.
template <typename Value, typename Setter, typename Adder>
void store(Message& message, const FieldDescriptor& field, const Value& value, Setter set,
           Adder add) {
  const google::protobuf::Reflection* reflection = message.GetReflection();
  if (field.is_repeated()) {
    (reflection->*add)(&message, &field, value);
  } else {
    (reflection->*set)(&message, &field, value);
  }
}

template <typename Integer, typename Setter, typename Adder>
Problem set_integer(Message& message, const FieldDescriptor& field, const YamlNode& node,
                    Setter set, Adder add) {
  const std::optional<Integer> value = to_integer<Integer>(node.text);
  if (!value) {
    return refuse(node, integer_allowed<Integer>());
  }
  store(message, field, *value, set, add);
  return std::nullopt;
}

Problem set_double(Message& message, const FieldDescriptor& field, const YamlNode& node) {
  const std::optional<double> value = to_double(node.text);
  if (!value) {
    return refuse(node, "a finite number such as 0.01 or 3e-3");
  }
  using google::protobuf::Reflection;
  store(message, field, *value, &Reflection::SetDouble, &Reflection::AddDouble);
  return std::nullopt;
}

Problem set_bool(Message& message, const FieldDescriptor& field, const YamlNode& node) {
  if (node.quoted || (node.text != "true" && node.text != "false")) {
    return refuse(node, "true or false");
  }
  using google::protobuf::Reflection;
  store(message, field, node.text == "true", &Reflection::SetBool, &Reflection::AddBool);
  return std::nullopt;
}

Problem set_enum(Message& message, const FieldDescriptor& field, const YamlNode& node) {
  const auto* value = field.enum_type()->FindValueByName(node.text);
  if (value == nullptr || value->number() == 0) {
    return refuse(node, enum_names(*field.enum_type()));
  }
  using google::protobuf::Reflection;
  store(message, field, value, &Reflection::SetEnum, &Reflection::AddEnum);
  return std::nullopt;
}

Problem set_duration(Message& message, const FieldDescriptor& field, const YamlNode& node) {
  const std::optional<google::protobuf::Duration> value = to_duration(node.text);
  if (!value) {
    return refuse(node, "a time with its unit, such as 250ms, 300s, 5m, 24h or 7d");
  }
  message.GetReflection()->MutableMessage(&message, &field)->CopyFrom(*value);
  return std::nullopt;
}

Problem set_text(Message& message, const FieldDescriptor& field, const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kNull && node.text.empty()) {
    return refuse(node, "text, or leave the key out");
  }
  using google::protobuf::Reflection;
  store(message, field, node.text, &Reflection::SetString, &Reflection::AddString);
  return std::nullopt;
}

}  // namespace

bool is_scalar_field(const FieldDescriptor& field) {
  return field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE ||
         field.message_type() == google::protobuf::Duration::descriptor();
}

std::optional<std::string> set_scalar(Message& message, const FieldDescriptor& field,
                                      const YamlNode& node) {
  using google::protobuf::Reflection;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return set_integer<int32_t>(message, field, node, &Reflection::SetInt32,
                                  &Reflection::AddInt32);
    case FieldDescriptor::CPPTYPE_INT64:
      return set_integer<int64_t>(message, field, node, &Reflection::SetInt64,
                                  &Reflection::AddInt64);
    case FieldDescriptor::CPPTYPE_UINT64:
      return set_integer<uint64_t>(message, field, node, &Reflection::SetUInt64,
                                   &Reflection::AddUInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return set_double(message, field, node);
    case FieldDescriptor::CPPTYPE_BOOL:
      return set_bool(message, field, node);
    case FieldDescriptor::CPPTYPE_ENUM:
      return set_enum(message, field, node);
    case FieldDescriptor::CPPTYPE_STRING:
      return set_text(message, field, node);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return set_duration(message, field, node);
    default:
      return absl::StrCat("has the type ", field.cpp_type_name(),
                          ", which job files cannot hold; this is a bug in laconic");
  }
}

}  // namespace laconic::cli
