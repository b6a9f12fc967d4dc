#include "common/collective/nccl/site_comm.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/status_macros.h"

namespace laconic::collective::nccl {
namespace {

// Between two looks at a communicator: short beside any operation, long beside a look.
constexpr absl::Duration kPollInterval = absl::Microseconds(50);

absl::StatusCode code_of(Result result) {
  switch (result) {
    case Result::kRemoteError:
    case Result::kSystemError:
      return absl::StatusCode::kUnavailable;
    case Result::kInvalidArgument:
    case Result::kInvalidUsage:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

const char* words_of(Result result) {
  switch (result) {
    case Result::kSuccess:
      return "success";
    case Result::kUnhandledCudaError:
      return "a CUDA call failed";
    case Result::kSystemError:
      return "a call to the system failed";
    case Result::kInternalError:
      return "internal error";
    case Result::kInvalidArgument:
      return "invalid argument";
    case Result::kInvalidUsage:
      return "invalid use";
    case Result::kRemoteError:
      return "a peer is gone or the network failed";
    case Result::kInProgress:
      return "in progress";
  }
  return "unknown error";
}

}  // namespace

absl::StatusOr<UniqueId> share_site_id(Api& api, Communicator& communicator, int ranks_per_site,
                                       const OpTag& tag) {
  UniqueId id = {};
  std::vector<uint8_t> own;
  if (communicator.rank() % ranks_per_site == 0) {
    if (const Result result = api.get_unique_id(id); result != Result::kSuccess) {
      return absl::InternalError(
          absl::StrCat("NCCL makes no id: ", words_of(result), "; NCCL_DEBUG=INFO says why"));
    }
    own.assign(id.begin(), id.end());
  }
  LACONIC_ASSIGN_OR_RETURN(
      const std::vector<Payload> all,
      communicator.all_gather(Payload(std::move(own)), static_cast<int64_t>(id.size()), tag));
  const int first = communicator.rank() / ranks_per_site * ranks_per_site;
  const Payload& made = all[static_cast<size_t>(first)];
  if (made.size != id.size()) {
    return absl::DataLossError(absl::StrCat("rank ", first, " sent an NCCL id of ", made.size,
                                            " bytes, due are ", id.size()));
  }
  std::memcpy(id.data(), made.data, id.size());
  return id;
}

absl::StatusOr<std::unique_ptr<SiteComm>> SiteComm::connect(Api& api,
                                                            const SiteCommOptions& options) {
  std::unique_ptr<SiteComm> made(new SiteComm(api, options));
  {
    const absl::MutexLock lock(&made->mutex_);
    LACONIC_ASSIGN_OR_RETURN(made->stream_, api.make_stream());
    const Result result = api.init_rank(made->comm_, options.ranks, options.id, options.rank);
    LACONIC_RETURN_IF_ERROR(made->check(result, "connect"));
  }
  LACONIC_RETURN_IF_ERROR(made->settle(/*stream=*/false));
  return made;
}

SiteComm::~SiteComm() {
  abort(absl::CancelledError("the NCCL communicator is closed"));
  const absl::MutexLock lock(&mutex_);
  if (stream_ != nullptr) {
    api_.free_stream(stream_);
  }
}

absl::Status SiteComm::reduce_scatter(const float* in, float* out, int64_t count, Stream compute) {
  return start(
      [&](Comm comm, Stream stream) {
        return api_.reduce_scatter(in, out, static_cast<size_t>(count), comm, stream);
      },
      compute);
}

absl::Status SiteComm::all_gather(const void* in, void* out, int64_t bytes, Stream compute) {
  return start(
      [&](Comm comm, Stream stream) {
        return api_.all_gather(in, out, static_cast<size_t>(bytes), comm, stream);
      },
      compute);
}

absl::Status SiteComm::exchange(std::span<const Outgoing> outgoing,
                                std::span<const Incoming> incoming, int64_t capacity,
                                Stream compute) {
  const auto bytes = static_cast<size_t>(capacity);
  return start(
      [&](Comm comm, Stream stream) {
        Result worst = api_.group_start();
        const auto note = [&](Result result) {
          if (worst == Result::kSuccess || worst == Result::kInProgress) {
            worst = result == Result::kSuccess ? worst : result;
          }
        };
        for (const Outgoing& message : outgoing) {
          note(api_.send(message.bytes, bytes, message.peer, comm, stream));
        }
        for (const Incoming& message : incoming) {
          note(api_.receive(message.bytes, bytes, message.peer, comm, stream));
        }
        note(api_.group_end());
        return worst;
      },
      compute);
}

// NCCL takes the next call only when it has settled the last.
template <typename Call>
absl::Status SiteComm::start(const Call& call, Stream compute) {
  {
    const absl::MutexLock lock(&mutex_);
    LACONIC_RETURN_IF_ERROR(failed_);
    if (absl::Status status = api_.order(compute, stream_); !status.ok()) {
      return fail(std::move(status));
    }
    LACONIC_RETURN_IF_ERROR(check(call(comm_, stream_), "start of an operation"));
  }
  LACONIC_RETURN_IF_ERROR(settle(/*stream=*/false));
  const absl::MutexLock lock(&mutex_);
  LACONIC_RETURN_IF_ERROR(failed_);
  if (absl::Status status = api_.order(stream_, compute); !status.ok()) {
    return fail(std::move(status));
  }
  return absl::OkStatus();
}

absl::Status SiteComm::wait() {
  return settle(/*stream=*/true);
}

absl::Status SiteComm::finish() {
  LACONIC_RETURN_IF_ERROR(wait());
  {
    const absl::MutexLock lock(&mutex_);
    LACONIC_RETURN_IF_ERROR(failed_);
    LACONIC_RETURN_IF_ERROR(check(api_.finalize(comm_), "finish"));
  }
  LACONIC_RETURN_IF_ERROR(settle(/*stream=*/false));
  const absl::MutexLock lock(&mutex_);
  LACONIC_RETURN_IF_ERROR(failed_);
  LACONIC_RETURN_IF_ERROR(check(api_.destroy(comm_), "finish"));
  comm_ = nullptr;
  failed_ = absl::FailedPreconditionError("the NCCL communicator has been finished");
  return absl::OkStatus();
}

void SiteComm::abort(const absl::Status& reason) {
  const absl::MutexLock lock(&mutex_);
  if (failed_.ok()) {
    (void)fail(reason);  // Whoever waits hears it.
  }
}

absl::Status SiteComm::settle(bool stream) {
  const absl::Time deadline = absl::Now() + options_.deadline;
  while (true) {
    {
      const absl::MutexLock lock(&mutex_);
      LACONIC_ASSIGN_OR_RETURN(const bool settled, poll(stream));
      if (settled) {
        return absl::OkStatus();
      }
      if (absl::Now() >= deadline) {
        return fail(absl::DeadlineExceededError(
            absl::StrCat("rank ", options_.rank, " of ", options_.ranks,
                         " GPUs of the site has waited for the others for ",
                         absl::FormatDuration(options_.deadline),
                         "; see their logs, NCCL_DEBUG=INFO says more")));
      }
    }
    absl::SleepFor(kPollInterval);
  }
}

absl::StatusOr<bool> SiteComm::poll(bool stream) {
  LACONIC_RETURN_IF_ERROR(failed_);
  Result state = Result::kSuccess;
  const Result asked = api_.async_error(comm_, state);
  LACONIC_RETURN_IF_ERROR(check(asked == Result::kSuccess ? state : asked, "an operation"));
  if (state == Result::kInProgress || !stream) {
    return state != Result::kInProgress;
  }
  absl::StatusOr<bool> done = api_.is_done(stream_);
  return done.ok() ? done : fail(done.status());
}

absl::Status SiteComm::check(Result result, const char* what) {
  if (result == Result::kSuccess || result == Result::kInProgress) {
    return absl::OkStatus();
  }
  const std::string details = api_.last_error(comm_);
  return fail(absl::Status(
      code_of(result),
      absl::StrCat("NCCL, ", what, " on rank ", options_.rank, " of ", options_.ranks,
                   " GPUs of the site: ", words_of(result), details.empty() ? "" : ": ", details,
                   "; NCCL_DEBUG=INFO says more")));
}

// The first reason stays.
absl::Status SiteComm::fail(absl::Status reason) {
  if (failed_.ok()) {
    failed_ = std::move(reason);
  }
  if (comm_ != nullptr) {
    api_.abort(comm_);
    comm_ = nullptr;
  }
  return failed_;
}

}  // namespace laconic::collective::nccl
