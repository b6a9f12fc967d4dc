#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "worker/trainer/bytes_reader.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

// Bytes a TorchScript model sees at once; the job file has no field for it.
constexpr int64_t kScriptContext = 128;

// A sample is a window of context + 1 bytes: each of the first `context` predicts its successor.
// Training windows are drawn with replacement from the rank's stretch; evaluation windows stand
// side by side.
class TextDataset : public Dataset {
 public:
  struct Parts {
    std::vector<uint8_t> text;
    Stretch train;  // This rank's.
    int64_t eval_begin = 0;
    int64_t context = 0;
    int64_t batch_size = 0;
  };

  TextDataset(Parts parts, core::Random random) : parts_(std::move(parts)), random_(random) {}

  DataShape shape() const override {
    return {.tokens = true,
            .images = false,
            .channels = 1,
            .height = 1,
            .width = parts_.context,
            .features = parts_.context,
            .classes = 256};
  }

  int64_t samples() const override {
    return (parts_.train.end - parts_.train.begin - 1) / parts_.context;
  }

  Batch share_samples(std::span<const int64_t> chosen) const override {
    std::vector<int64_t> starts(chosen.size());
    std::ranges::transform(chosen, starts.begin(), [this](int64_t window) {
      return parts_.train.begin + window * parts_.context;
    });
    return windows(starts);
  }
  Batch next_batch() override {
    std::vector<int64_t> starts(static_cast<size_t>(parts_.batch_size));
    for (int64_t& start : starts) {
      start = next_start();
    }
    return windows(starts);
  }
  void skip_batches(int64_t batches) override {
    for (int64_t i = 0; i < batches * parts_.batch_size; ++i) {
      next_start();
    }
  }

  int64_t eval_samples() const override {
    return (static_cast<int64_t>(parts_.text.size()) - parts_.eval_begin - 1) / parts_.context;
  }
  int64_t eval_batch_size() const override { return parts_.batch_size; }
  Batch eval_batch(std::span<const int64_t> samples) const override {
    std::vector<int64_t> starts;
    for (const int64_t sample : samples) {
      starts.push_back(parts_.eval_begin + sample * parts_.context);
    }
    return windows(starts);
  }

  std::map<std::string, std::string> preparation() const override {
    return {{"context", absl::StrCat(parts_.context)}};
  }

 private:
  int64_t next_start() {
    const int64_t places = parts_.train.end - parts_.train.begin - parts_.context;
    return parts_.train.begin + static_cast<int64_t>(random_.below(static_cast<uint64_t>(places)));
  }

  Batch windows(const std::vector<int64_t>& starts) const {
    const auto count = static_cast<int64_t>(starts.size());
    const torch::Tensor tokens = torch::empty({count, parts_.context + 1}, torch::kInt64);
    int64_t* out = tokens.data_ptr<int64_t>();
    for (const int64_t start : starts) {
      out = std::copy_n(parts_.text.begin() + start, parts_.context + 1, out);
    }
    return {.inputs = tokens.slice(1, 0, parts_.context).contiguous(),
            .labels = tokens.slice(1, 1, parts_.context + 1).contiguous()};
  }

  const Parts parts_;
  core::Random random_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> load_text(const v1::TrainJob& job, World world) {
  const v1::Bytes& spec = job.spec().data().bytes();
  const v1::Data& data = job.spec().data();
  if (data.shared().has_dirichlet()) {
    return bad_data(
        "spec.data.shared.dirichlet: text has no classes to split by; use iid or contiguous");
  }
  TextDataset::Parts parts;
  LACONIC_ASSIGN_OR_RETURN(parts.text, read_text(spec.path()));
  parts.context =
      job.spec().model().has_gpt() ? job.spec().model().gpt().context() : kScriptContext;
  parts.batch_size = job.spec().train().batch_size();
  const auto bytes = static_cast<int64_t>(parts.text.size());
  parts.eval_begin =
      bytes - static_cast<int64_t>(std::ceil(spec.eval_fraction() * static_cast<double>(bytes)));
  parts.train = {.begin = 0, .end = parts.eval_begin};
  if (data.shared().has_contiguous()) {
    parts.train = equal_stretch(parts.eval_begin, world);
  }
  const int64_t train_bytes = parts.train.end - parts.train.begin;
  if (std::min(train_bytes, bytes - parts.eval_begin) < parts.context + 1) {
    return bad_data(absl::StrCat(spec.path(), ": ", bytes, " bytes give a rank ", train_bytes,
                                 " for training and ", bytes - parts.eval_begin,
                                 " for evaluation, each must be at least ", parts.context + 1,
                                 " (context + 1); give more text or a smaller context"));
  }
  const core::Random random(job.spec().train().seed(),
                            kWindowStream + static_cast<uint64_t>(world.rank));
  return std::make_unique<TextDataset>(std::move(parts), random);
}

}  // namespace laconic::trainer
