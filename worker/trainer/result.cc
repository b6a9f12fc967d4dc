#include "worker/trainer/result.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/safetensors_writer.h"
#include "worker/trainer/whole_file.h"

namespace laconic::trainer {
namespace {

namespace fs = std::filesystem;

absl::Status no_place(const std::string& directory, const std::string& why) {
  return result_not_written(absl::InternalError(absl::StrCat(directory, ": ", why)));
}

// c10 throws one exception type for everything, full disks included.
absl::Status save_script(Model& model, const std::string& path) {
  return result_not_written(write_whole(path, [&](const std::string& temporary) {
    try {
      return model.save(temporary);
    } catch (const std::exception& error) {
      return no_place(path, first_line(error.what()));
    }
  }));
}

}  // namespace

absl::Status prepare_result_directory(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return no_place(directory, error.message());
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    return no_place(directory, std::generic_category().message(errno));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> write_result(
    const std::string& directory, Model& model, const FlatModel& flat,
    const std::map<std::string, std::string>& metadata) {
  LACONIC_RETURN_IF_ERROR(prepare_result_directory(directory));
  const fs::path absolute = fs::absolute(directory).lexically_normal();
  const torch::Tensor parameters = flat.parameters().cpu();  // The same memory if it is there.
  const auto* values = parameters.data_ptr<float>();
  std::vector<NamedTensor> tensors;
  for (const FlatTensor& tensor : flat.tensors()) {
    const auto elements = static_cast<size_t>(tensor.value.numel());
    tensors.push_back({.name = tensor.name, .shape = tensor.shape, .values = {values, elements}});
    values += elements;
  }
  std::vector<std::string> files = {(absolute / "model.safetensors").string()};
  LACONIC_RETURN_IF_ERROR(write_safetensors(files.back(), tensors, metadata));
  if (model.is_script()) {
    files.push_back((absolute / "model.pt").string());
    LACONIC_RETURN_IF_ERROR(save_script(model, files.back()));
  }
  return files;
}

}  // namespace laconic::trainer
