// With whom: the path that the vectors of the ranks take until every rank has their mean.
#pragma once

#include <cstdint>

namespace laconic::core {

enum class Schedule : uint8_t {
  kAuto = 0,          // the planner chooses
  kAllGather = 1,     // every payload to every rank
  kSharded = 2,       // each rank reduces one part of the vector and sends it to all
  kRing = 3,          // parts travel from neighbour to neighbour; dense only
  kStar = 4,          // through one rank, which encodes the mean again
  kTree = 5,          // log2 P peers: pairs of ranks at doubling distance
  kHierarchical = 6,  // float32 inside a site, encoded between the same ranks of the sites
};

// As in the job file: "all_gather".
const char* schedule_name(Schedule schedule);

}  // namespace laconic::core
