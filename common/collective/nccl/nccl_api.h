// What the exchange asks of NCCL and of CUDA streams. Two implementations: the library
// (nccl_library.h, with LACONIC_ENABLE_CUDA), and one over host memory and threads in the tests, so
// that deadlines, aborts and errors are run where there is no GPU.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct CUstream_st;
struct ncclComm;

namespace laconic::collective::nccl {

using Comm = ncclComm*;       // ncclComm_t
using Stream = CUstream_st*;  // cudaStream_t
using UniqueId = std::array<uint8_t, 128>;

// ncclResult_t
enum class Result : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

// Names as in nccl.h, all communicators non-blocking: a call may return kInProgress, and none may
// follow on that communicator but async_error() and abort() until async_error() says kSuccess.
// Calls on one communicator must not overlap. Calls from group_start() to group_end() come from one
// thread.
class Api {
 public:
  virtual ~Api() = default;

  virtual Result get_unique_id(UniqueId& id) = 0;
  virtual Result init_rank(Comm& comm, int ranks, const UniqueId& id, int rank) = 0;
  virtual Result async_error(Comm comm, Result& state) = 0;
  virtual Result finalize(Comm comm) = 0;
  virtual Result destroy(Comm comm) = 0;
  // Ends what is under way, and frees the communicator.
  virtual Result abort(Comm comm) = 0;
  // What NCCL has to say about the last error; may be empty.
  virtual std::string last_error(Comm comm) = 0;

  virtual Result group_start() = 0;
  virtual Result group_end() = 0;
  virtual Result send(const void* from, size_t bytes, int peer, Comm comm, Stream stream) = 0;
  virtual Result receive(void* to, size_t bytes, int peer, Comm comm, Stream stream) = 0;
  // out: [count], the sum of the ranks' in + rank count; in: [ranks count].
  virtual Result reduce_scatter(const float* in, float* out, size_t count, Comm comm,
                                Stream stream) = 0;
  // out: [ranks bytes]
  virtual Result all_gather(const void* in, void* out, size_t bytes, Comm comm, Stream stream) = 0;

  // Streams. Errors: Internal with what the driver says.
  virtual absl::StatusOr<Stream> make_stream() = 0;
  virtual void free_stream(Stream stream) = 0;
  // Work given to `later` from now on waits for what `earlier` has been given so far (an event).
  virtual absl::Status order(Stream earlier, Stream later) = 0;
  // Whether all work of the stream is done; does not wait.
  virtual absl::StatusOr<bool> is_done(Stream stream) = 0;
};

}  // namespace laconic::collective::nccl
