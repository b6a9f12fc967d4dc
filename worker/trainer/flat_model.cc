#include "worker/trainer/flat_model.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

std::span<float> span_of(const torch::Tensor& vector) {
  return {vector.data_ptr<float>(), static_cast<size_t>(vector.numel())};
}

// A tensor that occurs twice in a TorchScript model (tied weights) is trained once.
std::vector<Parameter> distinct(std::vector<Parameter> parameters) {
  std::set<const void*> seen;
  std::vector<Parameter> result;
  for (Parameter& parameter : parameters) {
    if (parameter.value.numel() > 0 && seen.insert(parameter.value.unsafeGetTensorImpl()).second) {
      result.push_back(std::move(parameter));
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FlatModel>> FlatModel::create(Model& model) {
  const std::vector<Parameter> parameters = distinct(model.parameters());
  int64_t elements = 0;
  for (const Parameter& parameter : parameters) {
    if (parameter.value.scalar_type() != torch::kFloat32 || !parameter.value.device().is_cpu()) {
      return bad_model(
          absl::StrCat("parameter ", parameter.name, " is ", parameter.value.toString(),
                       "; only float32 on the CPU is trained: call model.float().cpu() "
                       "before saving it"));
    }
    elements += parameter.value.numel();
  }
  if (elements == 0) {
    return bad_model("the model has no parameter that requires a gradient: nothing to train");
  }
  auto flat = std::unique_ptr<FlatModel>(new FlatModel());
  flat->parameters_ = torch::zeros({elements});
  flat->gradients_ = torch::zeros({elements});
  int64_t begin = 0;
  for (const Parameter& parameter : parameters) {
    torch::Tensor value = parameter.value;
    const int64_t count = value.numel();
    const int64_t rows = value.dim() >= 2 ? value.size(0) : 1;
    const torch::Tensor place = flat->parameters_.narrow(0, begin, count);
    const torch::Tensor gradient = flat->gradients_.narrow(0, begin, count);
    place.copy_(value.detach().reshape({-1}));
    value.set_data(place.view(value.sizes()));
    value.mutable_grad() = gradient.view(value.sizes());
    flat->tensors_.push_back({.name = parameter.name,
                              .role = parameter.role,
                              .shape = value.sizes().vec(),
                              .value = place.view({rows, -1}),
                              .gradient = gradient.view({rows, -1})});
    flat->layout_.tensors.push_back(
        {.name = parameter.name, .rows = rows, .columns = count / rows});
    begin += count;
  }
  return flat;
}

sync::ModelView FlatModel::view() const {
  return {.parameters = span_of(parameters_), .gradients = span_of(gradients_)};
}

void FlatModel::zero_gradients() {
  gradients_.zero_();
}

void FlatModel::clip_gradients(double norm_max) {
  const double norm = gradients_.norm().item<double>();
  if (norm > norm_max) {
    gradients_.mul_(norm_max / norm);
  }
}

}  // namespace laconic::trainer
