#include "cli/job_file.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/text_proto.h"
#include "cli/yaml_to_proto.h"
#include "cli/yaml_tree.h"
#include "common/core/status_macros.h"
#include "common/wire/job_spec.h"

namespace laconic::cli {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr size_t kProblemsShownMax = 50;

enum class Format { kYaml, kJson, kTextProto };

Format format_of(const std::filesystem::path& path) {
  const std::string extension = absl::AsciiStrToLower(path.extension().string());
  if (extension == ".json") {
    return Format::kJson;
  }
  const bool text = extension == ".textproto" || extension == ".txtpb";
  return text ? Format::kTextProto : Format::kYaml;
}

absl::StatusOr<std::string> read_file(const std::string& path) {
  const auto refuse = [&path](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", why));
  };
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return refuse("no such file; give the path of a job file, see docs/job-file.md");
  }
  if (std::filesystem::is_directory(status)) {
    return refuse("is a directory; give the path of a job file in it");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return refuse(absl::StrCat("cannot be read: ", std::generic_category().message(errno)));
  }
  // One byte more than allowed tells a file of the allowed size from a larger one.
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) {
    return refuse("cannot be read to its end");
  }
  if (text.size() > kFileBytesMax) {
    return refuse("is larger than 1 MiB; job files hold settings, data stay in their own files");
  }
  return text;
}

// Bytes of the UTF-8 sequence at `text[i]`; 0 if there is none. Source: RFC 3629, section 4.
size_t utf8_length(const std::string& text, size_t i) {
  const auto byte = [&text](size_t k) {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U;
  };
  const unsigned first = byte(i);
  const size_t length = first < 0x80                    ? 1
                        : first >= 0xC2 && first < 0xE0 ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xF0 && first < 0xF5 ? 4
                                                        : 0;
  for (size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) {
      return 0;
    }
  }
  const bool overlong =
      (first == 0xE0 && byte(i + 1) < 0xA0) || (first == 0xF0 && byte(i + 1) < 0x90);
  const bool outside =
      (first == 0xED && byte(i + 1) > 0x9F) || (first == 0xF4 && byte(i + 1) > 0x8F);
  return overlong || outside ? 0 : length;
}

// What no format allows: bytes that are not text, and tabs where YAML counts columns.
absl::Status check_text(const std::string& path, const std::string& text, Format format) {
  Position position;
  bool indenting = true;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    const char c = text[i];
    const auto refuse = [&](const std::string& why) {
      const Origin origin = {.name = path};
      return absl::InvalidArgumentError(absl::StrCat(origin.at(position), ": ", why));
    };
    const bool control =
        absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\t' && c != '\n' && c != '\r';
    if (length == 0 || control) {
      return refuse(absl::StrFormat("the byte 0x%02X is not UTF-8 text; is this a job file?",
                                    static_cast<unsigned char>(c)));
    }
    if (c == '\t' && indenting && format == Format::kYaml) {
      return refuse("a tab in the indentation; YAML allows only spaces");
    }
    indenting = c == '\n' || (indenting && (c == ' ' || c == '\t'));
    position = c == '\n' ? Position{.line = position.line + 1, .column = 1}
                         : Position{position.line, position.column + static_cast<int>(length)};
    i += length;
  }
  if (std::all_of(text.begin(), text.end(),
                  [](char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); })) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":1:1: the file is empty; docs/job-file.md shows a job to start from"));
  }
  return absl::OkStatus();
}

// JSON is read as the YAML that it is, so both have the same positions, checks and messages.
void read_yaml(std::string text, Format format, const Origin& origin, v1::TrainJob& job,
               JobSource& source) {
  if (format == Format::kJson) {
    // JSON allows tabs between tokens and nowhere else; YAML wants spaces there.
    std::replace(text.begin(), text.end(), '\t', ' ');
  }
  YamlNode root;
  YamlProblem problem;
  if (!parse_yaml(text, root, problem)) {
    source.problems.push_back(absl::StrCat(origin.at(problem.position), ": ", problem.text));
    return;
  }
  read_message(root, "", origin, job, source);
}

absl::Status to_status(const std::vector<std::string>& problems) {
  const size_t shown = std::min(problems.size(), kProblemsShownMax);
  std::string text =
      absl::StrJoin(problems.begin(), problems.begin() + static_cast<long>(shown), "\n");
  if (shown < problems.size()) {
    absl::StrAppend(&text, "\nand ", problems.size() - shown, " more problems");
  }
  return absl::InvalidArgumentError(text);
}

// A path in a job means the same wherever the command is run.
void make_absolute(const std::filesystem::path& directory, std::string* path) {
  if (!path->empty() && path->front() != '/') {
    *path = (directory / *path).lexically_normal().string();
  }
}

void make_paths_absolute(const std::filesystem::path& directory, v1::TrainJobSpec& spec) {
  if (spec.model().has_torchscript()) {
    make_absolute(directory, spec.mutable_model()->mutable_torchscript()->mutable_file());
  }
  if (spec.data().has_idx()) {
    v1::Idx& idx = *spec.mutable_data()->mutable_idx();
    for (std::string* path : {idx.mutable_train_images(), idx.mutable_train_labels(),
                              idx.mutable_eval_images(), idx.mutable_eval_labels()}) {
      make_absolute(directory, path);
    }
  }
  if (spec.data().has_bytes()) {
    make_absolute(directory, spec.mutable_data()->mutable_bytes()->mutable_path());
  }
  if (spec.data().has_libsvm()) {
    make_absolute(directory, spec.mutable_data()->mutable_libsvm()->mutable_train_file());
    make_absolute(directory, spec.mutable_data()->mutable_libsvm()->mutable_eval_file());
  }
  if (spec.train().has_checkpoint()) {
    make_absolute(directory, spec.mutable_train()->mutable_checkpoint()->mutable_directory());
  }
  if (spec.has_result()) {
    make_absolute(directory, spec.mutable_result()->mutable_directory());
  }
}

}  // namespace

absl::StatusOr<v1::TrainJob> load_job_file(const std::string& path,
                                           const std::vector<std::string>& overrides) {
  const Format format = format_of(path);
  LACONIC_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  LACONIC_RETURN_IF_ERROR(check_text(path, text, format));

  v1::TrainJob job;
  JobSource source;
  const Origin origin = {.name = path};
  if (format == Format::kTextProto) {
    read_text_proto(text, origin, job, source);
  } else {
    read_yaml(text, format, origin, job, source);
  }
  for (const std::string& assignment : overrides) {
    apply_override(assignment, job, source);
  }
  if (source.problems.empty()) {
    for (const wire::Violation& violation : wire::check_job(job)) {
      source.problems.push_back(absl::StrCat(source.location_of(violation.path), ": ",
                                             violation.path, " ", violation.description));
    }
  }
  if (!source.problems.empty()) {
    return to_status(source.problems);
  }
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the working directory cannot be read: ", error.message()));
  }
  make_paths_absolute(absolute.parent_path(), *job.mutable_spec());
  return job;
}

}  // namespace laconic::cli
