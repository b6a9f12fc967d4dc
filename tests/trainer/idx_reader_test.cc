#include "worker/trainer/idx_reader.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "tests/testing/status_matchers.h"
#include "tests/trainer/data_files.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class IdxReaderTest : public ::testing::Test {
 protected:
  std::string images(const std::string& content) { return directory_.write("images", content); }
  std::string labels(const std::string& content) { return directory_.write("labels", content); }

  std::string gzip(const std::string& name, const std::string& content) {
    const gzFile file = gzopen(directory_.file(name).c_str(), "wb");
    gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
    gzclose(file);
    return directory_.file(name);
  }

  // Expects BAD_DATA whose text holds all parts.
  void expect_refused(const std::string& image_content, const std::string& label_content,
                      const std::string& what, const std::string& place) {
    EXPECT_THAT(read_idx(images(image_content), labels(label_content), 10),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(directory_.path()), HasSubstr(what), HasSubstr(place))));
  }

  const std::string pixels_ = std::string(12, '\x07');
  const std::string good_images_ = idx_images(2, 2, 3, pixels_);
  const std::string good_labels_ = idx_labels(2, std::string("\x03\x09", 2));
  TemporaryDirectory directory_;
};

TEST_F(IdxReaderTest, ReadsPlainFiles) {
  ASSERT_OK_AND_ASSIGN(const LabelledImages read,
                       read_idx(images(good_images_), labels(good_labels_), 10));
  EXPECT_EQ(read.count, 2);
  EXPECT_EQ(read.height, 2);
  EXPECT_EQ(read.width, 3);
  EXPECT_EQ(read.pixels, std::vector<uint8_t>(12, 7));
  EXPECT_EQ(read.labels, (std::vector<uint8_t>{3, 9}));
}

TEST_F(IdxReaderTest, UnpacksGzip) {
  ASSERT_OK_AND_ASSIGN(const LabelledImages read,
                       read_idx(gzip("i.gz", good_images_), gzip("l.gz", good_labels_), 10));
  EXPECT_EQ(read.pixels, std::vector<uint8_t>(12, 7));
}

TEST_F(IdxReaderTest, RefusesAMissingFile) {
  EXPECT_THAT(read_idx(directory_.file("no"), labels(good_labels_), 10),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("No such file")));
}

TEST_F(IdxReaderTest, RefusesADirectory) {
  EXPECT_THAT(read_idx(directory_.path(), labels(good_labels_), 10),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a directory")));
}

TEST_F(IdxReaderTest, RefusesAnEmptyFile) {
  expect_refused("", good_labels_, "images", "is empty");
}

TEST_F(IdxReaderTest, RefusesAWrongMagic) {
  expect_refused(good_labels_, good_labels_, "0x00000801", "expected 0x00000803");
  expect_refused(good_images_, good_images_, "0x00000803", "expected 0x00000801");
}

TEST_F(IdxReaderTest, RefusesATruncatedHeader) {
  expect_refused(good_images_.substr(0, 9), good_labels_, "truncated", "byte 9");
}

TEST_F(IdxReaderTest, RefusesTruncatedPixels) {
  expect_refused(good_images_.substr(0, 20), good_labels_, "truncated at byte 20",
                 "found 4 bytes of data, the header promises 12");
}

TEST_F(IdxReaderTest, RefusesTrailingBytes) {
  expect_refused(good_images_ + "x", good_labels_, "1 trailing bytes", "byte 28");
}

TEST_F(IdxReaderTest, RefusesTruncatedGzip) {
  const std::string path = gzip("i.gz", good_images_);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9);
  EXPECT_THAT(read_idx(path, labels(good_labels_), 10),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("end early")));
}

TEST_F(IdxReaderTest, RefusesDamagedGzip) {
  EXPECT_THAT(read_idx(images("\x1f\x8b\x08 this is not deflate data"), labels(good_labels_), 10),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("damaged")));
}

TEST_F(IdxReaderTest, RefusesNoImages) {
  expect_refused(idx_images(0, 2, 3, ""), idx_labels(0, ""), "count", "is 0");
}

TEST_F(IdxReaderTest, RefusesHugeSizesWithoutAllocating) {
  expect_refused(idx_images(0xffffffff, 0xffffffff, 0xffffffff, pixels_), good_labels_,
                 "4294967295", "expected 1..1024");
}

TEST_F(IdxReaderTest, RefusesCountsThatDiffer) {
  expect_refused(good_images_, idx_labels(1, "\x01"), "1 labels", "2 images");
}

TEST_F(IdxReaderTest, RefusesALabelOutOfRange) {
  expect_refused(good_images_, idx_labels(2, std::string("\x03\x0b", 2)), "label at byte 9 is 11",
                 "expected 0..9");
}

}  // namespace
}  // namespace laconic::trainer
