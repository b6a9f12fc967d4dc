#include "worker/trainer/safetensors_writer.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/testing/status_matchers.h"
#include "tests/trainer/data_files.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

// Reads by the public description with nothing but Python's struct and json.
constexpr char kReader[] =
    "import json,struct,sys\n"
    "raw=open(sys.argv[1],'rb').read()\n"
    "n=struct.unpack('<Q',raw[:8])[0]\n"
    "assert (8+n)%8==0\n"
    "head=json.loads(raw[8:8+n])\n"
    "print(sorted(head.pop('__metadata__').items()))\n"
    "for name,t in head.items():\n"
    "  a,b=t['data_offsets']\n"
    "  print(name,t['dtype'],t['shape'],struct.unpack('<%df'%((b-a)//4),raw[8+n+a:8+n+b]))\n"
    "assert max(t['data_offsets'][1] for t in head.values())==len(raw)-8-n\n";

std::string read_with_python(const TemporaryDirectory& directory, const std::string& path) {
  const std::string script = directory.write("read.py", kReader);
  FILE* pipe = popen(absl::StrCat("python3 ", script, " ", path, " 2>&1").c_str(), "r");
  std::string output;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) {
    output += static_cast<char>(c);
  }
  pclose(pipe);
  return output;
}

TEST(SafetensorsWriterTest, IsReadByAnIndependentParser) {
  const TemporaryDirectory directory;
  const std::vector<float> weight = {1, 2, 3, 4, 5, 6};
  const std::vector<float> bias = {-0.5};
  const std::string path = directory.file("model.safetensors");
  ASSERT_OK(write_safetensors(path,
                              {{.name = "dense1.weight", .shape = {3, 2}, .values = weight},
                               {.name = "a \"b\"", .shape = {1}, .values = bias}},
                              {{"job", "line\n\\"}}));
  EXPECT_EQ(read_with_python(directory, path),
            "[('job', 'line\\n\\\\')]\n"
            "dense1.weight F32 [3, 2] (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)\n"
            "a \"b\" F32 [1] (-0.5,)\n");
}

TEST(SafetensorsWriterTest, LeavesNoOtherFileBehind) {
  const TemporaryDirectory directory;
  const std::vector<float> values = {1};
  ASSERT_OK(
      write_safetensors(directory.file("m"), {{.name = "x", .shape = {1}, .values = values}}, {}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(SafetensorsWriterTest, AMissingDirectoryIsNamed) {
  const std::vector<float> values = {1};
  const absl::Status status =
      write_safetensors("/no/such/place/m", {{.name = "x", .shape = {1}, .values = values}}, {});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, HasSubstr("/no/such/place/m")));
  EXPECT_EQ(to_report(status).reason(), "RESULT_NOT_WRITTEN");
}

}  // namespace
}  // namespace laconic::trainer
