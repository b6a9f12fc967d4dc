#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/scratch_files.h"
#include "tests/fuzz/targets.h"
#include "worker/trainer/idx_reader.h"
#include "worker/trainer/libsvm_reader.h"

namespace laconic::fuzz {
namespace {

using trainer::SparseRows;

void check_refusal(const absl::Status& status) {
  check(absl::IsInvalidArgument(status) && !status.message().empty(),
        "bad data is InvalidArgument with a reason: " + status.ToString());
}

bool read_images(Input& input, int64_t classes) {
  const size_t images_bytes = input.take(2);
  const std::string images_path = write_scratch("images", input.take_bytes(images_bytes));
  const auto images =
      trainer::read_idx(images_path, write_scratch("labels", input.rest()), classes);
  if (!images.ok()) {
    check_refusal(images.status());
    return false;
  }
  const auto count = static_cast<size_t>(images->count);
  check(count >= 1 && images->labels.size() == count, "one label per image");
  check(images->pixels.size() ==
            count * static_cast<size_t>(images->height) * static_cast<size_t>(images->width),
        "all pixels of all images");
  check(classes == 0 ||
            std::ranges::all_of(images->labels, [&](uint8_t label) { return label < classes; }),
        "every label is a class");
  return true;
}

// The file that holds these rows.
std::string to_file(const SparseRows& rows) {
  std::string text;
  for (size_t row = 0; row < rows.labels.size(); ++row) {
    absl::StrAppendFormat(&text, "%.9g", rows.labels[row]);
    for (auto i = static_cast<size_t>(rows.row_begin[row]);
         i < static_cast<size_t>(rows.row_begin[row + 1]); ++i) {
      absl::StrAppendFormat(&text, " %d:%.9g", rows.columns[i] + 1, rows.values[i]);
    }
    text += '\n';
  }
  return text;
}

bool read_rows(Input& input, int64_t features) {
  const auto rows = trainer::read_libsvm(write_scratch("rows", input.rest()), features);
  if (!rows.ok()) {
    check_refusal(rows.status());
    return false;
  }
  check(rows->row_begin.size() == rows->labels.size() + 1, "every row has a begin");
  check(std::ranges::is_sorted(rows->row_begin), "rows follow each other");
  check(static_cast<size_t>(rows->row_begin.back()) == rows->values.size() &&
            rows->columns.size() == rows->values.size(),
        "every value has a column");
  check(features == 0 || rows->features <= features, "no index is above the limit");
  check(std::ranges::all_of(rows->columns,
                            [&](int32_t column) { return column >= 0 && column < rows->features; }),
        "every column is a feature");
  const auto again = trainer::read_libsvm(write_scratch("again", to_file(*rows)), features);
  check(again.ok(), "rows that were read can be written and read: " + again.status().ToString());
  check(again->row_begin == rows->row_begin && again->columns == rows->columns &&
            again->values == rows->values && again->labels == rows->labels,
        "rows are the same after writing and reading them");
  const auto classes = trainer::class_labels(*rows, trainer::has_minus_one(*rows), 0);
  check(!classes.ok() || classes->size() == rows->labels.size(), "one class per row");
  return true;
}

}  // namespace

bool data_files(Bytes bytes) {
  Input input(bytes);
  const bool images = input.take_byte() % 2 == 0;
  const int64_t limit = input.take_byte();
  return images ? read_images(input, limit) : read_rows(input, limit);
}

}  // namespace laconic::fuzz
