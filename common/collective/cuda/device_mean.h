// The mean over the ranks of one vector each, on GPUs: encoded there, exchanged as bytes, decoded
// and added up there in rank order. The same bits on all ranks.
//
//   P  world_size    G  ranks per site    M  sites    d  elements    S  bytes of a payload
//
//   all_gather     every rank's payload of the whole vector to all: the bytes, the result and the
//                  residuals of sync::MeanExchange. Where one site holds all ranks, over NCCL in
//                  buffers of fixed capacity: three kernels and one NCCL call an exchange, and no
//                  size on the host.
//   hierarchical   NCCL sums up equal shards in float32 inside the site (the last ones padded with
//                  zeros); index g of the sites exchange shard g, sharded once more and encoded;
//                  NCCL gathers what results. Of G ranks each sends 2 (M-1)/M S/G bytes between the
//                  sites. Shards are cut otherwise than by the schedule of the CPU, so ranks of
//                  both kinds cannot meet here.
//   the others     the steps, bytes and results of ScheduledMean: ranks that hold their vectors in
//                  host memory take part in the same exchange.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/collective/cuda/device_payloads.h"
#include "common/collective/nccl/site_comm.h"
#include "common/collective/scheduled_work.h"

namespace laconic::collective::cuda {

// What connects the ranks of a generation; outlives the exchange.
struct DeviceLinks {
  Communicator& communicator;
  nccl::SiteComm* site = nullptr;  // null: every rank is a site of its own
};

// Owned by one thread. One exchange is a transaction: run(), then commit() when all ranks have
// their mean, or rollback().
class DeviceMean {
 public:
  // options.schedule: not kAuto. All ranks give the same options, but for the rank.
  //
  // Errors: InvalidArgument for what plan_scheduled_work() and make_codec() refuse; Unimplemented,
  // for use of the CPU, for codecs without kernels (make_device_codec()), residuals in bfloat16,
  // and without a codec all but ring and tree; those of Machine.
  static absl::StatusOr<std::unique_ptr<DeviceMean>> make(const ScheduledMeanOptions& options,
                                                          const DevicePlace& place);
  virtual ~DeviceMean() = default;

  // links.site: of G ranks by hierarchical; all_gather uses it if it has P; the others do not.
  //
  //   v    [d], device memory; unchanged. After rollback() the same v again: what is owed already
  //        is not added twice, and all ranks send the same bytes as before.
  //   out  [d], device memory apart from v: the mean
  //
  // Waits for the device, but not for the last sums. No wait for a peer has no deadline.
  // Errors: those of Communicator::all_gather, of SiteComm, of the codec; InvalidArgument for an
  // element that is not finite, whose payload is not sent; FailedPrecondition for links of other
  // ranks than those of the options. After one the exchange is rolled back, `out` is unspecified,
  // and links.site is aborted where it was in use.
  absl::Status run(const DeviceLinks& links, const float* v, const OpTag& tag, float* out);

  // Closes the exchange; residuals keep what the bytes left out. Does not wait for the device.
  virtual absl::Status commit() = 0;
  // Without an open exchange: nothing.
  virtual void rollback() = 0;

 protected:
  explicit DeviceMean(const ScheduledMeanOptions& options)
      : rank_(options.rank), world_size_(options.world_size) {}
  virtual absl::Status exchange(const DeviceLinks& links, const float* v, const OpTag& tag,
                                float* out) = 0;

  const int rank_;
  const int world_size_;
};

}  // namespace laconic::collective::cuda
