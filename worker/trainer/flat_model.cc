#include "worker/trainer/flat_model.h"

#include <algorithm>
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

absl::StatusOr<std::unique_ptr<FlatModel>> FlatModel::create(Model& model, HostMemory memory) {
  const std::vector<Parameter> parameters = distinct(model.parameters());
  int64_t elements = 0;
  for (const Parameter& parameter : parameters) {
    if (parameter.value.scalar_type() != torch::kFloat32 ||
        parameter.value.device() != parameters.front().value.device()) {
      return bad_model(
          absl::StrCat("parameter ", parameter.name, " is ", parameter.value.toString(),
                       "; only float32 on one device is trained: call model.float().cpu() "
                       "before saving it"));
    }
    elements += parameter.value.numel();
  }
  if (elements == 0) {
    return bad_model("the model has no parameter that requires a gradient: nothing to train");
  }
  const torch::Device device = parameters.front().value.device();
  auto flat = std::unique_ptr<FlatModel>(new FlatModel());
  flat->parameters_ = torch::zeros({elements}, device);
  flat->gradients_ = torch::zeros({elements}, device);
  if (memory == HostMemory::kApart || !device.is_cpu()) {
    // Pinned memory is what a GPU copies at full speed.
    const auto host = torch::TensorOptions(torch::kCPU).pinned_memory(device.is_cuda());
    flat->host_parameters_ = torch::zeros({elements}, host);
    flat->host_gradients_ = torch::zeros({elements}, host);
  }
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
  return {.parameters = span_of(is_copied() ? host_parameters_ : parameters_),
          .gradients = span_of(is_copied() ? host_gradients_ : gradients_)};
}

void FlatModel::copy_to_view(const sync::ViewUse& use) {
  const torch::NoGradGuard no_grad;
  if (is_copied() && use.parameters != sync::Access::kNone) {
    host_parameters_.copy_(parameters_);
  }
  if (is_copied() && use.gradients != sync::Access::kNone) {
    host_gradients_.copy_(gradients_);
  }
}

void FlatModel::copy_from_view(const sync::ViewUse& use) {
  const torch::NoGradGuard no_grad;
  if (is_copied() && use.parameters == sync::Access::kReadWrite) {
    parameters_.copy_(host_parameters_);
  }
  if (is_copied() && use.gradients == sync::Access::kReadWrite) {
    gradients_.copy_(host_gradients_);
  }
}

std::span<const float> FlatModel::host_parameters() {
  copy_to_view({.parameters = sync::Access::kRead, .gradients = sync::Access::kNone});
  return view().parameters;
}

std::span<const float> FlatModel::host_gradients() {
  copy_to_view({.parameters = sync::Access::kNone, .gradients = sync::Access::kRead});
  return view().gradients;
}

void FlatModel::swap_parameters(std::span<float> other) {
  const sync::ViewUse use = {.parameters = sync::Access::kReadWrite,
                             .gradients = sync::Access::kNone};
  copy_to_view(use);
  std::swap_ranges(other.begin(), other.end(), view().parameters.begin());
  copy_from_view(use);
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
