#include "worker/trainer/optimizer.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

// Of a contiguous float32 tensor in host memory.
std::span<float> numbers(const torch::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

// A contiguous float32 tensor on any device.
void save_tensor(core::StateWriter& writer, const torch::Tensor& tensor) {
  const torch::Tensor host = tensor.cpu();  // The same memory if it is there.
  writer.floats(numbers(host));
}

absl::Status restore_tensor(core::StateReader& reader, torch::Tensor tensor) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor host = tensor.cpu();
  LACONIC_RETURN_IF_ERROR(reader.floats(numbers(host)));
  tensor.copy_(host);
  return absl::OkStatus();
}

class Sgd : public Optimizer {
 public:
  Sgd(const FlatModel& model, const v1::Sgd& spec)
      : parameters_(model.parameters()),
        gradients_(model.gradients()),
        rate_(spec.learning_rate()),
        momentum_(spec.momentum()),
        weight_decay_(spec.weight_decay()),
        nesterov_(spec.nesterov()) {
    if (momentum_ != 0) {
      velocity_ = torch::zeros_like(parameters_);  // 0 momentum + g is g, as the first step wants
    }
  }

  void step(double rate_factor) override {
    const torch::NoGradGuard no_grad;
    torch::Tensor update =
        weight_decay_ == 0 ? gradients_ : gradients_.add(parameters_, weight_decay_);
    if (momentum_ != 0) {
      velocity_.mul_(momentum_).add_(update);
      update = nesterov_ ? update.add(velocity_, momentum_) : velocity_;
    }
    parameters_.sub_(update, rate_ * rate_factor);
  }

  void save(core::StateWriter& writer) const override {
    if (velocity_.defined()) {
      save_tensor(writer, velocity_);
    }
  }
  absl::Status restore(core::StateReader& reader) override {
    return velocity_.defined() ? restore_tensor(reader, velocity_) : absl::OkStatus();
  }

 private:
  torch::Tensor parameters_;
  torch::Tensor gradients_;
  const double rate_;
  const double momentum_;
  const double weight_decay_;
  const bool nesterov_;
  torch::Tensor velocity_;  // m, [d]; undefined without momentum
};

class AdamW : public Optimizer {
 public:
  AdamW(const FlatModel& model, const v1::AdamW& spec, AdamScope scope) : spec_(spec) {
    for (const FlatTensor& tensor : model.tensors()) {
      if (scope == AdamScope::kAll || tensor.role == ParameterRole::kOther) {
        moments_.push_back({.tensor = tensor,
                            .first = torch::zeros_like(tensor.value),
                            .second = torch::zeros_like(tensor.value)});
      }
    }
  }

  void step(double rate_factor) override {
    const torch::NoGradGuard no_grad;
    ++steps_;
    const double rate = spec_.learning_rate() * rate_factor;
    const double first_correction = 1 - std::pow(spec_.beta1(), steps_);
    const double second_correction = 1 - std::pow(spec_.beta2(), steps_);
    for (Moments& moments : moments_) {
      torch::Tensor& value = moments.tensor.value;
      const torch::Tensor& gradient = moments.tensor.gradient;
      if (moments.tensor.is_matrix()) {
        value.mul_(1 - rate * spec_.weight_decay());
      }
      moments.first.mul_(spec_.beta1()).add_(gradient, 1 - spec_.beta1());
      moments.second.mul_(spec_.beta2()).addcmul_(gradient, gradient, 1 - spec_.beta2());
      const torch::Tensor divisor =
          moments.second.sqrt().div_(std::sqrt(second_correction)).add_(spec_.epsilon());
      value.addcdiv_(moments.first, divisor, -rate / first_correction);
    }
  }

  void save(core::StateWriter& writer) const override {
    writer.integer(steps_);
    for (const Moments& moments : moments_) {
      save_tensor(writer, moments.first);
      save_tensor(writer, moments.second);
    }
  }
  absl::Status restore(core::StateReader& reader) override {
    LACONIC_ASSIGN_OR_RETURN(
        steps_, reader.integer("optimizer step", 0, std::numeric_limits<int64_t>::max()));
    for (const Moments& moments : moments_) {
      LACONIC_RETURN_IF_ERROR(restore_tensor(reader, moments.first));
      LACONIC_RETURN_IF_ERROR(restore_tensor(reader, moments.second));
    }
    return absl::OkStatus();
  }

 private:
  struct Moments {
    FlatTensor tensor;
    torch::Tensor first;   // m
    torch::Tensor second;  // v
  };

  const v1::AdamW spec_;
  std::vector<Moments> moments_;
  int64_t steps_ = 0;  // t
};

class Muon : public Optimizer {
 public:
  Muon(const FlatModel& model, const v1::Muon& spec, torch::Dtype products)
      : spec_(spec), products_(products), rest_(model, spec.adamw(), AdamScope::kOther) {
    for (const FlatTensor& tensor : model.tensors()) {
      if (tensor.role == ParameterRole::kHidden) {
        hidden_.push_back({.tensor = tensor, .velocity = torch::zeros_like(tensor.value)});
      }
    }
  }

  void step(double rate_factor) override {
    const torch::NoGradGuard no_grad;
    const double rate = spec_.learning_rate() * rate_factor;
    for (Hidden& hidden : hidden_) {
      torch::Tensor& value = hidden.tensor.value;
      const torch::Tensor& gradient = hidden.tensor.gradient;
      hidden.velocity.mul_(spec_.momentum()).add_(gradient);
      const torch::Tensor direction =
          orthogonalize(gradient.add(hidden.velocity, spec_.momentum()), products_);
      const double aspect = static_cast<double>(value.size(0)) / static_cast<double>(value.size(1));
      value.mul_(1 - rate * spec_.weight_decay());
      value.sub_(direction, rate * std::sqrt(std::max(1.0, aspect)));
    }
    rest_.step(rate_factor);
  }

  void save(core::StateWriter& writer) const override {
    for (const Hidden& hidden : hidden_) {
      save_tensor(writer, hidden.velocity);
    }
    rest_.save(writer);
  }
  absl::Status restore(core::StateReader& reader) override {
    for (const Hidden& hidden : hidden_) {
      LACONIC_RETURN_IF_ERROR(restore_tensor(reader, hidden.velocity));
    }
    return rest_.restore(reader);
  }

 private:
  struct Hidden {
    FlatTensor tensor;
    torch::Tensor velocity;  // m
  };

  const v1::Muon spec_;
  const torch::Dtype products_;
  std::vector<Hidden> hidden_;
  AdamW rest_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const FlatModel& model, const v1::Sgd& spec) {
  return std::make_unique<Sgd>(model, spec);
}

std::unique_ptr<Optimizer> make_adamw(const FlatModel& model, const v1::AdamW& spec,
                                      AdamScope scope) {
  return std::make_unique<AdamW>(model, spec, scope);
}

std::unique_ptr<Optimizer> make_muon(const FlatModel& model, const v1::Muon& spec,
                                     torch::Dtype products) {
  return std::make_unique<Muon>(model, spec, products);
}

torch::Tensor orthogonalize(const torch::Tensor& matrix, torch::Dtype products) {
  // Coefficients of the quintic x -> a x + b x^3 + c x^5, tuned for a steep rise at zero.
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
  constexpr int kNewtonSchulzSteps = 5;
  constexpr double kTiny = 1e-7;  // a zero gradient stays zero
  // X X^T is smaller the fewer rows X has.
  const bool tall = matrix.size(0) > matrix.size(1);
  torch::Tensor x = tall ? matrix.t() : matrix;
  x = (x / (x.norm() + kTiny)).to(products);
  for (int i = 0; i < kNewtonSchulzSteps; ++i) {
    const torch::Tensor gram = torch::mm(x, x.t());
    const torch::Tensor polynomial = torch::addmm(gram, gram, gram, kB, kC);
    x = torch::addmm(x, polynomial, x, kA, 1);
  }
  x = x.to(torch::kFloat32);
  return tall ? x.t() : x;
}

absl::StatusOr<std::unique_ptr<Optimizer>> make_optimizer(const v1::Train& spec,
                                                          const FlatModel& model) {
  const v1::Optimizer& optimizer = spec.optimizer();
  switch (optimizer.optimizer_case()) {
    case v1::Optimizer::kSgd:
      return make_sgd(model, optimizer.sgd());
    case v1::Optimizer::kAdamw:
      return make_adamw(model, optimizer.adamw(), AdamScope::kAll);
    case v1::Optimizer::kMuon:
      return make_muon(
          model, optimizer.muon(),
          spec.precision() == v1::Train::BFLOAT16 ? torch::kBFloat16 : torch::kFloat32);
    case v1::Optimizer::OPTIMIZER_NOT_SET:
      break;
  }
  return failure(absl::StatusCode::kInvalidArgument, kBadJob,
                 "spec.train.optimizer is missing; allowed: one of sgd, adamw, muon");
}

}  // namespace laconic::trainer
