// NCCL itself on one GPU: one rank, and two processes that pose as two hosts, which NCCL otherwise
// forbids on one device (it compares host and bus). They share the GPU and talk over loopback.
#include <cuda_runtime.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "common/collective/nccl/nccl_library.h"
#include "common/collective/nccl/site_comm.h"
#include "tests/testing/status_matchers.h"

namespace laconic::collective::nccl {
namespace {

constexpr absl::Duration kDeadline = absl::Minutes(2);
constexpr int64_t kCount = 1000;
constexpr int kNoDevice = 77;  // Exit status.

// Device memory with a host's view of it.
class Values {
 public:
  explicit Values(int64_t count, float value) : host_(static_cast<size_t>(count), value) {
    EXPECT_EQ(cudaMalloc(&device_, host_.size() * sizeof(float)), cudaSuccess);
    EXPECT_EQ(
        cudaMemcpy(device_, host_.data(), host_.size() * sizeof(float), cudaMemcpyHostToDevice),
        cudaSuccess);
  }
  ~Values() { cudaFree(device_); }
  float* device() { return static_cast<float*>(device_); }
  const std::vector<float>& fetch() {
    EXPECT_EQ(
        cudaMemcpy(host_.data(), device_, host_.size() * sizeof(float), cudaMemcpyDeviceToHost),
        cudaSuccess);
    return host_;
  }

 private:
  std::vector<float> host_;
  void* device_ = nullptr;
};

// Every operation once; rank r's values are r + 1.
void use_site(Api& api, int rank, int ranks, const UniqueId& id) {
  ASSERT_OK_AND_ASSIGN(
      const auto site,
      SiteComm::connect(api, {.rank = rank, .ranks = ranks, .id = id, .deadline = kDeadline}));
  Values in(ranks * kCount, static_cast<float>(rank + 1));
  Values sum(kCount, 0);
  ASSERT_OK(site->reduce_scatter(in.device(), sum.device(), kCount, nullptr));
  ASSERT_OK(site->wait());
  const std::vector<float> due(kCount, static_cast<float>(ranks * (ranks + 1)) / 2);
  EXPECT_TRUE(sum.fetch() == due);

  Values all(ranks * kCount, 0);
  ASSERT_OK(site->all_gather(in.device(), all.device(),
                             kCount * static_cast<int64_t>(sizeof(float)), nullptr));
  ASSERT_OK(site->wait());
  EXPECT_EQ(all.fetch()[static_cast<size_t>((ranks - 1) * kCount)], static_cast<float>(ranks));

  Values got(kCount, 0);
  const int to = (rank + 1) % ranks;
  const int from = (rank + ranks - 1) % ranks;
  const std::vector<Outgoing> outgoing = {{to, in.device()}};
  const std::vector<Incoming> incoming = {{from, got.device()}};
  ASSERT_OK(
      site->exchange(outgoing, incoming, kCount * static_cast<int64_t>(sizeof(float)), nullptr));
  ASSERT_OK(site->wait());
  EXPECT_EQ(got.fetch()[kCount - 1], static_cast<float>(from + 1));
  ASSERT_OK(site->finish());
}

TEST(NcclGpuTest, OneRankUsesEveryOperation) {
  const auto api = open_nccl(0);
  if (!api.ok()) {
    GTEST_SKIP() << "NOT RUN: " << api.status();
  }
  UniqueId id;
  ASSERT_EQ((*api)->get_unique_id(id), Result::kSuccess);
  use_site(**api, 0, 1, id);
}

TEST(NcclGpuTest, ConnectEndsAtTheDeadlineWhenARankStaysAway) {
  const auto api = open_nccl(0);
  if (!api.ok()) {
    GTEST_SKIP() << "NOT RUN: " << api.status();
  }
  UniqueId id;
  ASSERT_EQ((*api)->get_unique_id(id), Result::kSuccess);
  EXPECT_EQ(
      SiteComm::connect(**api, {.rank = 0, .ranks = 2, .id = id, .deadline = absl::Seconds(2)})
          .status()
          .code(),
      absl::StatusCode::kDeadlineExceeded);
}

// One process: CUDA and NCCL do not outlive a fork, so both are opened only after it.
[[noreturn]] void run_process(int rank, int id_pipe) {
  setenv("NCCL_HOSTID", rank == 0 ? "laconic-a" : "laconic-b", 1);
  setenv("NCCL_SOCKET_IFNAME", "lo", 1);
  setenv("NCCL_IB_DISABLE", "1", 1);
  const auto api = open_nccl(0);
  if (!api.ok()) {
    _exit(kNoDevice);
  }
  UniqueId id;
  if (rank == 0) {
    EXPECT_EQ((*api)->get_unique_id(id), Result::kSuccess);
    EXPECT_EQ(write(id_pipe, id.data(), id.size()), static_cast<ssize_t>(id.size()));
  } else {
    EXPECT_EQ(read(id_pipe, id.data(), id.size()), static_cast<ssize_t>(id.size()));
  }
  use_site(**api, rank, 2, id);
  _exit(::testing::Test::HasFailure() ? 1 : 0);
}

TEST(NcclTwoHostsGpuTest, TwoProcessesOnOneGpuAddUpOverLoopback) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  pid_t children[2];
  for (int rank = 0; rank < 2; ++rank) {
    children[rank] = fork();
    ASSERT_GE(children[rank], 0);
    if (children[rank] == 0) {
      run_process(rank, ends[rank == 0 ? 1 : 0]);
    }
  }
  close(ends[0]);
  close(ends[1]);
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == kNoDevice) {
      GTEST_SKIP() << "NOT RUN: no CUDA device 0";
    }
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
}

}  // namespace
}  // namespace laconic::collective::nccl
