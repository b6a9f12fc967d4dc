// A job file on disk -> TrainJob: read, typed, checked, with file:line:column in every error.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/v1/job.pb.h"

namespace laconic::cli {

// Reads the job in `path`, which must come out valid as wire::check_job() sees it.
//
//   path       .json is JSON, .textproto and .txtpb are protobuf text, all else is YAML;
//              at most 1 MiB
//   overrides  "spec.train.steps=10", applied in this order on top of the file; the value is typed
//              by the field, lists and messages are written as in YAML: "[64, 32]", "{bits: 4}"
//   returns    the job without defaults; relative paths in it are made absolute against the
//              directory of the job file
//
// Errors: InvalidArgument with one line per problem,
// "job.yaml:12:17: spec.train.batch_size is 0; allowed: 1..1000000". Positions count from 1; a
// missing key is reported at the nearest key around it.
absl::StatusOr<v1::TrainJob> load_job_file(const std::string& path,
                                           const std::vector<std::string>& overrides);

}  // namespace laconic::cli
