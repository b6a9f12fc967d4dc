#include <gmock/gmock.h>
#include <google/protobuf/duration.pb.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "laconic/v1/job.pb.h"
#include "tests/testing/paths.h"

namespace laconic::wire {
namespace {

using google::protobuf::Descriptor;

std::string docs() {
  std::ifstream file(testing::source_dir() + "/docs/job-file.md");
  return {std::istreambuf_iterator<char>(file), {}};
}

// Names of all fields and enum values of a message and of what it contains.
void collect_names(const Descriptor& type, std::set<std::string>& names) {
  for (int i = 0; i < type.field_count(); ++i) {
    const auto& field = *type.field(i);
    names.insert(field.name());
    if (field.enum_type() != nullptr) {
      for (int v = 1; v < field.enum_type()->value_count(); ++v) {
        names.insert(field.enum_type()->value(v)->name());
      }
    }
    const Descriptor* nested = field.message_type();
    if (nested != nullptr && !field.is_map() &&
        nested != google::protobuf::Duration::descriptor()) {
      collect_names(*nested, names);
    }
  }
}

TEST(JobDocsTest, NamesEveryFieldOfTheJob) {
  const std::string text = docs();
  ASSERT_FALSE(text.empty());
  std::set<std::string> names;
  collect_names(*v1::TrainJob::descriptor(), names);
  EXPECT_GT(names.size(), 60U);
  for (const std::string& name : names) {
    const bool documented = text.find(absl::StrCat("`", name, "`")) != std::string::npos ||
                            text.find(absl::StrCat("spec.", name, "`")) != std::string::npos ||
                            text.find(absl::StrCat("metadata.", name, "`")) != std::string::npos ||
                            text.find(absl::StrCat(name, ": {")) != std::string::npos;
    EXPECT_TRUE(documented) << name << " is missing in docs/job-file.md";
  }
}

TEST(JobDocsTest, ShowsTheExampleAsItIs) {
  std::ifstream file(testing::source_dir() + "/examples/fashion_mnist.yaml");
  const std::string example = {std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(example.empty());
  EXPECT_THAT(docs(), ::testing::HasSubstr(example));
}

}  // namespace
}  // namespace laconic::wire
