// Where a rank's model lies, and what is copied when that is not where it is exchanged.
#include "worker/trainer/compute_device.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "common/collective/communicator.h"
#include "common/collective/in_process_transport.h"
#include "common/sync/sync_method.h"
#include "tests/testing/status_matchers.h"
#include "worker/trainer/flat_model.h"
#include "worker/trainer/models.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ChooseDeviceTest, CpuIsTakenWhereAskedForOrWhereAutoFindsNoGpu) {
  EXPECT_EQ(choose_device(v1::Workers::CPU, 8, 3).value(), torch::Device(torch::kCPU));
  EXPECT_EQ(choose_device(v1::Workers::AUTO, 0, 3).value(), torch::Device(torch::kCPU));
}

TEST(ChooseDeviceTest, RanksShareTheGpusOfANode) {
  for (const v1::Workers::Device asked : {v1::Workers::AUTO, v1::Workers::CUDA}) {
    EXPECT_EQ(choose_device(asked, 1, 0).value(), torch::Device(torch::kCUDA, 0));
    EXPECT_EQ(choose_device(asked, 1, 7).value(), torch::Device(torch::kCUDA, 0));
    EXPECT_EQ(choose_device(asked, 4, 7).value(), torch::Device(torch::kCUDA, 3));
  }
}

TEST(ChooseDeviceTest, CudaWithoutAGpuIsRefused) {
  EXPECT_THAT(choose_device(v1::Workers::CUDA, 0, 0).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("finds no GPU")));
}

std::unique_ptr<Model> small_model() {
  v1::Model spec;
  spec.mutable_softmax();
  DataShape shape;
  shape.features = 5;
  shape.classes = 3;
  return make_model(spec, shape, /*seed=*/1).value();
}

// The parameters after seven steps of one rank alone, as the training loop takes them. The
// gradients of a step depend on the parameters, so a copy that is missing changes all that follows.
torch::Tensor trained(const core::ExchangeSpec& spec, HostMemory memory) {
  const auto model = small_model();
  const auto flat = FlatModel::create(*model, memory).value();
  EXPECT_EQ(flat->is_copied(), memory == HostMemory::kApart);
  collective::InProcessNetwork network(1);
  const auto transport = network.endpoint(0);
  collective::Communicator communicator(*transport, 1, absl::Seconds(60));
  const auto sync = sync::make_sync_method(spec, flat->layout(), communicator).value();
  const auto call = [&](const sync::ViewUse& use, const auto& method) {
    flat->copy_to_view(use);
    EXPECT_OK(method(flat->view()));
    flat->copy_from_view(use);
  };
  call({}, [&](sync::ModelView view) { return sync->begin(view); });
  for (int step = 1; step <= 7; ++step) {
    const torch::NoGradGuard no_grad;
    flat->gradients().copy_(flat->parameters().mul(0.3).add(0.1 * step));
    call(sync->use_of_reduce_gradients(),
         [&](sync::ModelView view) { return sync->reduce_gradients(view); });
    flat->parameters().sub_(flat->gradients(), 0.5);
    const bool last = step == 7;
    call(sync->use_of_end_step(last),
         [&](sync::ModelView view) { return sync->end_step(view, last); });
  }
  return flat->parameters().clone();
}

TEST(HostCopyTest, TrainingOnCopiesOfTheVectorsGivesTheSameBits) {
  core::ExchangeSpec spec;
  spec.codec = {.kind = core::CodecKind::kQuantize, .bits = 4, .block = 16};
  spec.error_feedback = true;
  spec.rounds.inner_steps = 3;
  for (const core::Method method : {core::Method::kDense, core::Method::kLocal}) {
    spec.method = method;
    EXPECT_TRUE(
        trained(spec, HostMemory::kApart).equal(trained(spec, HostMemory::kSharedWhereItCan)));
  }
}

TEST(HostCopyTest, OnlyWhatIsUsedIsCopied) {
  const auto model = small_model();
  const auto flat = FlatModel::create(*model, HostMemory::kApart).value();
  const sync::ModelView view = flat->view();
  flat->parameters().fill_(1);
  flat->gradients().fill_(2);
  flat->copy_to_view({.parameters = sync::Access::kRead, .gradients = sync::Access::kNone});
  EXPECT_EQ(view.parameters[0], 1);
  EXPECT_EQ(view.gradients[0], 0);
  view.parameters[0] = 3;
  view.gradients[0] = 4;
  flat->copy_from_view({.parameters = sync::Access::kRead, .gradients = sync::Access::kReadWrite});
  EXPECT_EQ(flat->parameters()[0].item<float>(), 1);
  EXPECT_EQ(flat->gradients()[0].item<float>(), 4);
}

TEST(HostCopyTest, AModelOnTheCpuIsNotCopied) {
  const auto model = small_model();
  model->move_to(torch::kCPU);
  const auto flat = FlatModel::create(*model).value();
  EXPECT_FALSE(flat->is_copied());
  EXPECT_EQ(flat->view().parameters.data(), flat->parameters().data_ptr<float>());
}

// Runs where there is a GPU, and skips elsewhere.
TEST(HostCopyTest, AModelOnAGpuGivesTheLossOfTheCpu) {
  if (visible_gpus() == 0) {
    GTEST_SKIP() << "NO GPU: libtorch " << TORCH_VERSION << " finds none";
  }
  const auto here = small_model();
  const auto there = small_model();
  there->move_to(choose_device(v1::Workers::CUDA, visible_gpus(), 0).value());
  const auto flat = FlatModel::create(*there).value();
  EXPECT_TRUE(flat->is_copied());
  const torch::Tensor inputs = torch::randn({4, 5});
  EXPECT_TRUE(here->forward(inputs).allclose(there->forward(inputs.to(flat->device())).cpu(),
                                             /*rtol=*/1e-4, /*atol=*/1e-5));
}

}  // namespace
}  // namespace laconic::trainer
