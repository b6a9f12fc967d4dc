#include "common/wire/task_id.h"

#include "absl/strings/str_cat.h"

namespace laconic::wire {

TaskId task_id(const v1::TaskKey& key) {
  return {key.job_id(), key.generation(), key.rank()};
}

v1::TaskKey task_key(const TaskId& id) {
  v1::TaskKey key;
  key.set_job_id(id.job_id);
  key.set_generation(id.generation);
  key.set_rank(id.rank);
  return key;
}

std::string to_string(const TaskId& id) {
  return absl::StrCat(id.job_id, ".", id.generation, ".", id.rank);
}

}  // namespace laconic::wire
