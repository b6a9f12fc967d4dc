#include "worker/trainer/idx_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/core/status_macros.h"
#include "worker/trainer/data_file.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;

uint32_t big_endian(const std::vector<uint8_t>& bytes, size_t offset) {
  return uint32_t{bytes[offset]} << 24 | uint32_t{bytes[offset + 1]} << 16 |
         uint32_t{bytes[offset + 2]} << 8 | uint32_t{bytes[offset + 3]};
}

struct IdxFile {
  std::vector<int64_t> sizes;
  std::vector<uint8_t> bytes;  // with the header
  size_t header_bytes = 0;
};

absl::Status check_body(const std::string& path, const IdxFile& file, int64_t expected) {
  const auto found = static_cast<int64_t>(file.bytes.size() - file.header_bytes);
  if (found < expected) {
    return bad_data(absl::StrCat(path, ": truncated at byte ", file.bytes.size(), ": found ", found,
                                 " bytes of data, the header promises ", expected));
  }
  if (found > expected) {
    return bad_data(absl::StrCat(path, ": ", found - expected, " trailing bytes from byte ",
                                 static_cast<int64_t>(file.header_bytes) + expected,
                                 " on, the header promises ", expected, " bytes of data"));
  }
  return absl::OkStatus();
}

absl::StatusOr<IdxFile> read_header(const std::string& path, uint32_t magic) {
  LACONIC_ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, read_unpacked(path));
  IdxFile file{.sizes = {}, .bytes = std::move(bytes), .header_bytes = 0};
  const size_t dimensions = magic & 0xff;
  file.header_bytes = 4 + 4 * dimensions;
  if (file.bytes.size() >= 4 && big_endian(file.bytes, 0) != magic) {
    return bad_data(absl::StrFormat(
        "%s: magic at byte 0 is 0x%08x, expected 0x%08x (%s of unsigned bytes)", path,
        big_endian(file.bytes, 0), magic, magic == kImagesMagic ? "images" : "labels"));
  }
  if (file.bytes.size() < file.header_bytes) {
    return bad_data(absl::StrCat(path, ": truncated at byte ", file.bytes.size(),
                                 ": the header has ", file.header_bytes, " bytes"));
  }
  for (size_t i = 0; i < dimensions; ++i) {
    file.sizes.push_back(big_endian(file.bytes, 4 + 4 * i));
  }
  if (file.sizes[0] == 0) {
    return bad_data(absl::StrCat(path, ": the count at byte 4 is 0, expected at least 1"));
  }
  return file;
}

absl::Status check_labels(const std::string& path, const std::vector<uint8_t>& labels,
                          int64_t classes) {
  for (size_t i = 0; classes > 0 && i < labels.size(); ++i) {
    if (labels[i] >= classes) {
      return bad_data(absl::StrCat(path, ": label at byte ", 8 + i, " is ",
                                   static_cast<int>(labels[i]), ", the model has ", classes,
                                   " classes: expected 0..", classes - 1));
    }
  }
  return absl::OkStatus();
}

std::vector<uint8_t> body(IdxFile file) {
  file.bytes.erase(file.bytes.begin(),
                   file.bytes.begin() + static_cast<std::ptrdiff_t>(file.header_bytes));
  return std::move(file.bytes);
}

}  // namespace

absl::StatusOr<LabelledImages> read_idx(const std::string& images_path,
                                        const std::string& labels_path, int64_t classes) {
  LACONIC_ASSIGN_OR_RETURN(IdxFile images, read_header(images_path, kImagesMagic));
  LabelledImages result{.count = images.sizes[0],
                        .height = images.sizes[1],
                        .width = images.sizes[2],
                        .pixels = {},
                        .labels = {}};
  for (const int64_t side : {result.height, result.width}) {
    if (side < 1 || side > kImageSideMax) {
      return bad_data(absl::StrCat(images_path, ": images of ", result.height, "x", result.width,
                                   " at byte 8, expected 1..", kImageSideMax, " on each side"));
    }
  }
  LACONIC_RETURN_IF_ERROR(
      check_body(images_path, images, result.count * result.height * result.width));
  LACONIC_ASSIGN_OR_RETURN(IdxFile labels, read_header(labels_path, kLabelsMagic));
  LACONIC_RETURN_IF_ERROR(check_body(labels_path, labels, labels.sizes[0]));
  if (labels.sizes[0] != result.count) {
    return bad_data(absl::StrCat(labels_path, ": ", labels.sizes[0], " labels for ", result.count,
                                 " images in ", images_path));
  }
  result.pixels = body(std::move(images));
  result.labels = body(std::move(labels));
  LACONIC_RETURN_IF_ERROR(check_labels(labels_path, result.labels, classes));
  return result;
}

}  // namespace laconic::trainer
