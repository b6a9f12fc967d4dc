// Named recipes of a job file: what a preset fills in.
#pragma once

#include <string>

#include "laconic/v1/job.pb.h"

namespace laconic::wire {

// The job with what its preset names filled in; a field that the job sets itself stays. Of a choice
// (optimizer, method, codec) in which the job names another member, only the job's member is left.
// A job without a preset, or with one that is not known, comes back as it is. Done twice it is
// done.
//
// LACONIC takes the rounds from the job's steps; the others are the published numbers, whose
// learning rates suit models of 10^8 parameters and more.
v1::TrainJob with_preset(v1::TrainJob job);

// "DILOCO, STREAMING_DILOCO_FP4, ...".
std::string preset_names();

}  // namespace laconic::wire
