// Jobs, registrations and reports for tests of the server.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/wire/job_spec.h"
#include "laconic/v1/control.pb.h"
#include "server/coordinator.h"

namespace laconic::server::testing {

// Valid, with defaults.
inline v1::TrainJob job_of(int workers, const std::string& name = "job") {
  v1::TrainJob job;
  job.set_api_version("laconic.v1");
  job.set_kind("TrainJob");
  job.mutable_metadata()->set_name(name);
  v1::TrainJobSpec& spec = *job.mutable_spec();
  spec.mutable_workers()->set_count(workers);
  spec.mutable_model()->mutable_softmax();
  spec.mutable_data()->mutable_libsvm()->set_train_file("/data/train.libsvm");
  spec.mutable_data()->mutable_shared()->mutable_iid();
  spec.mutable_train()->set_steps(100);
  spec.mutable_train()->mutable_optimizer()->mutable_sgd()->set_learning_rate(0.1);
  spec.mutable_exchange()->mutable_dense();
  return wire::with_defaults(std::move(job));
}

inline v1::Register registration(const std::string& node, int slots,
                                 const std::string& incarnation = "first") {
  v1::Register request;
  request.set_node(node);
  request.set_incarnation(incarnation);
  request.set_slots(slots);
  request.set_version("0.1.0");
  return request;
}

inline v1::TaskUpdate update_of(const TaskId& id) {
  v1::TaskUpdate update;
  *update.mutable_key() = task_key(id);
  return update;
}

inline v1::TaskUpdate pid_of(const TaskId& id, int pid = 100) {
  v1::TaskUpdate update = update_of(id);
  update.set_pid(pid);
  return update;
}

inline v1::TaskUpdate hello_of(const TaskId& id, uint64_t layout = 7) {
  v1::TaskUpdate update = update_of(id);
  v1::Hello& hello = *update.mutable_report()->mutable_hello();
  hello.set_peer_address("127.0.0.1:" + std::to_string(1000 + id.rank));
  hello.set_layout_hash(layout);
  hello.set_parameters(1000);
  hello.set_samples(50);
  return update;
}

inline v1::TaskUpdate progress_of(const TaskId& id, int64_t step) {
  v1::TaskUpdate update = update_of(id);
  v1::Progress& progress = *update.mutable_report()->mutable_progress();
  progress.set_step(step);
  progress.set_round(step);
  progress.set_seconds(static_cast<double>(step) * 0.5);
  progress.set_train_loss(1.5);
  progress.mutable_bytes()->set_sent(step * 10);
  progress.mutable_bytes()->set_received(step * 20);
  progress.mutable_phases()->set_compute(static_cast<double>(step) * 0.25);
  return update;
}

inline v1::TaskUpdate point_of(const TaskId& id, int64_t step, double loss) {
  v1::TaskUpdate update = update_of(id);
  v1::HistoryPoint& point = *update.mutable_report()->mutable_history();
  point.set_step(step);
  point.set_train_loss(loss);
  point.set_sent_bytes(step * 10 + id.rank);
  if (id.rank == 0) {
    point.set_eval_accuracy(0.5);
  }
  return update;
}

inline v1::TaskUpdate finished_of(const TaskId& id, uint64_t digest = 42) {
  v1::TaskUpdate update = update_of(id);
  v1::Finished& finished = *update.mutable_report()->mutable_finished();
  finished.set_digest(digest);
  finished.set_steps(100);
  finished.set_rounds(100);
  return update;
}

inline v1::TaskUpdate failure_of(const TaskId& id, const std::string& reason, int peer = -1) {
  v1::TaskUpdate update = update_of(id);
  v1::Failure& failure = *update.mutable_report()->mutable_failure();
  failure.set_reason(reason);
  failure.set_message("what " + reason + " says");
  if (peer >= 0) {
    failure.set_peer_rank(peer);
  }
  return update;
}

inline v1::TaskUpdate exit_of(const TaskId& id, int code, int signal = 0) {
  v1::TaskUpdate update = update_of(id);
  update.mutable_exit()->set_exit_code(code);
  update.mutable_exit()->set_signal(signal);
  update.mutable_exit()->add_last_lines("the last line");
  return update;
}

}  // namespace laconic::server::testing
