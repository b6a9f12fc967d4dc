#include "common/collective/nccl/nccl_library.h"

#include <cuda_runtime.h>
#include <nccl.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::collective::nccl {
namespace {

static_assert(sizeof(UniqueId) == sizeof(ncclUniqueId));
static_assert(static_cast<int>(Result::kInProgress) == ncclInProgress);
static_assert(static_cast<int>(Result::kRemoteError) == ncclRemoteError);

// Non-blocking communicators that can be aborted while they are made.
constexpr int kVersionMin = NCCL_VERSION(2, 18, 0);

Result result_of(ncclResult_t result) {
  return static_cast<Result>(result);
}

absl::Status cuda_status(cudaError_t error, const char* what) {
  return error == cudaSuccess
             ? absl::OkStatus()
             : absl::InternalError(absl::StrCat("CUDA, ", what, ": ", cudaGetErrorString(error)));
}

class Library final : public Api {
 public:
  explicit Library(int device) : device_(device) {}
  ~Library() override {
    if (event_ != nullptr) {
      cudaEventDestroy(event_);
    }
  }

  Result get_unique_id(UniqueId& id) override {
    ncclUniqueId made;
    const ncclResult_t result = ncclGetUniqueId(&made);
    std::memcpy(id.data(), &made, sizeof(made));
    return result_of(result);
  }
  Result init_rank(Comm& comm, int ranks, const UniqueId& id, int rank) override {
    if (cudaSetDevice(device_) != cudaSuccess) {
      return Result::kUnhandledCudaError;
    }
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclUniqueId site;
    std::memcpy(&site, id.data(), sizeof(site));
    return result_of(ncclCommInitRankConfig(&comm, ranks, site, rank, &config));
  }
  Result async_error(Comm comm, Result& state) override {
    ncclResult_t now = ncclSuccess;
    const ncclResult_t result = ncclCommGetAsyncError(comm, &now);
    state = result_of(now);
    return result_of(result);
  }
  Result finalize(Comm comm) override { return result_of(ncclCommFinalize(comm)); }
  Result destroy(Comm comm) override { return result_of(ncclCommDestroy(comm)); }
  Result abort(Comm comm) override { return result_of(ncclCommAbort(comm)); }
  std::string last_error(Comm comm) override {
    const char* const text = ncclGetLastError(comm);
    return text == nullptr ? "" : text;
  }

  Result group_start() override { return result_of(ncclGroupStart()); }
  Result group_end() override { return result_of(ncclGroupEnd()); }
  Result send(const void* from, size_t bytes, int peer, Comm comm, Stream stream) override {
    return result_of(ncclSend(from, bytes, ncclUint8, peer, comm, stream));
  }
  Result receive(void* to, size_t bytes, int peer, Comm comm, Stream stream) override {
    return result_of(ncclRecv(to, bytes, ncclUint8, peer, comm, stream));
  }
  Result reduce_scatter(const float* in, float* out, size_t count, Comm comm,
                        Stream stream) override {
    return result_of(ncclReduceScatter(in, out, count, ncclFloat32, ncclSum, comm, stream));
  }
  Result all_gather(const void* in, void* out, size_t bytes, Comm comm, Stream stream) override {
    return result_of(ncclAllGather(in, out, bytes, ncclUint8, comm, stream));
  }

  absl::StatusOr<Stream> make_stream() override {
    cudaStream_t stream = nullptr;
    LACONIC_RETURN_IF_ERROR(cuda_status(cudaSetDevice(device_), "set device"));
    // Does not wait for the default stream.
    LACONIC_RETURN_IF_ERROR(
        cuda_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "new stream"));
    return stream;
  }
  void free_stream(Stream stream) override { cudaStreamDestroy(stream); }
  absl::Status order(Stream earlier, Stream later) override {
    if (event_ == nullptr) {
      LACONIC_RETURN_IF_ERROR(
          cuda_status(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "new event"));
    }
    // A wait holds on to what was recorded before it, so one event serves all.
    LACONIC_RETURN_IF_ERROR(cuda_status(cudaEventRecord(event_, earlier), "record an event"));
    return cuda_status(cudaStreamWaitEvent(later, event_, 0), "wait for an event");
  }
  absl::StatusOr<bool> is_done(Stream stream) override {
    const cudaError_t state = cudaStreamQuery(stream);
    if (state == cudaErrorNotReady) {
      return false;
    }
    LACONIC_RETURN_IF_ERROR(cuda_status(state, "work of the exchange"));
    return true;
  }

 private:
  const int device_;
  cudaEvent_t event_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Api>> open_nccl(int device) {
  int devices = 0;
  const cudaError_t counted = cudaGetDeviceCount(&devices);
  if (counted != cudaSuccess || device < 0 || device >= devices) {
    return absl::FailedPreconditionError(
        absl::StrCat("no CUDA device ", device, ": ",
                     counted == cudaSuccess ? absl::StrCat(devices, " are there")
                                            : std::string(cudaGetErrorString(counted))));
  }
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess || version < kVersionMin) {
    return absl::FailedPreconditionError(absl::StrCat("NCCL ", version, " is too old; needed is ",
                                                      kVersionMin, " (2.18.0) or later"));
  }
  return std::make_unique<Library>(device);
}

}  // namespace laconic::collective::nccl
