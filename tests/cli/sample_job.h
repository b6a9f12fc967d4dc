// A job as the server would send it, with curves, for tests of reports and output.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "laconic/v1/control.pb.h"

namespace laconic::cli {

// A job of `ranks` ranks that trained 700 steps of 421642 parameters in 22 rounds.
inline v1::Job sample_job(int ranks = 4) {
  v1::Job job;
  job.set_id("4k2p9x7abc");
  job.set_state(v1::SUCCEEDED);
  job.mutable_create_time()->set_seconds(1790000000);
  v1::TrainJob& file = *job.mutable_job();
  file.set_api_version("laconic.v1");
  file.set_kind("TrainJob");
  file.mutable_metadata()->set_name("fashion-mnist");
  file.mutable_spec()->mutable_workers()->set_count(ranks);
  file.mutable_spec()->mutable_model()->mutable_conv();
  file.mutable_spec()->mutable_train()->set_steps(700);
  file.mutable_spec()->mutable_exchange()->mutable_local()->set_inner_steps(32);
  for (int step = 16; step <= 704; step += 16) {
    v1::HistoryPoint& point = *job.add_history();
    point.set_step(std::min(step, 700));
    point.set_round(step / 32);
    point.set_seconds(step * 0.14);
    point.set_sent_bytes(ranks > 1 ? point.round() * 159000 : 0);
    point.set_train_loss(0.22 + 2.1 * std::exp(-step / 90.0));
    if (step % 64 == 0 || step == 704) {
      point.set_eval_loss(0.26 + 2.0 * std::exp(-step / 90.0));
      point.set_eval_accuracy(0.92 - 0.7 * std::exp(-step / 80.0));
    }
  }
  for (int at = 0; at < ranks; ++at) {
    v1::Rank& rank = *job.add_ranks();
    rank.set_rank(at);
    rank.set_node("node-" + std::to_string(at));
    rank.set_state(v1::DONE);
    rank.set_pid(1000 + at);
    rank.mutable_hello()->set_parameters(421642);
    rank.mutable_hello()->set_samples(15000);
    v1::Finished& finished = *rank.mutable_finished();
    finished.set_digest(0x00c0ffee12345678);
    finished.set_steps(700);
    finished.set_rounds(22);
    finished.set_seconds(98.5 + at);
    finished.set_train_loss(0.2 + 0.02 * at);
    finished.mutable_bytes()->set_sent(ranks > 1 ? 3498000 + at : 0);
    finished.mutable_bytes()->set_received(ranks > 1 ? 3498100 + at : 0);
    finished.mutable_phases()->set_compute(80.0 + at);
    finished.mutable_phases()->set_compress(2.1);
    finished.mutable_phases()->set_exchange(9.0 - at);
    finished.mutable_phases()->set_decompress(1.4);
    finished.mutable_phases()->set_evaluate(at == 0 ? 6 : 0);
    if (at == 0) {
      finished.set_eval_loss(0.25);
      finished.set_eval_accuracy(0.9144);
      finished.add_files("/data/runs/demo/model.safetensors");
    }
  }
  return job;
}

}  // namespace laconic::cli
