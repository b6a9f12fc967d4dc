#include "cli/job_description.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/core/codec_name.h"
#include "common/core/format.h"
#include "common/core/schedule_choice.h"
#include "common/wire/job_spec.h"

namespace laconic::cli {
namespace {

struct Row {
  std::string name;
  std::string value;
  std::string meaning;
};

std::string table(const std::vector<Row>& rows) {
  size_t name_width = 0;
  size_t value_width = 0;
  for (const Row& row : rows) {
    name_width = std::max(name_width, row.name.size());
    value_width = std::max(value_width, row.value.size());
  }
  std::string text;
  for (const Row& row : rows) {
    absl::StrAppendFormat(&text, "  %-*s  %*s  %s\n", static_cast<int>(name_width), row.name,
                          static_cast<int>(value_width), row.value, row.meaning);
  }
  return text;
}

std::string describe_timeouts(const v1::TrainJob& job) {
  const wire::Timeouts timeouts = wire::derive_timeouts(job);
  const auto text = [](absl::Duration duration) { return core::format_duration(duration); };
  return absl::StrCat("Timeouts, all from spec.exchange.round_deadline\n",
                      table({{"round_deadline", text(timeouts.round_deadline),
                              "longest wait for a peer in a round"},
                             {"start_deadline", text(timeouts.start_deadline),
                              "from reserved slots to the last rank being ready"},
                             {"reservation_ttl", text(timeouts.reservation_ttl),
                              "reserved slots whose tasks no worker confirmed"},
                             {"stop_grace", text(timeouts.stop_grace), "from SIGTERM to SIGKILL"},
                             {"root_cause_wait", text(timeouts.root_cause_wait),
                              "for a better cause than a lost peer"}}));
}

template <typename Image>
bool image_is_known(const Image& model) {
  return model.has_channels() && model.has_height() && model.has_width() && model.has_classes();
}

// How the shapes of the model are known: "" = the job says all, else what is assumed. Nothing can
// be assumed of a LibSVM file's columns.
absl::StatusOr<std::string> assumption(const v1::TrainJobSpec& spec, wire::DataShape& shape) {
  const v1::Model& model = spec.model();
  const std::string assumed = "assuming 28x28x1 inputs in 10 classes where the job says nothing";
  if (model.has_gpt() || model.has_torchscript()) {
    return "";
  }
  if (model.has_conv() || model.has_resnet20()) {
    const bool known = image_is_known(model.conv()) || image_is_known(model.resnet20());
    return known ? "" : assumed;
  }
  const bool has_features =
      model.softmax().has_features() || model.mlp().has_features() || model.linear().has_features();
  const bool has_classes =
      model.softmax().has_classes() || model.mlp().has_classes() || model.has_linear();
  if (has_features && has_classes) {
    return "";
  }
  if (!spec.data().has_libsvm()) {
    return assumed;
  }
  if (spec.data().libsvm().has_features()) {
    shape.features = spec.data().libsvm().features();
  }
  if (has_classes && (has_features || spec.data().libsvm().has_features())) {
    return "";
  }
  return absl::FailedPreconditionError(
      "the LibSVM file decides the model's size; give the model's features and classes to see "
      "them");
}

// What each codec that the planner may take would send.
std::vector<Row> candidate_rows(const v1::TrainJob& job, const core::Layout& layout) {
  const core::ExchangeSpec exchange = wire::exchange_spec(job);
  const int world_size = exchange.codec.world_size;
  std::vector<Row> rows;
  for (const core::CodecSpec& codec : exchange.candidates) {
    const core::Schedule schedule =
        core::choose_schedule(exchange.schedule, codec, layout, world_size);
    rows.push_back(
        {core::codec_name(codec),
         core::format_bytes(core::sent_bytes_expected(schedule, codec, layout, world_size)),
         core::schedule_name(schedule)});
  }
  return rows;
}

std::string describe_iteration(const v1::TrainJob& job, const wire::RoundPrediction& round,
                               int64_t parameters, const std::string& assumed) {
  const std::string size = round.varies ? ", expected" : "";
  const int32_t workers = job.spec().workers().has_count() ? job.spec().workers().count() : 1;
  const bool most_alike = job.spec().exchange().convex().anchor() == v1::Convex::MOST_ALIKE;
  return absl::StrCat(
      "Bytes per iteration (", core::format_count(parameters), " parameters, ", workers,
      workers == 1 ? " worker" : " workers", assumed.empty() ? "" : ", " + assumed, ")\n",
      table({{"schedule", core::schedule_name(round.schedule),
              most_alike ? "the anchor worker is chosen when the job starts"
                         : "rank 0 is the anchor worker"},
             {"message", core::format_bytes(round.payload_bytes), "one compressed vector" + size},
             {"up", core::format_bytes(round.up_bytes),
              "one worker to the anchor worker, with frame headers" + size},
             {"down", core::format_bytes(round.down_bytes),
              "the anchor worker to one worker, with frame headers" + size},
             {"sent", core::format_bytes(round.sent_bytes), "by the worker that sends most" + size},
             {"iterations", core::format_count(round.rounds),
              job.spec().exchange().convex().has_tolerance() ? "at most, in the whole job"
                                                             : "in the whole job"}}));
}

std::string describe_bytes(const v1::TrainJob& job) {
  const std::string title = "Bytes per round and worker";
  const v1::TrainJobSpec& spec = job.spec();
  wire::DataShape shape;
  const absl::StatusOr<std::string> assumed = assumption(spec, shape);
  if (!assumed.ok()) {
    return absl::StrCat(title, ": ", std::string(assumed.status().message()), "\n");
  }
  const absl::StatusOr<core::Layout> layout = wire::model_layout(spec.model(), shape);
  if (!layout.ok()) {
    return absl::StrCat(title, ": ", std::string(layout.status().message()), "\n");
  }
  if (spec.exchange().has_auto_()) {
    return absl::StrCat(title, ": the method is chosen when the job starts; one exchange by AUTO\n",
                        table(candidate_rows(job, *layout)));
  }
  if (spec.exchange().compressor().has_auto_()) {
    return absl::StrCat(title, ": the planner chooses when the job starts; by schedule AUTO\n",
                        table(candidate_rows(job, *layout)));
  }
  const wire::RoundPrediction round = wire::predict_round(job, *layout);
  if (spec.exchange().has_convex()) {
    return describe_iteration(job, round, layout->elements(), *assumed);
  }
  const int32_t workers = spec.workers().has_count() ? spec.workers().count() : 1;
  const std::string size = round.varies ? ", expected" : "";
  std::vector<Row> rows = {
      {"schedule", core::schedule_name(round.schedule), "the way to the mean"},
      {"payload", core::format_bytes(round.payload_bytes), "one update" + size},
      {"sent", core::format_bytes(round.sent_bytes),
       "by the worker that sends most, with frame headers" + size},
      {"dense", core::format_bytes(round.dense_bytes),
       "a float32 ring all-reduce in the same steps"},
      {"rounds", core::format_count(round.rounds),
       spec.exchange().local().has_inner_steps_max() ? "at most, in the whole job"
                                                     : "in the whole job"},
      {"sent in all", core::format_bytes(round.sent_bytes * round.rounds), "by one worker"},
  };
  if (round.schedule == core::Schedule::kHierarchical) {
    rows.insert(rows.begin() + 3, {"between sites", core::format_bytes(round.between_sites_bytes),
                                   "of that, over the links between sites" + size});
  }
  if (round.times_less > 0) {
    rows.push_back({"times less", core::format_ratio(round.times_less), "dense over sent, in all"});
  }
  return absl::StrCat(title, " (", core::format_count(layout->elements()), " parameters, ", workers,
                      workers == 1 ? " worker" : " workers",
                      assumed->empty() ? "" : ", " + *assumed, ")\n", table(rows));
}

}  // namespace

std::string describe_job(const v1::TrainJob& job) {
  return absl::StrCat(describe_timeouts(job), "\n", describe_bytes(job));
}

}  // namespace laconic::cli
