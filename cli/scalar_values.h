// The value of one field from its text in a job file: typed by the field, never guessed.
#pragma once

#include <google/protobuf/message.h>

#include <optional>
#include <string>

#include "cli/yaml_tree.h"

namespace laconic::cli {

// Whether the field is written as one scalar: numbers, text, bool, enum, google.protobuf.Duration.
bool is_scalar_field(const google::protobuf::FieldDescriptor& field);

// Puts the value of `node` into the field, at the end of it if the field is repeated.
//
//   node     kScalar or kNull
//   returns  nothing, or what is wrong: "is \"1.5\"; allowed: a whole number such as 10"
//
// Text keeps every character. Whole numbers are decimal digits only: 1e3, 0x10, 0644 and 1_000 are
// refused. Durations are written 250ms, 300s, 5m, 24h, 7d.
std::optional<std::string> set_scalar(google::protobuf::Message& message,
                                      const google::protobuf::FieldDescriptor& field,
                                      const YamlNode& node);

}  // namespace laconic::cli
