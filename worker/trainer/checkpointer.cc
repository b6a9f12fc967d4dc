#include "worker/trainer/checkpointer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/core/digest.h"
#include "common/core/state_bytes.h"
#include "common/core/status_macros.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

constexpr int64_t kAnyCount = std::numeric_limits<int64_t>::max();
constexpr size_t kOffersMax = 16;
constexpr double kNanos = 1e9;

std::array<int64_t*, 8> counters(RankBytes& bytes) {
  return {&bytes.all.sent,
          &bytes.all.received,
          &bytes.all.payload_sent,
          &bytes.all.payload_received,
          &bytes.between_sites.sent,
          &bytes.between_sites.received,
          &bytes.between_sites.payload_sent,
          &bytes.between_sites.payload_received};
}

// Seconds as whole nanoseconds: a state has no field for fractions.
void save_seconds(core::StateWriter& writer, double seconds) {
  writer.integer(std::llround(seconds * kNanos));
}

void save_totals(core::StateWriter& writer, RunTotals totals) {
  save_seconds(writer, totals.seconds);
  const v1::PhaseSeconds& phases = totals.phases;
  for (const double seconds : {phases.compute(), phases.compress(), phases.exchange(),
                               phases.decompress(), phases.evaluate()}) {
    save_seconds(writer, seconds);
  }
  for (const int64_t* counter : counters(totals.bytes)) {
    writer.integer(*counter);
  }
}

absl::StatusOr<RunTotals> restore_totals(core::StateReader& reader) {
  std::array<double, 6> seconds{};
  for (double& value : seconds) {
    LACONIC_ASSIGN_OR_RETURN(const int64_t nanos, reader.integer("a time", 0, kAnyCount));
    value = static_cast<double>(nanos) / kNanos;
  }
  RunTotals totals;
  totals.seconds = seconds[0];
  totals.phases.set_compute(seconds[1]);
  totals.phases.set_compress(seconds[2]);
  totals.phases.set_exchange(seconds[3]);
  totals.phases.set_decompress(seconds[4]);
  totals.phases.set_evaluate(seconds[5]);
  for (int64_t* counter : counters(totals.bytes)) {
    LACONIC_ASSIGN_OR_RETURN(*counter, reader.integer("a byte count", 0, kAnyCount));
  }
  return totals;
}

// Not a number of the job: two runs of one job must differ.
int64_t new_course() {
  std::random_device device;
  return static_cast<int64_t>(uint64_t{device()} << 32 | device());
}

collective::Payload payload_of(std::span<const uint8_t> bytes) {
  const auto buffer = std::make_shared<core::ByteBuffer>(bytes.size());
  std::ranges::copy(bytes, buffer->bytes().begin());
  return collective::Payload(buffer);
}

// Reads what stands before the course.
absl::StatusOr<core::StateReader> open_state(std::span<const uint8_t> bytes, int rank,
                                             const std::string& fingerprint) {
  LACONIC_ASSIGN_OR_RETURN(core::StateReader reader, core::StateReader::open(bytes));
  LACONIC_RETURN_IF_ERROR(reader.expect_text("job", fingerprint));
  LACONIC_RETURN_IF_ERROR(reader.integer("rank", rank, rank).status());
  return reader;
}

}  // namespace

std::string job_fingerprint(const v1::TrainJob& job, int64_t samples) {
  v1::TrainJobSpec spec = job.spec();
  spec.clear_preset();  // it is filled in
  spec.clear_result();
  spec.clear_limits();
  v1::Train& train = *spec.mutable_train();
  train.clear_checkpoint();
  train.clear_eval_every_steps();
  train.clear_eval_samples();
  spec.mutable_exchange()->clear_round_deadline();
  const std::string text = spec.SerializeAsString();  // without maps: the same everywhere
  const uint64_t digest =
      core::digest(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  return absl::StrCat(core::format_digest(digest), " with ", samples, " samples");
}

absl::Status refused(const CheckpointStore& store, int64_t step, const absl::Status& why) {
  return failure(
      absl::StatusCode::kInvalidArgument, kBadCheckpoint,
      absl::StrCat(store.path_of(step), ": ", why.message(),
                   "; run the job that made it, remove the directory on every node to begin anew, "
                   "or give this job a spec.train.checkpoint.directory of its own"));
}

absl::StatusOr<std::vector<SavedStep>> saved_steps(const CheckpointStore& store, int rank,
                                                   const std::string& fingerprint) {
  std::vector<SavedStep> saved;
  for (const int64_t step : store.steps()) {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, store.read(step));
    absl::StatusOr<core::StateReader> reader = open_state(bytes, rank, fingerprint);
    if (!reader.ok()) {
      return refused(store, step, reader.status());
    }
    LACONIC_ASSIGN_OR_RETURN(const int64_t course, reader->integer());
    saved.push_back({.step = step, .course = course});
  }
  return saved;
}

namespace {

// What auto chose in the run that this state is of.
absl::StatusOr<std::vector<uint8_t>> read_choice(const CheckpointStore& store, int64_t step,
                                                 int rank, const std::string& fingerprint) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, store.read(step));
  absl::StatusOr<core::StateReader> reader = open_state(bytes, rank, fingerprint);
  const bool readable = reader.ok() && reader->integer().ok();  // the course
  const absl::StatusOr<std::span<const uint8_t>> choice =
      readable ? reader->bytes() : absl::DataLossError("state: it changed meanwhile");
  if (!choice.ok()) {
    return refused(store, step, choice.status());
  }
  return std::vector<uint8_t>(choice->begin(), choice->end());
}

}  // namespace

// Every rank offers what it has, so that all come to the same answer: the newest common state, or
// step 0 with the number of a new course.
absl::StatusOr<Origin> find_origin(const CheckpointStore& store, const std::string& fingerprint,
                                   collective::Communicator& communicator, WorkerLink& link) {
  LACONIC_ASSIGN_OR_RETURN(std::vector<SavedStep> common,
                           saved_steps(store, communicator.rank(), fingerprint));
  if (common.size() > kOffersMax) {  // the newest; two are usual
    common.erase(common.begin(), common.end() - kOffersMax);
  }
  std::vector<SavedStep> sent = {{.step = 0, .course = new_course()}};
  sent.insert(sent.end(), common.begin(), common.end());
  const std::span<const SavedStep> own(sent);
  absl::StatusOr<std::vector<collective::Payload>> answers = communicator.all_gather(
      payload_of({reinterpret_cast<const uint8_t*>(own.data()), own.size_bytes()}),
      (kOffersMax + 1) * sizeof(SavedStep), {});
  LACONIC_RETURN_IF_ERROR(
      exchange_failure(answers.status(), /*step=*/0, communicator.failed_rank()));
  SavedStep agreed;
  bool any = false;
  std::vector<size_t> without;
  for (size_t rank = 0; rank < answers->size(); ++rank) {
    const collective::Payload& payload = (*answers)[rank];
    std::vector<SavedStep> theirs(payload.size / sizeof(SavedStep));
    if (theirs.empty()) {
      return exchange_failure(absl::DataLossError(absl::StrCat("rank ", rank, " offers nothing")),
                              /*step=*/0, static_cast<int>(rank));
    }
    std::memcpy(theirs.data(), payload.data, theirs.size() * sizeof(SavedStep));
    agreed.course = rank == 0 ? theirs[0].course : agreed.course;
    any = any || theirs.size() > 1;
    if (theirs.size() == 1) {
      without.push_back(rank);
    }
    std::erase_if(common, [&](const SavedStep& own_step) {
      return std::ranges::count(theirs, own_step) == 0;
    });
  }
  for (const SavedStep& offer : common) {
    agreed = offer.step > agreed.step ? offer : agreed;
  }
  if (agreed.step == 0 && any && communicator.rank() == 0) {
    const std::string message = absl::StrCat(
        "the checkpoints in ", store.directory(), " are not used: ",
        without.empty() ? "there is no step that all ranks have"
                        : absl::StrCat("none on the node of rank ", absl::StrJoin(without, ", ")));
    spdlog::info("{}", message);
    link.report_event("BEGINS_ANEW", message);
  }
  Origin origin{.saved = agreed, .choice = {}};
  if (agreed.step > 0) {
    LACONIC_ASSIGN_OR_RETURN(origin.choice,
                             read_choice(store, agreed.step, communicator.rank(), fingerprint));
  }
  return origin;
}

Checkpointer::Checkpointer(CheckpointedRun& run, collective::Communicator& communicator,
                           WorkerLink& link, Options options)
    : run_(run), communicator_(communicator), link_(link), options_(std::move(options)) {}

absl::Status Checkpointer::exchanged(int64_t step, const absl::Status& status) const {
  return exchange_failure(status, step, communicator_.failed_rank());
}

void Checkpointer::tell(const char* reason, const std::string& message) const {
  spdlog::info("{}", message);
  link_.report_event(reason, message);
}

absl::StatusOr<RunState> Checkpointer::resume() {
  const SavedStep& agreed = options_.origin.saved;
  if (options_.store == nullptr || agreed.step == 0) {
    return RunState();
  }
  CheckpointStore& store = *options_.store;
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, store.read(agreed.step));
  absl::StatusOr<RunState> state = restore(bytes);
  if (!state.ok()) {
    return refused(store, agreed.step, state.status());
  }
  store.keep_only(agreed.step);
  if (communicator_.rank() == 0) {
    tell("RESUMED",
         absl::StrCat("goes on after step ", agreed.step, ", saved in ", store.directory()));
  }
  return state;
}

absl::Status Checkpointer::save(const RunState& state) {
  LACONIC_RETURN_IF_ERROR(exchanged(state.step, run_.settle()));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, encode(state));
  CheckpointStore& store = *options_.store;
  const absl::Status written = store.write(state.step, bytes);
  if (!written.ok() && !last_write_failed_) {
    tell("CHECKPOINT_NOT_WRITTEN",
         absl::StrCat(written.message(), " (the run goes on; the last checkpoint stays)"));
  }
  last_write_failed_ = !written.ok();
  // Without a byte: done; with one: failed.
  const uint8_t failed = 1;
  const absl::StatusOr<std::vector<collective::Payload>> answers =
      communicator_.all_gather(payload_of({&failed, written.ok() ? size_t{0} : size_t{1}}),
                               /*payload_bytes_max=*/1, run_.next_tag());
  LACONIC_RETURN_IF_ERROR(exchanged(state.step, answers.status()));
  if (std::ranges::all_of(*answers, [](const auto& answer) { return answer.size == 0; })) {
    store.keep_only(state.step);
    spdlog::info("step={} checkpoint of {} bytes written", state.step, bytes.size());
  } else {
    store.remove(state.step);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> Checkpointer::encode(const RunState& state) const {
  core::StateWriter writer;
  writer.text(options_.fingerprint);
  writer.integer(communicator_.rank());
  writer.integer(options_.origin.saved.course);
  writer.bytes(options_.origin.choice);
  writer.integer(state.step);
  writer.integer(state.evaluation_is_due ? 1 : 0);
  save_totals(writer, state.totals);
  LACONIC_RETURN_IF_ERROR(run_.save(writer));
  return std::move(writer).take();
}

absl::StatusOr<RunState> Checkpointer::restore(std::span<const uint8_t> bytes) const {
  LACONIC_ASSIGN_OR_RETURN(core::StateReader reader,
                           open_state(bytes, communicator_.rank(), options_.fingerprint));
  LACONIC_RETURN_IF_ERROR(reader.integer().status());  // the course
  LACONIC_RETURN_IF_ERROR(reader.bytes().status());    // the choice, which is made already
  RunState state;
  LACONIC_ASSIGN_OR_RETURN(state.step, reader.integer("step", 1, kAnyCount));
  LACONIC_ASSIGN_OR_RETURN(const int64_t due, reader.integer("evaluation", 0, 1));
  state.evaluation_is_due = due == 1;
  LACONIC_ASSIGN_OR_RETURN(state.totals, restore_totals(reader));
  LACONIC_RETURN_IF_ERROR(run_.restore(reader, state.step));
  LACONIC_RETURN_IF_ERROR(reader.done());
  return state;
}

}  // namespace laconic::trainer
