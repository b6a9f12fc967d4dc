#include "cli/report_data.h"

#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/convex_text.h"
#include "cli/job_text.h"
#include "cli/plan_text.h"
#include "cli/similarity_text.h"
#include "common/wire/job_spec.h"

namespace laconic::cli {
namespace {

ReportPhases phases_of(const v1::PhaseSeconds& phases) {
  return {.compute = phases.compute(),
          .compress = phases.compress(),
          .exchange = phases.exchange(),
          .decompress = phases.decompress(),
          .evaluate = phases.evaluate()};
}

ReportRank rank_of(const v1::Rank& rank) {
  const bool done = rank.has_finished();
  const v1::ByteCounts& bytes = done ? rank.finished().bytes() : rank.progress().bytes();
  const auto& decisions = done ? rank.finished().decisions() : rank.progress().decisions();
  std::vector<int64_t> sent_to;
  for (const v1::ByteCounts& peer : rank.finished().peer_bytes()) {
    sent_to.push_back(peer.sent());
  }
  return {.rank = rank.rank(),
          .node = rank.node(),
          .state = v1::RankState_Name(rank.state()),
          .samples = rank.hello().samples(),
          .sent_bytes = bytes.sent(),
          .received_bytes = bytes.received(),
          .sent_between_sites = bytes.sent_between_sites(),
          .received_between_sites = bytes.received_between_sites(),
          .payload_sent_bytes = bytes.payload_sent(),
          .payload_received_bytes = bytes.payload_received(),
          .sent_to_bytes = std::move(sent_to),
          .train_loss = done ? rank.finished().train_loss() : rank.progress().train_loss(),
          .decisions = {decisions.begin(), decisions.end()},
          .phases = phases_of(done ? rank.finished().phases() : rank.progress().phases()),
          .digest = done ? absl::StrFormat("%016x", rank.finished().digest()) : ""};
}

ReportPoint point_of(const v1::HistoryPoint& point) {
  ReportPoint out = {.step = point.step(),
                     .round = point.round(),
                     .seconds = point.seconds(),
                     .sent_bytes = point.sent_bytes(),
                     .train_loss = point.train_loss(),
                     .eval_loss = std::nullopt,
                     .eval_accuracy = std::nullopt};
  if (point.has_eval_loss()) {
    out.eval_loss = point.eval_loss();
  }
  if (point.has_eval_accuracy()) {
    out.eval_accuracy = point.eval_accuracy();
  }
  return out;
}

// The end of the run as its slowest rank knows it.
void fill_progress(const v1::Job& job, ReportData& data) {
  double loss_sum = 0;
  int32_t losses = 0;
  for (const v1::Rank& rank : job.ranks()) {
    const bool done = rank.has_finished();
    if (!done && !rank.has_progress()) {
      continue;
    }
    data.steps = std::max(data.steps, done ? rank.finished().steps() : rank.progress().step());
    data.rounds = std::max(data.rounds, done ? rank.finished().rounds() : rank.progress().round());
    data.wall_seconds =
        std::max(data.wall_seconds, done ? rank.finished().seconds() : rank.progress().seconds());
    loss_sum += done ? rank.finished().train_loss() : rank.progress().train_loss();
    ++losses;
  }
  if (losses > 0) {
    data.train_loss = loss_sum / losses;
  }
}

// Rank 0 evaluates; before it has finished, the last evaluated point of the curve counts.
void fill_evaluation(const v1::Job& job, ReportData& data) {
  for (const ReportPoint& point : data.history) {
    if (point.eval_loss) {
      data.eval_loss = point.eval_loss;
    }
    if (point.eval_accuracy) {
      data.eval_accuracy = point.eval_accuracy;
    }
  }
  for (const v1::Rank& rank : job.ranks()) {
    if (rank.finished().has_eval_loss()) {
      data.eval_loss = rank.finished().eval_loss();
    }
    if (rank.finished().has_eval_accuracy()) {
      data.eval_accuracy = rank.finished().eval_accuracy();
    }
    data.files.insert(data.files.end(), rank.finished().files().begin(),
                      rank.finished().files().end());
  }
}

void set_block_style(YAML::Node node) {
  if (node.IsMap()) {
    node.SetStyle(node.size() == 0 ? YAML::EmitterStyle::Flow : YAML::EmitterStyle::Block);
    for (auto entry : node) {
      set_block_style(entry.second);
    }
  } else if (node.IsSequence()) {
    // Lists in a job file are short: widths of layers.
    node.SetStyle(YAML::EmitterStyle::Flow);
  }
}

}  // namespace

int64_t dense_equivalent_bytes(int32_t world_size, int64_t parameters, int64_t steps) {
  if (world_size <= 1) {
    return 0;
  }
  const double share = 2.0 * (world_size - 1) / world_size;
  return std::llround(share * 4 * static_cast<double>(parameters) * static_cast<double>(steps));
}

double times_less(int32_t world_size, int64_t dense_bytes, int64_t sent_bytes_max) {
  if (world_size <= 1 || sent_bytes_max <= 0) {
    return 0;
  }
  return static_cast<double>(dense_bytes) / static_cast<double>(sent_bytes_max);
}

ReportData report_data(const v1::Job& job) {
  ReportData data;
  data.result = state_name(job.state());
  data.message = job.message();
  data.id = job.id();
  data.name = job.job().metadata().name();
  data.created = format_time(job.create_time());
  data.steps_wanted = job.job().spec().train().steps();
  data.ranks_per_site = job.job().spec().exchange().ranks_per_site();
  data.round_schedule = wire::exchange_spec(job.job()).rounds;
  data.round_schedule.steps = data.steps_wanted;
  data.rounds_vary = job.job().spec().exchange().has_auto_() ||
                     job.job().spec().exchange().local().has_inner_steps_max();
  data.world_size = job.ranks_size() > 0 ? job.ranks_size() : ranks_wanted(job.job());
  for (const v1::Rank& rank : job.ranks()) {
    data.ranks.push_back(rank_of(rank));
    data.parameters = std::max(data.parameters, rank.hello().parameters());
    data.rounds_decided.insert(data.rounds_decided.end(), rank.finished().rounds_decided().begin(),
                               rank.finished().rounds_decided().end());
    data.sent_bytes_max = std::max(data.sent_bytes_max, data.ranks.back().sent_bytes);
    data.sent_between_sites_max =
        std::max(data.sent_between_sites_max, data.ranks.back().sent_between_sites);
  }
  for (const v1::HistoryPoint& point : job.history()) {
    data.history.push_back(point_of(point));
  }
  fill_progress(job, data);
  fill_evaluation(job, data);
  data.compared_with_dense = !job.job().spec().exchange().has_convex();
  data.dense_equivalent_bytes = dense_equivalent_bytes(data.world_size, data.parameters,
                                                       data.compared_with_dense ? data.steps : 0);
  data.times_less = times_less(data.world_size, data.dense_equivalent_bytes, data.sent_bytes_max);
  data.digests_equal =
      !data.ranks.empty() && std::all_of(data.ranks.begin(), data.ranks.end(), [&](const auto& r) {
        return !r.digest.empty() && r.digest == data.ranks.front().digest;
      });
  data.exchange = exchange_of(job);
  data.convex = convex_of(job);
  data.similarity = similarity_of(job);
  data.job_file = job_yaml(job.job());
  return data;
}

std::string job_yaml(const v1::TrainJob& job) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(job, &json, options).ok()) {
    return job.DebugString();
  }
  // JSON is YAML: parsed and printed in block style it is the job file again.
  YAML::Node node = YAML::Load(json);
  set_block_style(node);
  YAML::Emitter emitter;
  emitter << node;
  return std::string(emitter.c_str()) + "\n";
}

}  // namespace laconic::cli
