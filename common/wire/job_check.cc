#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/core/exchange_spec.h"
#include "common/core/format.h"
#include "common/wire/convex_check.h"
#include "common/wire/exchange_check.h"
#include "common/wire/job_checker.h"
#include "common/wire/job_defaults.h"
#include "common/wire/job_spec.h"
#include "common/wire/preset.h"

namespace laconic::wire {
namespace {

constexpr int64_t kBillion = 1'000'000'000;
constexpr int64_t kFeaturesMax = 10'000'000;
constexpr int64_t kClassesMax = 100'000;
constexpr int kHiddenLayersMax = 64;
constexpr size_t kNameMax = 63;
constexpr size_t kNameShownMax = 80;
constexpr int kLabelsMax = 16;
constexpr int64_t kDaySeconds = 86'400;
constexpr int64_t kDeadlineMaxSeconds = 365 * kDaySeconds;

void check_word(Checker& checker, const std::string& path, const std::string& value,
                const std::string& expected) {
  if (value.empty()) {
    checker.missing(path, expected);
  } else if (value != expected) {
    checker.add(path, absl::StrCat("is \"", value, "\"; allowed: ", expected));
  }
}

// The name of the member that is set.
std::string oneof_name(const google::protobuf::Message& message, const std::string& oneof) {
  const auto* descriptor = message.GetDescriptor()->FindOneofByName(oneof);
  return message.GetReflection()->GetOneofFieldDescriptor(message, descriptor)->name();
}

bool is_name(const std::string& name) {
  if (name.empty() || name.size() > kNameMax || name.front() == '-') {
    return false;
  }
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (!absl::ascii_islower(byte) && !absl::ascii_isdigit(byte) && c != '-') {
      return false;
    }
  }
  return true;
}

void check_metadata(Checker& checker, const v1::Metadata& metadata) {
  const std::string allowed =
      "1..63 of a-z, 0-9 and -, starting with a letter or digit, such as fashion-mnist";
  if (metadata.name().empty()) {
    checker.missing("metadata.name", allowed);
  } else if (!is_name(metadata.name())) {
    checker.add("metadata.name",
                absl::StrCat("is \"", core::shortened(metadata.name(), kNameShownMax),
                             "\"; allowed: ", allowed));
  }
  if (metadata.labels_size() > kLabelsMax) {
    checker.add("metadata.labels", absl::StrCat("has ", metadata.labels_size(),
                                                " entries; allowed: at most ", kLabelsMax));
  }
  for (const auto& [key, value] : metadata.labels()) {
    if (key.empty() || key.size() > kNameMax || value.size() > kNameMax) {
      checker.add(absl::StrCat("metadata.labels.", core::shortened(key, kNameMax)),
                  absl::StrCat("has a key of ", key.size(), " and a value of ", value.size(),
                               " bytes; allowed: keys of 1..63 and values of 0..63 bytes"));
    }
  }
}

void check_classes(Checker& checker, const std::string& path, bool set, int64_t classes) {
  if (set) {
    checker.integer(path + ".classes", classes, 2, kClassesMax);
  }
}

template <typename Dense>
void check_dense_model(Checker& checker, const std::string& path, const Dense& model) {
  if (model.has_features()) {
    checker.integer(path + ".features", model.features(), 1, kFeaturesMax);
  }
  check_classes(checker, path, model.has_classes(), model.classes());
}

void check_mlp(Checker& checker, const std::string& path, const v1::Mlp& mlp) {
  if (mlp.hidden_size() > kHiddenLayersMax) {
    checker.add(path + ".hidden", absl::StrCat("has ", mlp.hidden_size(),
                                               " layers; allowed: at most ", kHiddenLayersMax));
  } else {
    for (int i = 0; i < mlp.hidden_size(); ++i) {
      checker.integer(absl::StrCat(path, ".hidden[", i, "]"), mlp.hidden(i), 1, 65536);
    }
  }
  check_dense_model(checker, path, mlp);
}

template <typename Image>
void check_image_model(Checker& checker, const std::string& path, const Image& model,
                       int64_t side_min) {
  if (model.has_channels()) {
    checker.integer(path + ".channels", model.channels(), 1, 64);
  }
  if (model.has_height()) {
    checker.integer(path + ".height", model.height(), side_min, 1024);
  }
  if (model.has_width()) {
    checker.integer(path + ".width", model.width(), side_min, 1024);
  }
  check_classes(checker, path, model.has_classes(), model.classes());
}

void check_gpt(Checker& checker, const std::string& path, const v1::Gpt& given) {
  v1::Model model;
  *model.mutable_gpt() = given;
  const v1::Gpt gpt = with_model_defaults(model).gpt();
  checker.integer(path + ".layers", gpt.layers(), 1, 128);
  checker.integer(path + ".width", gpt.width(), 8, 16384);
  checker.integer(path + ".heads", gpt.heads(), 1, 256);
  checker.integer(path + ".context", gpt.context(), 8, 65536);
  if (gpt.heads() >= 1 && gpt.width() >= 8 && gpt.width() % gpt.heads() != 0) {
    checker.add(path + ".width", absl::StrCat("is ", gpt.width(), " with ", gpt.heads(),
                                              " heads; allowed: a multiple of heads"));
  }
}

void check_loss(Checker& checker, const std::string& path, v1::Loss loss, bool cross_entropy) {
  const std::string allowed = cross_entropy ? "CROSS_ENTROPY, MSE or LOGISTIC" : "MSE or LOGISTIC";
  if (loss == v1::LOSS_UNSPECIFIED) {
    checker.missing(path, allowed);
  } else if (!v1::Loss_IsValid(loss)) {
    checker.add(path, absl::StrCat("is ", static_cast<int>(loss), "; allowed: ", allowed));
  } else if (loss == v1::CROSS_ENTROPY && !cross_entropy) {
    checker.add(path,
                absl::StrCat("is CROSS_ENTROPY, which needs an output for each class; allowed: ",
                             allowed, ", or the model softmax"));
  }
}

void check_linear(Checker& checker, const std::string& path, const v1::Linear& model) {
  if (model.has_features()) {
    checker.integer(path + ".features", model.features(), 1, kFeaturesMax);
  }
  check_loss(checker, path + ".loss", model.loss(), /*cross_entropy=*/false);
  if (model.has_positive_class()) {
    checker.integer(path + ".positive_class", model.positive_class(), 0, kClassesMax - 1);
  }
}

void check_torchscript(Checker& checker, const std::string& path, const v1::TorchScript& model) {
  checker.file(path + ".file", model.file(), /*required=*/true);
  check_loss(checker, path + ".loss", model.loss(), /*cross_entropy=*/true);
}

void check_model(Checker& checker, const v1::Model& model) {
  const std::string path = "spec.model";
  switch (model.model_case()) {
    case v1::Model::kSoftmax:
      return check_dense_model(checker, path + ".softmax", model.softmax());
    case v1::Model::kMlp:
      return check_mlp(checker, path + ".mlp", model.mlp());
    case v1::Model::kConv:
      return check_image_model(checker, path + ".conv", model.conv(), 4);
    case v1::Model::kResnet20:
      return check_image_model(checker, path + ".resnet20", model.resnet20(), 8);
    case v1::Model::kGpt:
      return check_gpt(checker, path + ".gpt", model.gpt());
    case v1::Model::kTorchscript:
      return check_torchscript(checker, path + ".torchscript", model.torchscript());
    case v1::Model::kLinear:
      return check_linear(checker, path + ".linear", model.linear());
    case v1::Model::MODEL_NOT_SET:
      return checker.missing(path, "one of softmax, mlp, conv, resnet20, gpt, torchscript, linear");
  }
}

void check_idx(Checker& checker, const v1::Idx& idx) {
  const std::string path = "spec.data.idx";
  checker.file(path + ".train_images", idx.train_images(), /*required=*/true);
  checker.file(path + ".train_labels", idx.train_labels(), /*required=*/true);
  checker.file(path + ".eval_images", idx.eval_images(), /*required=*/false);
  checker.file(path + ".eval_labels", idx.eval_labels(), /*required=*/false);
  if (idx.eval_images().empty() != idx.eval_labels().empty()) {
    const bool no_images = idx.eval_images().empty();
    checker.add(path + (no_images ? ".eval_images" : ".eval_labels"),
                absl::StrCat("is missing; allowed: both eval_images and eval_labels, or neither (",
                             no_images ? "eval_labels" : "eval_images", " is set)"));
  }
}

void check_source(Checker& checker, const v1::Data& data) {
  switch (data.source_case()) {
    case v1::Data::kIdx:
      return check_idx(checker, data.idx());
    case v1::Data::kBytes:
      checker.file("spec.data.bytes.path", data.bytes().path(), /*required=*/true);
      if (data.bytes().has_eval_fraction()) {
        checker.number("spec.data.bytes.eval_fraction", data.bytes().eval_fraction(),
                       {.low = 0.001, .high = 0.5});
      }
      return;
    case v1::Data::kLibsvm:
      checker.file("spec.data.libsvm.train_file", data.libsvm().train_file(), /*required=*/true);
      checker.file("spec.data.libsvm.eval_file", data.libsvm().eval_file(), /*required=*/false);
      if (data.libsvm().has_features()) {
        checker.integer("spec.data.libsvm.features", data.libsvm().features(), 1, kFeaturesMax);
      }
      return;
    case v1::Data::SOURCE_NOT_SET:
      return checker.missing("spec.data", "one of idx, bytes, libsvm");
  }
}

void check_split(Checker& checker, const v1::Data& data) {
  if (data.split_case() == v1::Data::SPLIT_NOT_SET) {
    checker.missing("spec.data.shared",
                    "one of shared (every node has all data) and local (each has its share)");
  }
  if (!data.shared().has_dirichlet()) {
    return;
  }
  const std::string path = "spec.data.shared.dirichlet";
  const v1::Dirichlet& dirichlet = data.shared().dirichlet();
  checker.required_number(path + ".alpha", dirichlet.has_alpha(), dirichlet.alpha(),
                          {.low = 0.01, .high = 1000});
  if (data.has_bytes()) {
    checker.add(path, "is set with data.bytes, which have no classes; allowed: iid or contiguous");
  }
}

// Which data a model can be trained on.
void check_model_fits_data(Checker& checker, const v1::Model& model, const v1::Data& data) {
  if (model.model_case() == v1::Model::MODEL_NOT_SET ||
      data.source_case() == v1::Data::SOURCE_NOT_SET) {
    return;
  }
  const bool images_only = model.has_conv() || model.has_resnet20();
  const bool fits = model.has_gpt() ? data.has_bytes()
                    : images_only   ? data.has_idx()
                                    : !data.has_bytes();
  if (!fits) {
    const std::string source = data.has_idx() ? "idx" : data.has_bytes() ? "bytes" : "libsvm";
    checker.add("spec.data." + source,
                absl::StrCat("does not suit the model ", oneof_name(model, "model"), "; allowed: ",
                             model.has_gpt() ? "bytes"
                             : images_only   ? "idx"
                                             : "idx or libsvm"));
  }
}

constexpr Range kLearningRate = {.low = 0, .high = 100, .above = true};
constexpr Range kBeta = {.low = 0, .high = 0.99999};
constexpr Range kWeightDecay = {.low = 0, .high = 10};

void check_adamw(Checker& checker, const std::string& path, const v1::AdamW& adamw,
                 bool rate_required) {
  if (rate_required || adamw.has_learning_rate()) {
    checker.required_number(path + ".learning_rate", adamw.has_learning_rate(),
                            adamw.learning_rate(), kLearningRate);
  }
  if (adamw.has_beta1()) {
    checker.number(path + ".beta1", adamw.beta1(), kBeta);
  }
  if (adamw.has_beta2()) {
    checker.number(path + ".beta2", adamw.beta2(), kBeta);
  }
  if (adamw.has_epsilon()) {
    checker.number(path + ".epsilon", adamw.epsilon(), {.low = 0, .high = 1, .above = true});
  }
  checker.number(path + ".weight_decay", adamw.weight_decay(), kWeightDecay);
}

template <typename MomentumOptimizer>
void check_momentum_optimizer(Checker& checker, const std::string& path,
                              const MomentumOptimizer& optimizer) {
  checker.required_number(path + ".learning_rate", optimizer.has_learning_rate(),
                          optimizer.learning_rate(), kLearningRate);
  if (optimizer.has_momentum()) {
    checker.number(path + ".momentum", optimizer.momentum(), kMomentum);
  }
  checker.number(path + ".weight_decay", optimizer.weight_decay(), kWeightDecay);
}

void check_optimizer(Checker& checker, const v1::Optimizer& optimizer) {
  const std::string path = "spec.train.optimizer";
  switch (optimizer.optimizer_case()) {
    case v1::Optimizer::kSgd:
      check_momentum_optimizer(checker, path + ".sgd", optimizer.sgd());
      if (optimizer.sgd().nesterov() && optimizer.sgd().has_momentum() &&
          optimizer.sgd().momentum() == 0) {
        checker.add(path + ".sgd.nesterov",
                    "is true with momentum 0; allowed: true with a momentum above 0");
      }
      return;
    case v1::Optimizer::kAdamw:
      return check_adamw(checker, path + ".adamw", optimizer.adamw(), /*rate_required=*/true);
    case v1::Optimizer::kMuon:
      check_momentum_optimizer(checker, path + ".muon", optimizer.muon());
      return check_adamw(checker, path + ".muon.adamw", optimizer.muon().adamw(),
                         /*rate_required=*/false);
    case v1::Optimizer::OPTIMIZER_NOT_SET:
      return checker.missing(path, "one of sgd, adamw, muon");
  }
}

bool loss_is_cross_entropy(const v1::Model& model) {
  return model.has_torchscript() ? model.torchscript().loss() == v1::CROSS_ENTROPY
                                 : !model.has_linear();
}

void check_checkpoint(Checker& checker, const v1::Checkpoint& checkpoint) {
  const std::string path = "spec.train.checkpoint";
  if (checkpoint.directory().empty()) {
    checker.missing(path + ".directory", "the path of a directory on the nodes");
  }
  checker.file(path + ".directory", checkpoint.directory(), /*required=*/false);
  if (checkpoint.has_every_steps()) {
    checker.integer(path + ".every_steps", checkpoint.every_steps(), 1, kBillion);
  }
}

void check_train(Checker& checker, const v1::TrainJobSpec& spec) {
  const v1::Train& train = spec.train();
  const std::string path = "spec.train";
  checker.required_integer(path + ".steps", train.has_steps(), train.steps(), 1, kBillion);
  if (train.has_eval_every_steps()) {
    checker.integer(path + ".eval_every_steps", train.eval_every_steps(), 1, kBillion);
  }
  if (train.has_eval_samples()) {
    checker.integer(path + ".eval_samples", train.eval_samples(), 1, kBillion);
  }
  if (train.has_checkpoint()) {
    check_checkpoint(checker, train.checkpoint());
  }
  if (spec.exchange().has_convex()) {
    return check_convex_train(checker, train);
  }
  if (train.has_batch_size()) {
    checker.integer(path + ".batch_size", train.batch_size(), 1, 1'000'000);
  }
  check_optimizer(checker, train.optimizer());
  checker.integer(path + ".schedule.warmup_steps", train.schedule().warmup_steps(), 0, kBillion);
  if (train.schedule().has_final_ratio()) {
    checker.number(path + ".schedule.final_ratio", train.schedule().final_ratio(),
                   {.low = 0, .high = 1});
  }
  if (train.has_clip_norm()) {
    checker.number(path + ".clip_norm", train.clip_norm(), {.low = 0, .above = true});
  }
  checker.number(path + ".logit_adjustment", train.logit_adjustment(), {.low = 0, .high = 4});
  if (train.logit_adjustment() > 0 && !loss_is_cross_entropy(spec.model())) {
    checker.add(path + ".logit_adjustment",
                "is set and the model's loss is not CROSS_ENTROPY; allowed: unset");
  }
}

void check_workers(Checker& checker, const v1::Workers& workers, bool convex) {
  if (workers.has_count()) {
    checker.integer("spec.workers.count", workers.count(), 1, kWorkersMax);
  }
  if (workers.has_threads_per_rank()) {
    checker.integer("spec.workers.threads_per_rank", workers.threads_per_rank(), 1, 256);
  }
  if (!v1::Workers::Device_IsValid(workers.device())) {
    checker.add("spec.workers.device", absl::StrCat("is ", static_cast<int>(workers.device()),
                                                    "; allowed: AUTO, CPU or CUDA"));
  } else if (convex && workers.device() == v1::Workers::CUDA) {
    checker.add("spec.workers.device",
                "is CUDA with exchange.convex, which computes on the CPU; allowed: AUTO or CPU");
  }
}

void check_limits(Checker& checker, const v1::Limits& limits) {
  if (limits.has_queue_deadline()) {
    checker.duration("spec.limits.queue_deadline", limits.queue_deadline(), kDeadlineMaxSeconds,
                     "1s..365d");
  }
  if (limits.has_active_deadline()) {
    checker.duration("spec.limits.active_deadline", limits.active_deadline(), kDeadlineMaxSeconds,
                     "1s..365d");
  }
}

}  // namespace

std::vector<Violation> check_job(const v1::TrainJob& asked) {
  const v1::TrainJob job = with_preset(asked);
  Checker checker;
  check_word(checker, "api_version", job.api_version(), "laconic.v1");
  check_word(checker, "kind", job.kind(), "TrainJob");
  check_metadata(checker, job.metadata());
  const v1::TrainJobSpec& spec = job.spec();
  if (!v1::Preset_IsValid(spec.preset())) {
    checker.add("spec.preset", absl::StrCat("is ", static_cast<int>(spec.preset()),
                                            "; allowed: ", preset_names()));
  }
  check_workers(checker, spec.workers(), spec.exchange().has_convex());
  check_model(checker, spec.model());
  check_source(checker, spec.data());
  check_split(checker, spec.data());
  check_model_fits_data(checker, spec.model(), spec.data());
  check_train(checker, spec);
  check_exchange(checker, spec);
  check_limits(checker, spec.limits());
  checker.file("spec.result.directory", spec.result().directory(), /*required=*/false);
  return checker.take();
}

}  // namespace laconic::wire
