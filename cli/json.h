// JSON text: strings, numbers, protobuf messages. Pure functions.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

namespace laconic::cli {

// `text` in quotes with everything escaped that JSON, or an HTML <script>, could trip over. Bytes
// that are not UTF-8 become U+FFFD, so the output is always valid.
std::string json_string(std::string_view text);

// The shortest decimal that reads back as `value`; "null" for NaN and infinities, which JSON lacks.
std::string json_number(double value);

// protobuf's JSON of a message on one line: snake_case names, defaults of plain fields included.
std::string json_message(const google::protobuf::Message& message);

}  // namespace laconic::cli
