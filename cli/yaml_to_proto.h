// A YAML tree -> a protobuf message, guided by the message's descriptor: every key must be a field,
// every value must fit its type, and every problem names its place.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <vector>

#include "cli/yaml_tree.h"

namespace laconic::cli {

// What the positions of a tree are positions in.
struct Origin {
  std::string name;  // "job.yaml", or "--set a.b=1"
  bool has_positions = true;

  std::string at(const Position& position) const;
};

// Where each field of a job came from, and what is wrong so far.
struct JobSource {
  std::map<std::string, std::string> locations;  // "spec.train.steps" -> "job.yaml:12:17"
  std::vector<std::string> problems;             // "job.yaml:12:17: spec.train.steps is ..."

  // The place of `path`, or of the nearest field around it that occurs in the file.
  std::string location_of(const std::string& path) const;
};

// Fills `message`, which stands at `path` in the job, with the keys of `node`.
void read_message(const YamlNode& node, const std::string& path, const Origin& origin,
                  google::protobuf::Message& message, JobSource& source);

// Applies one "spec.train.steps=10" to `message`. What was there before is replaced.
void apply_override(const std::string& text, google::protobuf::Message& message, JobSource& source);

}  // namespace laconic::cli
