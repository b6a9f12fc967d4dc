// The checks of a job file's exchange: method, schedule, sites. Those of the compressor have a file
// of their own.
#pragma once

#include "common/wire/job_checker.h"
#include "laconic/v1/job.pb.h"

namespace laconic::wire {

// Of spec.workers.count and per site.
inline constexpr int32_t kWorkersMax = 1024;
// Of optimizers and of the outer step.
inline constexpr Range kMomentum = {.low = 0, .high = 0.9999};

// Adds what is wrong with spec.exchange.
void check_exchange(Checker& checker, const v1::TrainJobSpec& spec);

}  // namespace laconic::wire
