#include <algorithm>

#include "common/core/status_macros.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/libsvm_reader.h"

namespace laconic::trainer {
namespace {

constexpr int64_t kEvalBatch = 256;

struct LabelledRows {
  SparseRows rows;
  std::vector<int64_t> classes;  // Empty when labels are numbers.
};

class SparseDataset : public Dataset {
 public:
  struct Parts {
    LabelledRows train;
    LabelledRows eval;
    int64_t train_count = 0;  // The first ones of `train`.
    bool held_out = false;    // Evaluate on the rest of `train` instead of `eval`.
    bool float_labels = false;
    std::optional<int64_t> positive;  // This class is 1, the others are 0.
    int64_t features = 0;
    int64_t batch_size = 0;
  };

  SparseDataset(Parts parts, SampleOrder order)
      : parts_(std::move(parts)), order_(std::move(order)) {}

  DataShape shape() const override {
    int64_t classes = 0;
    for (const LabelledRows* part : {&parts_.train, &parts_.eval}) {
      for (const int64_t label : part->classes) {
        classes = std::max(classes, label + 1);
      }
    }
    return {.tokens = false,
            .images = false,
            .channels = 1,
            .height = 1,
            .width = parts_.features,
            .features = parts_.features,
            .classes = classes};
  }

  int64_t samples() const override { return order_.size(); }
  Batch share_samples(std::span<const int64_t> chosen) const override {
    return gather(parts_.train, order_.pick(chosen), /*first=*/0);
  }
  Batch next_batch() override {
    return gather(parts_.train, order_.next(parts_.batch_size), /*first=*/0);
  }
  void skip_batches(int64_t batches) override { order_.skip(batches * parts_.batch_size); }

  int64_t eval_samples() const override {
    return parts_.held_out ? parts_.train.rows.count() - parts_.train_count
                           : parts_.eval.rows.count();
  }
  int64_t eval_batch_size() const override { return kEvalBatch; }
  Batch eval_batch(std::span<const int64_t> samples) const override {
    return parts_.held_out ? gather(parts_.train, samples, parts_.train_count)
                           : gather(parts_.eval, samples, 0);
  }

  std::map<std::string, std::string> preparation() const override { return {}; }

 private:
  Batch gather(const LabelledRows& part, std::span<const int64_t> samples, int64_t first) const {
    const auto count = static_cast<int64_t>(samples.size());
    Batch batch{
        .inputs = torch::zeros({count, parts_.features}),
        .labels = torch::empty({count}, parts_.float_labels ? torch::kFloat32 : torch::kInt64)};
    for (size_t i = 0; i < samples.size(); ++i) {
      const auto row = static_cast<size_t>(first + samples[i]);
      float* out = batch.inputs.data_ptr<float>() + static_cast<int64_t>(i) * parts_.features;
      for (auto entry = static_cast<size_t>(part.rows.row_begin[row]);
           entry < static_cast<size_t>(part.rows.row_begin[row + 1]); ++entry) {
        out[part.rows.columns[entry]] = part.rows.values[entry];
      }
      set_label(part, row, i, batch.labels);
    }
    return batch;
  }

  void set_label(const LabelledRows& part, size_t row, size_t i, torch::Tensor& labels) const {
    if (parts_.positive.has_value()) {
      labels.data_ptr<float>()[i] = part.classes[row] == *parts_.positive ? 1 : 0;
    } else if (!parts_.float_labels) {
      labels.data_ptr<int64_t>()[i] = part.classes[row];
    } else {
      labels.data_ptr<float>()[i] =
          part.classes.empty() ? part.rows.labels[row] : static_cast<float>(part.classes[row]);
    }
  }

  const Parts parts_;
  SampleOrder order_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> load_sparse(const v1::TrainJob& job, World world) {
  const v1::LibSvm& spec = job.spec().data().libsvm();
  const v1::Loss loss = loss_of(job.spec().model());
  SparseDataset::Parts parts;
  parts.batch_size = job.spec().train().batch_size();
  parts.float_labels = loss != v1::CROSS_ENTROPY;
  parts.positive = positive_class_of(job.spec().model());
  parts.held_out = spec.eval_file().empty();
  LACONIC_ASSIGN_OR_RETURN(parts.train.rows, read_libsvm(spec.train_file(), spec.features()));
  parts.train_count = parts.train.rows.count();
  if (parts.held_out) {
    LACONIC_ASSIGN_OR_RETURN(parts.train_count,
                             without_last_tenth(spec.train_file(), parts.train_count));
  } else {
    LACONIC_ASSIGN_OR_RETURN(parts.eval.rows, read_libsvm(spec.eval_file(), spec.features()));
  }
  parts.features =
      spec.features() > 0
          ? spec.features()
          : std::max({parts.train.rows.features, parts.eval.rows.features, int64_t{1}});
  std::vector<int64_t> labels(static_cast<size_t>(parts.train_count));
  if (loss != v1::MSE || parts.positive.has_value()) {
    const int64_t classes =
        loss == v1::LOGISTIC && !parts.positive.has_value() ? 2 : classes_of(job.spec().model());
    const bool negative = has_minus_one(parts.train.rows) || has_minus_one(parts.eval.rows);
    for (LabelledRows* part : {&parts.train, &parts.eval}) {
      LACONIC_ASSIGN_OR_RETURN(part->classes, class_labels(part->rows, negative, classes));
    }
    std::copy_n(parts.train.classes.begin(), labels.size(), labels.begin());
    LACONIC_RETURN_IF_ERROR(check_positive_class(job, spec.train_file(), labels));
  }
  LACONIC_ASSIGN_OR_RETURN(std::vector<int64_t> share, training_share(job, world, labels));
  SampleOrder order(std::move(share), job.spec().train().seed(), world.rank);
  return std::make_unique<SparseDataset>(std::move(parts), std::move(order));
}

}  // namespace laconic::trainer
