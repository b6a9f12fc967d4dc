#include "worker/trainer/training_state.h"

#include <ATen/Context.h>
#include <torch/torch.h>

#include <cstring>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::trainer {
namespace {

// Of a contiguous tensor of any type.
std::span<uint8_t> raw_bytes(const torch::Tensor& tensor) {
  return {static_cast<uint8_t*>(tensor.data_ptr()), tensor.nbytes()};
}

absl::Status restore_raw(std::string_view what, core::StateReader& reader,
                         const torch::Tensor& tensor) {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> saved, reader.bytes());
  if (saved.size() != tensor.nbytes()) {
    return absl::DataLossError(absl::StrCat("state: ", absl::string_view(what.data(), what.size()),
                                            " has ", saved.size(), " bytes, due are ",
                                            tensor.nbytes()));
  }
  const torch::Tensor copy = torch::empty_like(tensor, tensor.options().device(torch::kCPU),
                                               torch::MemoryFormat::Contiguous);
  std::memcpy(copy.data_ptr(), saved.data(), saved.size());
  const torch::NoGradGuard no_grad;
  torch::Tensor(tensor).copy_(copy);
  return absl::OkStatus();
}

// The random numbers that models on `device` draw (dropout).
torch::Tensor generator_state(const torch::Device& device) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

absl::Status restore_generator(const torch::Device& device, core::StateReader& reader) {
  const torch::Tensor state = generator_state(device);
  LACONIC_RETURN_IF_ERROR(restore_raw("the random generator", reader, state));
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainingState::save(core::StateWriter& writer) {
  writer.floats(parts_.flat.host_parameters());
  parts_.optimizer.save(writer);
  for (const Model::Buffer& buffer : parts_.model.buffers()) {
    writer.bytes(raw_bytes(buffer.value.cpu().contiguous()));
  }
  writer.bytes(raw_bytes(generator_state(parts_.flat.device())));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> sync, parts_.sync.save());
  writer.bytes(sync);
  if (probe_ != nullptr) {
    probe_->save(writer);
  }
  return absl::OkStatus();
}

absl::Status TrainingState::restore(core::StateReader& reader, int64_t step) {
  LACONIC_RETURN_IF_ERROR(reader.floats(parts_.flat.view().parameters));
  parts_.flat.copy_from_view(
      {.parameters = sync::Access::kReadWrite, .gradients = sync::Access::kNone});
  LACONIC_RETURN_IF_ERROR(parts_.optimizer.restore(reader));
  for (const Model::Buffer& buffer : parts_.model.buffers()) {
    LACONIC_RETURN_IF_ERROR(restore_raw(buffer.name, reader, buffer.value));
  }
  LACONIC_RETURN_IF_ERROR(restore_generator(parts_.flat.device(), reader));
  LACONIC_ASSIGN_OR_RETURN(const std::span<const uint8_t> sync, reader.bytes());
  LACONIC_RETURN_IF_ERROR(parts_.sync.restore(sync));
  if (probe_ != nullptr) {
    LACONIC_RETURN_IF_ERROR(probe_->restore(reader));
  }
  parts_.data.skip_batches(step);
  return absl::OkStatus();
}

}  // namespace laconic::trainer
