#include "worker/trainer/dataset.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {

Batch Dataset::share_batch(int64_t first, int64_t count) const {
  std::vector<int64_t> chosen(static_cast<size_t>(count));
  std::iota(chosen.begin(), chosen.end(), first);
  return share_samples(chosen);
}

absl::StatusOr<std::unique_ptr<Dataset>> load_dataset(const v1::TrainJob& job, World world) {
  switch (job.spec().data().source_case()) {
    case v1::Data::kIdx:
      return load_images(job, world);
    case v1::Data::kLibsvm:
      return load_sparse(job, world);
    case v1::Data::kBytes:
      return load_text(job, world);
    case v1::Data::SOURCE_NOT_SET:
      break;
  }
  return bad_data("spec.data names no source; allowed: one of idx, bytes, libsvm");
}

absl::StatusOr<std::vector<int64_t>> training_share(const v1::TrainJob& job, World world,
                                                    std::span<const int64_t> labels) {
  const auto samples = static_cast<int64_t>(labels.size());
  const v1::Data& data = job.spec().data();
  const uint64_t seed = job.spec().train().seed();
  if (data.has_local()) {
    return contiguous_share(samples, {.rank = 0, .world_size = 1});
  }
  if (data.shared().has_contiguous()) {
    return contiguous_share(samples, world);
  }
  if (data.shared().has_dirichlet()) {
    const v1::Dirichlet& dirichlet = data.shared().dirichlet();
    LACONIC_ASSIGN_OR_RETURN(
        std::vector<std::vector<int64_t>> shares,
        dirichlet_shares(labels, {.alpha = dirichlet.alpha(),
                                  .seed = dirichlet.has_seed() ? dirichlet.seed() : seed,
                                  .world_size = world.world_size,
                                  // Unset for full gradients.
                                  .share_min = std::max(1, job.spec().train().batch_size())}));
    return std::move(shares[static_cast<size_t>(world.rank)]);
  }
  return iid_share(samples, world, seed);
}

int64_t classes_of(const v1::Model& model) {
  switch (model.model_case()) {
    case v1::Model::kSoftmax:
      return model.softmax().classes();
    case v1::Model::kMlp:
      return model.mlp().classes();
    case v1::Model::kConv:
      return model.conv().classes();
    case v1::Model::kResnet20:
      return model.resnet20().classes();
    case v1::Model::kGpt:
    case v1::Model::kLinear:
    case v1::Model::kTorchscript:
    case v1::Model::MODEL_NOT_SET:
      break;
  }
  return 0;
}

v1::Loss loss_of(const v1::Model& model) {
  return model.has_torchscript() ? model.torchscript().loss()
         : model.has_linear()    ? model.linear().loss()
                                 : v1::CROSS_ENTROPY;
}

std::optional<int64_t> positive_class_of(const v1::Model& model) {
  return model.linear().has_positive_class()
             ? std::optional<int64_t>(model.linear().positive_class())
             : std::nullopt;
}

absl::Status check_positive_class(const v1::TrainJob& job, const std::string& path,
                                  std::span<const int64_t> labels) {
  const std::optional<int64_t> positive = positive_class_of(job.spec().model());
  if (!positive.has_value() || job.spec().data().has_local() ||
      std::find(labels.begin(), labels.end(), *positive) != labels.end()) {
    return absl::OkStatus();
  }
  return bad_data(absl::StrCat(path, ": no label is ", *positive,
                               ", which spec.model.linear.positive_class names; the largest is ",
                               *std::max_element(labels.begin(), labels.end())));
}

absl::StatusOr<int64_t> without_last_tenth(const std::string& path, int64_t samples) {
  const int64_t held_out = std::max<int64_t>(1, samples / 10);
  if (samples <= held_out) {
    return bad_data(absl::StrCat(path, ": ", samples,
                                 " samples, at least 2 are needed: the last tenth is held out "
                                 "unless the job names evaluation data"));
  }
  return samples - held_out;
}

}  // namespace laconic::trainer
