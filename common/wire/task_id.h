// One rank of one generation of one job, as a value that can be compared.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "laconic/v1/control.pb.h"

namespace laconic::wire {

// Ordered by job, then generation, then rank.
struct TaskId {
  std::string job_id;
  uint64_t generation = 0;
  int32_t rank = 0;

  auto operator<=>(const TaskId&) const = default;
};

TaskId task_id(const v1::TaskKey& key);
v1::TaskKey task_key(const TaskId& id);
// "job.generation.rank": for logs, directories and the trainer's environment.
std::string to_string(const TaskId& id);

}  // namespace laconic::wire
