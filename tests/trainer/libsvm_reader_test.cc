#include "worker/trainer/libsvm_reader.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"
#include "tests/trainer/data_files.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class LibsvmReaderTest : public ::testing::Test {
 protected:
  absl::StatusOr<SparseRows> read(const std::string& content, int64_t features = 0) {
    return read_libsvm(directory_.write("data", content), features);
  }
  void expect_refused(const std::string& content, const std::string& line,
                      const std::string& what) {
    EXPECT_THAT(read(content, /*features=*/100),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(directory_.file("data:") + line), HasSubstr(what))));
  }
  TemporaryDirectory directory_;
};

TEST_F(LibsvmReaderTest, ReadsRowsCommentsAndBlankLines) {
  ASSERT_OK_AND_ASSIGN(const SparseRows rows,
                       read("# made by hand\n+1 1:0.5 7:-2e1 # end\r\n\n-1\n+1 2:3"));
  EXPECT_EQ(rows.labels, (std::vector<float>{1, -1, 1}));
  EXPECT_EQ(rows.row_begin, (std::vector<int64_t>{0, 2, 2, 3}));
  EXPECT_EQ(rows.columns, (std::vector<int32_t>{0, 6, 1}));
  EXPECT_EQ(rows.values, (std::vector<float>{0.5, -20, 3}));
  EXPECT_EQ(rows.lines, (std::vector<int64_t>{2, 4, 5}));
  EXPECT_EQ(rows.features, 7);
}

TEST_F(LibsvmReaderTest, RefusesWhatIsNoNumber) {
  expect_refused("1 1:2\nspam 1:2\n", "2", "label 'spam' is not a number");
  expect_refused("1 1:x\n", "1", "value 'x' is not a number");
  expect_refused("1 3\n", "1", "expected index:value");
  expect_refused("1 a:3\n", "1", "expected index:value");
}

TEST_F(LibsvmReaderTest, RefusesNanAndInfinity) {
  expect_refused("1 1:2\n1 1:nan\n", "2", "not a finite float32");
  expect_refused("1 1:inf\n", "1", "not a finite float32");
  expect_refused("nan 1:1\n", "1", "not a finite float32");
  expect_refused("1 1:1e39\n", "1", "not a finite float32");
}

TEST_F(LibsvmReaderTest, RefusesIndicesOutsideTheirRange) {
  expect_refused("1 0:2\n", "1", "index 0 is outside 1..100");
  expect_refused("1 -4:2\n", "1", "index -4 is outside");
  expect_refused("1 101:2\n", "1", "index 101 is outside 1..100");
}

TEST_F(LibsvmReaderTest, RefusesIndicesThatDoNotAscend) {
  expect_refused("1 3:1 2:1\n", "1", "index 2 follows 3");
  expect_refused("1 3:1 3:1\n", "1", "index 3 follows 3");
}

TEST_F(LibsvmReaderTest, RefusesAFileWithoutRows) {
  EXPECT_THAT(read("# nothing\n\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no line with a label")));
}

TEST_F(LibsvmReaderTest, MapsSignedLabelsToTwoClasses) {
  ASSERT_OK_AND_ASSIGN(const SparseRows rows, read("+1 1:1\n-1 1:1\n"));
  EXPECT_TRUE(has_minus_one(rows));
  EXPECT_EQ(*class_labels(rows, /*signed_labels=*/true, 2), (std::vector<int64_t>{1, 0}));
}

TEST_F(LibsvmReaderTest, KeepsClassLabels) {
  ASSERT_OK_AND_ASSIGN(const SparseRows rows, read("0 1:1\n2 1:1\n"));
  EXPECT_EQ(*class_labels(rows, /*signed_labels=*/false, 0), (std::vector<int64_t>{0, 2}));
}

TEST_F(LibsvmReaderTest, RefusesLabelsThatAreNoClass) {
  ASSERT_OK_AND_ASSIGN(const SparseRows rows, read("0 1:1\n2.5 1:1\n"));
  EXPECT_THAT(class_labels(rows, false, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data:2: label 2.5")));
  ASSERT_OK_AND_ASSIGN(const SparseRows large, read("0 1:1\n3 1:1\n"));
  EXPECT_THAT(class_labels(large, false, 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0..2")));
  ASSERT_OK_AND_ASSIGN(const SparseRows mixed, read("-1 1:1\n2 1:1\n"));
  EXPECT_THAT(class_labels(mixed, true, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1 or +1")));
}

}  // namespace
}  // namespace laconic::trainer
