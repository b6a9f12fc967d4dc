#include "cli/text_proto.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cli/scalar_values.h"

namespace laconic::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

// Protobuf counts lines and columns from 0, and from -1 where it does not know.
Position position_of(int line, int column) {
  return {.line = std::max(1, line + 1), .column = std::max(1, column + 1)};
}

class ErrorCollector : public google::protobuf::io::ErrorCollector {
 public:
  ErrorCollector(const Origin& origin, JobSource& source) : origin_(origin), source_(source) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    // The parser's own words do not say what is allowed.
    source_.problems.push_back(absl::StrCat(origin_.at(position_of(line, column)), ": ", message,
                                            " docs/job-file.md lists what is allowed"));
  }

 private:
  const Origin& origin_;
  JobSource& source_;
};

void record_locations(const Message& message, TextFormat::ParseInfoTree& tree,
                      const std::string& prefix, const Origin& origin, JobSource& source) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = prefix.empty() ? field->name() : prefix + "." + field->name();
    const int count = field->is_repeated() ? message.GetReflection()->FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const auto location = tree.GetLocation(field, field->is_repeated() ? i : -1);
      if (location.line < 0) {
        continue;  // Items of a [list] have no location of their own: the list's is used.
      }
      const std::string place = origin.at(position_of(location.line, location.column));
      source.locations.try_emplace(path, place);
      if (field->is_repeated()) {
        source.locations[absl::StrCat(path, "[", i, "]")] = place;
      }
    }
    if (field->is_repeated() || is_scalar_field(*field)) {
      continue;
    }
    if (TextFormat::ParseInfoTree* nested = tree.GetTreeForNested(field, -1)) {
      record_locations(message.GetReflection()->GetMessage(message, field), *nested, path, origin,
                       source);
    }
  }
}

}  // namespace

void read_text_proto(const std::string& text, const Origin& origin, Message& message,
                     JobSource& source) {
  ErrorCollector errors(origin, source);
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.WriteLocationsTo(&tree);
  parser.SetRecursionLimit(kYamlDepthMax);
  source.locations[""] = origin.at({});
  if (!parser.ParseFromString(text, &message)) {
    if (source.problems.empty()) {
      source.problems.push_back(origin.at({}) + ": is not protobuf text of a TrainJob");
    }
    return;
  }
  record_locations(message, tree, "", origin, source);
}

}  // namespace laconic::cli
