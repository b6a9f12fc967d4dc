// The part exchange.convex of a job file: its checks and its defaults.
#pragma once

#include "common/wire/job_checker.h"
#include "common/wire/job_defaults.h"
#include "laconic/v1/job.pb.h"

namespace laconic::wire {

// Reports everything wrong with spec.exchange.convex and with what goes along with it: the model,
// the compressor, the schedule. The fields of spec.train that it excludes: check_convex_train().
void check_convex(Checker& checker, const v1::TrainJobSpec& spec);
void check_convex_train(Checker& checker, const v1::Train& train);

// Fills in every unset field of exchange.convex that has a default, and what it means to the
// compressor: methods have their own error feedback. Call before the compressor's own defaults.
void fill_convex(v1::Exchange& exchange);

}  // namespace laconic::wire
