#include "worker/trainer/safetensors_writer.h"

#include <bit>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/whole_file.h"

namespace laconic::trainer {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&result, "\\", std::string(1, c));
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&result, "\\u%04x", c);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string header(const std::vector<NamedTensor>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> entries;
  std::vector<std::string> notes;
  for (const auto& [key, value] : metadata) {
    notes.push_back(absl::StrCat(quoted(key), ":", quoted(value)));
  }
  entries.push_back(absl::StrCat("\"__metadata__\":{", absl::StrJoin(notes, ","), "}"));
  size_t begin = 0;
  for (const NamedTensor& tensor : tensors) {
    const size_t end = begin + tensor.values.size_bytes();
    entries.push_back(absl::StrCat(quoted(tensor.name), ":{\"dtype\":\"F32\",\"shape\":[",
                                   absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", begin,
                                   ",", end, "]}"));
    begin = end;
  }
  std::string text = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  // The format allows spaces at the end; with them the data are aligned.
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

absl::Status write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  const std::string text = header(tensors, metadata);
  const uint64_t header_bytes = text.size();
  std::vector<std::span<const std::byte>> parts = {std::as_bytes(std::span(&header_bytes, 1)),
                                                   std::as_bytes(std::span(text))};
  for (const NamedTensor& tensor : tensors) {
    parts.push_back(std::as_bytes(tensor.values));
  }
  return result_not_written(write_whole(
      path, [&](const std::string& temporary) { return write_parts(temporary, parts); }));
}

}  // namespace laconic::trainer
