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

// Seconds of one gradient of `batch_size` samples, the best of three. Neither dropout nor batch
// statistics see the passes. Errors: those of compute_gradient().
absl::StatusOr<double> time_gradient(const GradientParts& parts, const Dataset& data,
                                     int64_t batch_size);

// What a rank may send beside its rounds: `measurements` of the similarity, and a few words.
int64_t bytes_beside_rounds(int world_size, int64_t measurements);

// All ranks call it together, before their first exchange. step_seconds: of this rank. Rank 0 tells
// the choice in an event. One rank takes dense and measures nothing.
// Errors: those of sync::plan_exchange() and sync::choose_method().
absl::StatusOr<ExchangeChoice> choose_method(const core::ExchangeSpec& asked,
                                             const core::Layout& layout, double step_seconds,
                                             int64_t reserve_bytes,
                                             collective::Communicator& communicator,
                                             WorkerLink& link);

}  // namespace laconic::trainer
