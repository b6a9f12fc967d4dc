// What one rank does in a scheduled mean: the cuts of the vector, and the steps.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/schedule.h"
#include "common/core/codec_spec.h"
#include "common/core/layout.h"
#include "common/core/partition.h"
#include "common/core/schedule.h"

namespace laconic::collective {

struct ScheduledMeanOptions {
  int rank = 0;
  int world_size = 1;
  core::Schedule schedule = core::Schedule::kSharded;  // Not kAuto.
  core::CodecSpec codec = {};                          // kNone: float32. kRing allows only that.
  core::Layout layout = {};
  int ranks_per_site = 1;  // kHierarchical: G >= 1, divides P. The others do not look at it.
  bool error_feedback = false;
  double residual_decay = 1.0;  // 0..1
  bool half_residuals = false;  // residuals in bfloat16
  int divisor = 0;              // of the sum; 0: world_size
};

struct ScheduledWork {
  std::vector<core::Part> parts;
  StepList list;
};

// Frames that a part takes as float32; at least 1.
int float_tiles(int64_t elements);
// Where in the part the tile-th of them begins, and how long it is.
int64_t float_tile_begin(int tile);
int64_t float_tile_elements(int64_t elements, int tile);

// [parts] each: whether `rank` encodes its own values of the part to send them, and its result.
struct EncodedParts {
  std::vector<bool> own;
  std::vector<bool> results;
};
EncodedParts encoded_parts(const StepList& list, int rank);

// Errors: InvalidArgument for kAuto, a ring with a codec, or sites that do not divide the world.
absl::StatusOr<ScheduledWork> plan_scheduled_work(const ScheduledMeanOptions& options);

}  // namespace laconic::collective
