// What a rank trains on and is evaluated by.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/v1/job.pb.h"
#include "worker/trainer/data_shape.h"
#include "worker/trainer/split.h"

namespace laconic::trainer {

struct Batch {
  torch::Tensor inputs;  // As DataShape says.
  torch::Tensor labels;  // int64 classes [batch] or tokens [batch, context], or float32 [batch]
};

// Owned by one thread.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual DataShape shape() const = 0;
  virtual int64_t samples() const = 0;  // In this rank's share, >= 1.

  // The chosen samples 0..samples()-1 of this rank's share, which has a fixed order: samples of one
  // class may stand together.
  virtual Batch share_samples(std::span<const int64_t> chosen) const = 0;
  // Samples first .. first + count - 1 of it. 0 <= first, first + count <= samples().
  Batch share_batch(int64_t first, int64_t count) const;
  // The next spec.train.batch_size samples of this rank's endless order.
  virtual Batch next_batch() = 0;
  // Goes past `batches` of them unread: the order is a function of the seed, so that a checkpoint
  // need not hold it. A second for some 1e8 samples.
  virtual void skip_batches(int64_t batches) = 0;

  // Held-out samples, the same on every rank that has the same files.
  virtual int64_t eval_samples() const = 0;
  virtual Batch eval_batch(std::span<const int64_t> samples) const = 0;
  virtual int64_t eval_batch_size() const = 0;

  // What a user of the model must know to prepare its input; goes into the result file.
  virtual std::map<std::string, std::string> preparation() const = 0;
};

// Reads the data a job names. `job` has its defaults filled in.
// Errors: InvalidArgument, reason BAD_DATA, naming file and place.
absl::StatusOr<std::unique_ptr<Dataset>> load_dataset(const v1::TrainJob& job, World world);

// One per kind of source; load_dataset() chooses.
absl::StatusOr<std::unique_ptr<Dataset>> load_images(const v1::TrainJob& job, World world);
absl::StatusOr<std::unique_ptr<Dataset>> load_sparse(const v1::TrainJob& job, World world);
absl::StatusOr<std::unique_ptr<Dataset>> load_text(const v1::TrainJob& job, World world);

// Training samples of this rank among 0..labels.size()-1, as spec.data's split says.
absl::StatusOr<std::vector<int64_t>> training_share(const v1::TrainJob& job, World world,
                                                    std::span<const int64_t> labels);
// The classes that spec.model fixes; 0: it leaves them to the data.
int64_t classes_of(const v1::Model& model);
// What the labels are compared by: the loss of a TorchScript or linear model, else CROSS_ENTROPY.
v1::Loss loss_of(const v1::Model& model);
// The class against the rest of a linear model that names one.
std::optional<int64_t> positive_class_of(const v1::Model& model);
// Errors: InvalidArgument, reason BAD_DATA, if no label of `path` is the class. Not asked of a node
// that holds only its own share.
absl::Status check_positive_class(const v1::TrainJob& job, const std::string& path,
                                  std::span<const int64_t> labels);
// Of `samples`, how many are for training when the last tenth is held out.
// Errors: InvalidArgument, reason BAD_DATA, if that leaves none.
absl::StatusOr<int64_t> without_last_tenth(const std::string& path, int64_t samples);

}  // namespace laconic::trainer
