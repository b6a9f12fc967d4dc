// The trained model as files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/flat_model.h"
#include "worker/trainer/models.h"

namespace laconic::trainer {

// Makes `directory` if it is missing and checks that files can be made in it: asked before
// training, so that nobody learns after hours that the result has no place. Errors: Internal,
// reason RESULT_NOT_WRITTEN, with path and system error.
absl::Status prepare_result_directory(const std::string& directory);

// Writes model.safetensors, and model.pt when the model came as TorchScript. Do not train on
// afterwards: the model's parameters are no views of `flat` any more.
//
//   returns  absolute paths of what was written
//
// Errors: Internal, reason RESULT_NOT_WRITTEN.
absl::StatusOr<std::vector<std::string>> write_result(
    const std::string& directory, Model& model, const FlatModel& flat,
    const std::map<std::string, std::string>& metadata);

}  // namespace laconic::trainer
