// Virtual ranks: the vectors of P ranks on one machine, each rank a thread. The machine is the
// block emulator, or a GPU (tests/compress_cuda/test_machine.h).
#pragma once

#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/collective/cuda/device_mean.h"
#include "common/core/exchange_spec.h"
#include "common/core/status_macros.h"
#include "common/sync/mean_exchange.h"
#include "tests/collective/failing_transport.h"
#include "tests/collective/mean_world.h"
#include "tests/collective_nccl/fake_nccl.h"
#include "tests/compress_cuda/test_machine.h"

namespace laconic::collective::cuda {

using ::laconic::testing::FailingTransport;
using ::laconic::testing::FakeNccl;
using ::laconic::testing::FakeNcclNetwork;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::Transports;
using ::laconic::testing::vector_of;
using Floats = std::vector<float>;

inline constexpr core::CodecSpec kInt8 = {
    .kind = core::CodecKind::kQuantize, .bits = 8, .block = 64};
inline constexpr core::CodecSpec kInt4 = {
    .kind = core::CodecKind::kQuantize, .bits = 4, .block = 64};
inline constexpr core::CodecSpec kSignRows = {
    .kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
inline constexpr core::CodecSpec kTopK = {
    .kind = core::CodecKind::kTopK, .bits = 4, .density = 0.1};

// One exchange among P ranks.
struct Case {
  const char* name = "";
  core::Schedule schedule = core::Schedule::kSharded;
  core::CodecSpec codec = kInt8;
  int world_size = 1;
  int64_t elements = 1;
  int ranks_per_site = 1;

  ScheduledMeanOptions options(int rank) const {
    return {.rank = rank,
            .world_size = world_size,
            .schedule = schedule,
            .codec = codec,
            .layout = testing::layout_of(elements),
            .ranks_per_site = ranks_per_site,
            .error_feedback = codec.lossy(),
            .residual_decay = 0.9};
  }
  core::ExchangeSpec spec() const {
    core::ExchangeSpec spec;
    spec.codec = codec;
    spec.schedule = schedule;
    spec.ranks_per_site = ranks_per_site;
    spec.error_feedback = codec.lossy();
    spec.residual_decay = 0.9;
    return spec;
  }
};
inline std::ostream& operator<<(std::ostream& out, const Case& test_case) {
  return out << test_case.name;
}

// Counts kernels.
class CountingMachine final : public Machine {
 public:
  explicit CountingMachine(std::unique_ptr<Machine> real) : real_(std::move(real)) {}

  absl::StatusOr<void*> allocate(size_t bytes) override { return real_->allocate(bytes); }
  void release(void* memory) override { real_->release(memory); }
  absl::Status copy_to_device(void* to, const void* from, size_t bytes, Stream stream) override {
    return real_->copy_to_device(to, from, bytes, stream);
  }
  absl::Status copy_to_host(void* to, const void* from, size_t bytes, Stream stream) override {
    return real_->copy_to_host(to, from, bytes, stream);
  }
  absl::Status copy_on_device(void* to, const void* from, size_t bytes, Stream stream) override {
    return real_->copy_on_device(to, from, bytes, stream);
  }
  absl::Status fill(void* at, uint8_t byte, size_t bytes, Stream stream) override {
    return real_->fill(at, byte, bytes, stream);
  }
  absl::Status run(const compress::cuda::QuantizeEncodeArgs& args, Stream stream) override {
    return counted(args, stream);
  }
  absl::Status run(const compress::cuda::QuantizeDecodeArgs& args, Stream stream) override {
    return counted(args, stream);
  }
  absl::Status run(const compress::cuda::TopKEncodeArgs& args, Stream stream) override {
    return counted(args, stream);
  }
  absl::Status run(const compress::cuda::TopKDecodeArgs& args, Stream stream) override {
    return counted(args, stream);
  }
  absl::Status run(const compress::cuda::CombineArgs& args, Stream stream) override {
    return counted(args, stream);
  }

  std::atomic<int> kernels = 0;

 private:
  template <typename Args>
  absl::Status counted(const Args& args, Stream stream) {
    ++kernels;
    return real_->run(args, stream);
  }

  const std::unique_ptr<Machine> real_;
};

// What NCCL does to memory of the machine, by way of the host.
class MachineMemory final : public testing::FakeNcclMemory {
 public:
  explicit MachineMemory(Machine& machine) : machine_(machine) {}

  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) {
      const std::vector<uint8_t> values = fetch<uint8_t>(from, bytes);
      EXPECT_OK(machine_.copy_to_device(to, values.data(), bytes, nullptr));
    }
  }
  void add(float* to, const float* from, size_t count) override {
    Floats sum = fetch<float>(to, count);
    const Floats term = fetch<float>(from, count);
    std::transform(sum.begin(), sum.end(), term.begin(), sum.begin(), std::plus<float>());
    EXPECT_OK(machine_.copy_to_device(to, sum.data(), count * sizeof(float), nullptr));
  }

 private:
  template <typename T>
  std::vector<T> fetch(const void* from, size_t count) {
    std::vector<T> values(count);
    EXPECT_OK(machine_.copy_to_host(values.data(), from, count * sizeof(T), nullptr));
    return values;
  }

  Machine& machine_;
};

// How a round is disturbed, at `rank`.
struct Fault {
  int rank = -1;
  int message = -1;    // of its sends and receives, counted together
  int nccl_call = -1;  // of its operations within the site
};

// P ranks of one job, which outlive its generations. Their vectors are vector_of(rank, round).
class DeviceWorld {
 public:
  DeviceWorld(Machine& machine, const Case& test_case)
      : machine_(machine), case_(test_case), nccl_(std::make_unique<MachineMemory>(machine)) {
    const auto bytes = static_cast<size_t>(case_.elements) * sizeof(float);
    for (int rank = 0; rank < case_.world_size; ++rank) {
      auto mean = DeviceMean::make(case_.options(rank), {.machine = &machine});
      EXPECT_OK(mean.status());
      means_.push_back(*std::move(mean));
      for (auto* const buffers : {&inputs_, &outputs_}) {
        auto memory = DeviceMemory::make(machine, bytes);
        EXPECT_OK(memory.status());
        buffers->push_back(*std::move(memory));
      }
    }
  }

  // One round in a generation of its own; its transports are in-process. Committed if no rank had
  // an error, else rolled back on all. Returns how many had one.
  int round(int round, const Fault& fault = {}) {
    InProcessNetwork network(case_.world_size);
    Transports transports;
    const FailingTransport* watched = nullptr;
    for (int rank = 0; rank < case_.world_size; ++rank) {
      auto link = std::make_unique<FailingTransport>(network.endpoint(rank),
                                                     rank == fault.rank ? fault.message : -1);
      watched = rank == fault.rank ? link.get() : watched;
      transports.push_back(std::move(link));
    }
    const int errors = round_over(transports, round, fault);
    messages_ = watched == nullptr ? 0 : watched->calls();
    return errors;
  }
  // That rank `fault.rank` sent or received in the last round.
  int messages() const { return messages_; }

  int round_over(Transports& transports, int round, const Fault& fault = {}) {
    ++generation_;
    std::vector<std::unique_ptr<FakeNccl>> apis;
    for (size_t rank = 0; rank < means_.size(); ++rank) {
      apis.push_back(std::make_unique<FakeNccl>(nccl_));
    }
    connect_sites(apis);
    if (fault.nccl_call >= 0) {
      apis[static_cast<size_t>(fault.rank)]->fail_next(nccl::Result::kRemoteError, fault.nccl_call);
    }
    std::atomic<int> errors = 0;
    on_all_ranks(case_.world_size, [&](int rank) {
      Communicator communicator(*transports[static_cast<size_t>(rank)], generation_, kTestDeadline);
      if (rank != absent && !run_rank(communicator, round).ok()) {
        ++errors;
        abort_all(transports);
      }
    });
    for (const auto& mean : means_) {
      // A rank that had got everything before the fault reached it has not committed either.
      if (errors > 0) {
        mean->rollback();
      } else {
        EXPECT_OK(mean->commit());
      }
    }
    sites_.clear();  // Before the APIs that they use.
    return errors;
  }

  // After a round: what all ranks have.
  Floats mean() {
    const Floats first = output(0);
    for (int rank = 1; rank < case_.world_size; ++rank) {
      EXPECT_TRUE(compress::cuda::same_bits(output(rank), first)) << rank;
    }
    return first;
  }

  Floats output(int rank) {
    Floats values(static_cast<size_t>(case_.elements));
    EXPECT_OK(machine_.copy_to_host(values.data(), outputs_[static_cast<size_t>(rank)].as<void>(),
                                    values.size() * sizeof(float), nullptr));
    return values;
  }

  FakeNcclNetwork& nccl() { return nccl_; }
  // Of NCCL's waits.
  absl::Duration site_deadline = kTestDeadline;
  // This rank takes no part in the next rounds; -1: all do.
  int absent = -1;

 private:
  // At the start of a generation, over links without a fault.
  void connect_sites(const std::vector<std::unique_ptr<FakeNccl>>& apis) {
    sites_.resize(means_.size());
    if (case_.ranks_per_site == 1 && case_.schedule != core::Schedule::kHierarchical) {
      return;
    }
    InProcessNetwork network(case_.world_size);
    const Transports transports = testing::in_process_world(network, case_.world_size);
    on_all_ranks(case_.world_size, [&](int rank) {
      const auto r = static_cast<size_t>(rank);
      Communicator communicator(*transports[r], generation_, kTestDeadline);
      ASSERT_OK_AND_ASSIGN(const nccl::UniqueId id,
                           share_site_id(*apis[r], communicator, case_.ranks_per_site, {}));
      ASSERT_OK_AND_ASSIGN(sites_[r],
                           nccl::SiteComm::connect(*apis[r], {.rank = rank % case_.ranks_per_site,
                                                              .ranks = case_.ranks_per_site,
                                                              .id = id,
                                                              .deadline = site_deadline}));
    });
  }

  absl::Status run_rank(Communicator& communicator, int round) {
    const auto rank = static_cast<size_t>(communicator.rank());
    const Floats v = vector_of(communicator.rank(), round, case_.elements);
    LACONIC_RETURN_IF_ERROR(machine_.copy_to_device(inputs_[rank].as<void>(), v.data(),
                                                    v.size() * sizeof(float), nullptr));
    const OpTag tag = {.round = static_cast<uint64_t>(round)};
    LACONIC_RETURN_IF_ERROR(
        means_[rank]->run({.communicator = communicator, .site = sites_[rank].get()},
                          inputs_[rank].as<float>(), tag, outputs_[rank].as<float>()));
    // All ranks must be at the same place of the sequence again.
    return communicator.all_gather(Payload(std::vector<uint8_t>(1)), 1, tag).status();
  }

  // As the coordinator does: the generation is over for all.
  void abort_all(const Transports& transports) const {
    const absl::Status over = absl::AbortedError("generation over");
    for (const auto& transport : transports) {
      transport->abort(over);
    }
    for (const auto& site : sites_) {
      if (site != nullptr) {
        site->abort(over);
      }
    }
  }

  Machine& machine_;
  const Case case_;
  FakeNcclNetwork nccl_;
  std::vector<std::unique_ptr<DeviceMean>> means_;
  std::vector<DeviceMemory> inputs_;
  std::vector<DeviceMemory> outputs_;
  std::vector<std::unique_ptr<nccl::SiteComm>> sites_;  // of the generation
  uint64_t generation_ = 0;
  int messages_ = 0;
};

}  // namespace laconic::collective::cuda
