// What follows from a job, as text for people: `laconic validate` prints it.
#pragma once

#include <string>

#include "laconic/v1/job.pb.h"

namespace laconic::cli {

// The derived timeouts and the predicted bytes per round, in aligned lines that end with '\n'.
// The job must be valid. Where the bytes depend on a file that only the nodes have, the text says
// so instead of guessing.
std::string describe_job(const v1::TrainJob& job);

}  // namespace laconic::cli
