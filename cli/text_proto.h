// Protobuf text -> a message, with the same positions and the same style of errors as YAML.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "cli/yaml_to_proto.h"

namespace laconic::cli {

// Fills `message` from `text`; what is wrong and where each field stands goes into `source`.
void read_text_proto(const std::string& text, const Origin& origin,
                     google::protobuf::Message& message, JobSource& source);

}  // namespace laconic::cli
