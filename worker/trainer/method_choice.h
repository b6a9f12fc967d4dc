// The start of a job that leaves its method open (spec.exchange.auto): the ranks measure a step,
// the links and the codecs together, and all take the same method.
#pragma once

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "worker/trainer/batch_gradient.h"
#include "worker/trainer/exchange_choice.h"
#include "worker/trainer/worker_link.h"

namespace laconic::trainer {

// What a rank may send beside its rounds: `measurements` of the similarity, and a few words.
int64_t bytes_beside_rounds(int world_size, int64_t measurements);

// All ranks call it together, before their first exchange. A step is timed by gradients of
// `batch_size` samples on all ranks at once, so that ranks that share a machine count as such;
// neither dropout nor batch statistics see them. Rank 0 tells the choice in an event. One rank
// takes dense and measures nothing. Errors: those of compute_gradient(), sync::plan_exchange() and
// sync::choose_method().
absl::StatusOr<ExchangeChoice> choose_method(const core::ExchangeSpec& asked,
                                             const GradientParts& gradient, const Dataset& data,
                                             int64_t batch_size, int64_t reserve_bytes,
                                             collective::Communicator& communicator,
                                             WorkerLink& link);

}  // namespace laconic::trainer
