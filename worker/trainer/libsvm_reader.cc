#include "worker/trainer/libsvm_reader.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/core/status_macros.h"
#include "worker/trainer/data_file.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

constexpr size_t kShownBytes = 40;

class Parser {
 public:
  Parser(const std::string& path, int64_t features_max) : features_max_(features_max) {
    rows_.path = path;
    rows_.row_begin.push_back(0);
  }

  absl::Status add_line(absl::string_view line) {
    ++line_;
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) {
      return absl::OkStatus();
    }
    float label = 0;
    LACONIC_RETURN_IF_ERROR(parse_number(words[0], "label", label));
    int64_t previous = 0;
    for (size_t i = 1; i < words.size(); ++i) {
      LACONIC_RETURN_IF_ERROR(add_entry(words[i], previous));
    }
    rows_.labels.push_back(label);
    rows_.lines.push_back(line_);
    rows_.row_begin.push_back(static_cast<int64_t>(rows_.values.size()));
    rows_.features = std::max(rows_.features, previous);
    return absl::OkStatus();
  }

  SparseRows take() { return std::move(rows_); }

 private:
  absl::Status wrong(const std::string& what) const {
    return bad_data(absl::StrCat(rows_.path, ":", line_, ": ", what));
  }

  absl::Status parse_number(absl::string_view text, const char* what, float& number) const {
    if (!absl::SimpleAtof(text, &number)) {
      return wrong(absl::StrCat(what, " '", text.substr(0, kShownBytes), "' is not a number"));
    }
    if (!std::isfinite(number)) {
      return wrong(absl::StrCat(what, " '", text.substr(0, kShownBytes),
                                "' is not a finite float32 number; remove the line or the entry"));
    }
    return absl::OkStatus();
  }

  absl::Status add_entry(absl::string_view word, int64_t& previous) {
    const size_t colon = word.find(':');
    int64_t index = 0;
    if (colon == absl::string_view::npos || !absl::SimpleAtoi(word.substr(0, colon), &index)) {
      return wrong(absl::StrCat("found '", word.substr(0, kShownBytes),
                                "', expected index:value with a whole index"));
    }
    if (index < 1 || index > features_max_) {
      return wrong(absl::StrCat("index ", index, " is outside 1..", features_max_));
    }
    if (index <= previous) {
      return wrong(
          absl::StrCat("index ", index, " follows ", previous, ", expected ascending indices"));
    }
    previous = index;
    float value = 0;
    LACONIC_RETURN_IF_ERROR(parse_number(word.substr(colon + 1), "value", value));
    rows_.columns.push_back(static_cast<int32_t>(index - 1));
    rows_.values.push_back(value);
    return absl::OkStatus();
  }

  const int64_t features_max_;
  SparseRows rows_;
  int64_t line_ = 0;
};

}  // namespace

absl::StatusOr<SparseRows> read_libsvm(const std::string& path, int64_t features) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, read_unpacked(path));
  Parser parser(path, features > 0 ? features : kFeaturesMax);
  absl::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    LACONIC_RETURN_IF_ERROR(parser.add_line(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  SparseRows rows = parser.take();
  if (rows.count() == 0) {
    return bad_data(absl::StrCat(path, ": no line with a label, expected at least 1"));
  }
  return rows;
}

bool has_minus_one(const SparseRows& rows) {
  return std::find(rows.labels.begin(), rows.labels.end(), -1.0F) != rows.labels.end();
}

absl::StatusOr<std::vector<int64_t>> class_labels(const SparseRows& rows, bool signed_labels,
                                                  int64_t classes) {
  constexpr float kClassesMax = 100'000;  // as spec.model allows
  const auto limit = classes > 0 ? static_cast<float>(classes) : kClassesMax;
  std::vector<int64_t> result;
  result.reserve(rows.labels.size());
  for (size_t i = 0; i < rows.labels.size(); ++i) {
    const float label = rows.labels[i];
    const bool valid = signed_labels ? (label == -1 || label == 1)
                                     : (label >= 0 && label < limit && label == std::floor(label));
    if (!valid) {
      return bad_data(absl::StrCat(
          rows.path, ":", rows.lines[i], ": label ", label, " is no class; expected ",
          signed_labels ? "-1 or +1, as elsewhere in this data"
                        : absl::StrCat("a whole number in 0..", static_cast<int64_t>(limit) - 1,
                                       ", or only -1 and +1")));
    }
    result.push_back(signed_labels ? (label > 0 ? 1 : 0) : static_cast<int64_t>(label));
  }
  return result;
}

}  // namespace laconic::trainer
