// What a run exchanges by: named by the job, or measured and chosen when it starts.
#pragma once

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "laconic/v1/trainer.pb.h"
#include "worker/trainer/worker_link.h"

namespace laconic::trainer {

struct ExchangeChoice {
  core::ExchangeSpec spec;     // for make_sync_method()
  v1::ExchangeChoice message;  // for progress, the last report and the user's report
};

// Where the job leaves codec and schedule to the planner, all ranks measure here; rank 0 says in
// its log and in the event PLAN_CHOSEN what was taken, and why.
// Errors: those of sync::plan_exchange().
absl::StatusOr<ExchangeChoice> choose_exchange(const core::ExchangeSpec& asked,
                                               const core::Layout& layout,
                                               collective::Communicator& communicator,
                                               WorkerLink& link);

}  // namespace laconic::trainer
