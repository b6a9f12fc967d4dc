#include "common/core/schedule.h"

namespace laconic::core {

const char* schedule_name(Schedule schedule) {
  switch (schedule) {
    case Schedule::kAuto:
      return "auto";
    case Schedule::kAllGather:
      return "all_gather";
    case Schedule::kSharded:
      return "sharded";
    case Schedule::kRing:
      return "ring";
    case Schedule::kStar:
      return "star";
    case Schedule::kTree:
      return "tree";
    case Schedule::kHierarchical:
      return "hierarchical";
  }
  return "unknown";
}

}  // namespace laconic::core
