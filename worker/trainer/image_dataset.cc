#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/idx_reader.h"

namespace laconic::trainer {
namespace {

constexpr int64_t kEvalBatch = 256;

// Pixels of the training file, scaled to 0..1: their mean and standard deviation.
struct PixelScale {
  double mean = 0;
  double deviation = 1;
};

PixelScale measure(std::span<const uint8_t> pixels) {
  std::array<int64_t, 256> histogram{};
  for (const uint8_t pixel : pixels) {
    ++histogram[pixel];
  }
  const auto count = static_cast<double>(pixels.size());
  double sum = 0;
  double squares = 0;
  for (size_t i = 0; i < histogram.size(); ++i) {
    const double value = static_cast<double>(i) / 255;
    sum += value * static_cast<double>(histogram[i]);
    squares += value * value * static_cast<double>(histogram[i]);
  }
  PixelScale scale{.mean = sum / count, .deviation = 1};
  const double variance = squares / count - scale.mean * scale.mean;
  // Pictures of one colour carry nothing to scale.
  scale.deviation = variance > 1e-12 ? std::sqrt(variance) : 1;
  return scale;
}

class ImageDataset : public Dataset {
 public:
  struct Parts {
    LabelledImages train;
    LabelledImages eval;
    int64_t train_count = 0;  // The first ones of `train`.
    bool held_out = false;    // Evaluate on the rest of `train` instead of `eval`.
    bool class_labels = true;
    std::optional<int64_t> positive;  // This class is 1, the others are 0.
    int64_t batch_size = 0;
  };

  ImageDataset(Parts parts, SampleOrder order)
      : parts_(std::move(parts)), order_(std::move(order)) {
    const int64_t image = parts_.train.height * parts_.train.width;
    scale_ = measure(
        std::span(parts_.train.pixels).first(static_cast<size_t>(parts_.train_count * image)));
    for (size_t i = 0; i < table_.size(); ++i) {
      table_[i] =
          static_cast<float>((static_cast<double>(i) / 255 - scale_.mean) / scale_.deviation);
    }
  }

  DataShape shape() const override {
    uint8_t largest = *std::max_element(parts_.train.labels.begin(), parts_.train.labels.end());
    if (!parts_.held_out) {
      largest = std::max(largest,
                         *std::max_element(parts_.eval.labels.begin(), parts_.eval.labels.end()));
    }
    return {.tokens = false,
            .images = true,
            .channels = 1,
            .height = parts_.train.height,
            .width = parts_.train.width,
            .features = parts_.train.height * parts_.train.width,
            .classes = largest + int64_t{1}};
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
    return parts_.held_out ? parts_.train.count - parts_.train_count : parts_.eval.count;
  }
  int64_t eval_batch_size() const override { return kEvalBatch; }
  Batch eval_batch(std::span<const int64_t> samples) const override {
    return parts_.held_out ? gather(parts_.train, samples, parts_.train_count)
                           : gather(parts_.eval, samples, 0);
  }

  std::map<std::string, std::string> preparation() const override {
    return {{"pixel_mean", absl::StrCat(scale_.mean)},
            {"pixel_deviation", absl::StrCat(scale_.deviation)}};
  }

 private:
  Batch gather(const LabelledImages& images, std::span<const int64_t> samples,
               int64_t first) const {
    const auto count = static_cast<int64_t>(samples.size());
    const auto pixels = static_cast<size_t>(images.height * images.width);
    Batch batch{.inputs = torch::empty({count, 1, images.height, images.width}),
                .labels = torch::empty({count}, torch::kInt64)};
    float* out = batch.inputs.data_ptr<float>();
    for (size_t i = 0; i < samples.size(); ++i) {
      const auto index = static_cast<size_t>(first + samples[i]);
      const uint8_t* in = images.pixels.data() + index * pixels;
      out = std::transform(in, in + pixels, out, [this](uint8_t pixel) { return table_[pixel]; });
      batch.labels.data_ptr<int64_t>()[i] = images.labels[index];
    }
    if (parts_.positive.has_value()) {
      batch.labels = batch.labels.eq(*parts_.positive);
    }
    if (!parts_.class_labels) {
      batch.labels = batch.labels.to(torch::kFloat32);
    }
    return batch;
  }

  const Parts parts_;
  SampleOrder order_;
  PixelScale scale_;
  std::array<float, 256> table_{};
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> load_images(const v1::TrainJob& job, World world) {
  const v1::Idx& idx = job.spec().data().idx();
  const v1::Loss loss = loss_of(job.spec().model());
  ImageDataset::Parts parts;
  parts.positive = positive_class_of(job.spec().model());
  const int64_t classes =
      loss == v1::LOGISTIC && !parts.positive.has_value() ? 2 : classes_of(job.spec().model());
  LACONIC_ASSIGN_OR_RETURN(parts.train, read_idx(idx.train_images(), idx.train_labels(), classes));
  parts.class_labels = loss == v1::CROSS_ENTROPY;
  parts.batch_size = job.spec().train().batch_size();
  parts.held_out = idx.eval_images().empty();
  parts.train_count = parts.train.count;
  if (parts.held_out) {
    LACONIC_ASSIGN_OR_RETURN(parts.train_count,
                             without_last_tenth(idx.train_images(), parts.train.count));
  } else {
    LACONIC_ASSIGN_OR_RETURN(parts.eval, read_idx(idx.eval_images(), idx.eval_labels(), classes));
    if (parts.eval.height != parts.train.height || parts.eval.width != parts.train.width) {
      return bad_data(absl::StrCat(idx.eval_images(), ": images of ", parts.eval.height, "x",
                                   parts.eval.width, ", those of ", idx.train_images(), " are ",
                                   parts.train.height, "x", parts.train.width));
    }
  }
  const std::vector<int64_t> labels(parts.train.labels.begin(),
                                    parts.train.labels.begin() + parts.train_count);
  LACONIC_RETURN_IF_ERROR(check_positive_class(job, idx.train_labels(), labels));
  LACONIC_ASSIGN_OR_RETURN(std::vector<int64_t> share, training_share(job, world, labels));
  SampleOrder order(std::move(share), job.spec().train().seed(), world.rank);
  return std::make_unique<ImageDataset>(std::move(parts), std::move(order));
}

}  // namespace laconic::trainer
