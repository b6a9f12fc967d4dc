#include "worker/trainer/run_rank.h"

#include <spdlog/spdlog.h>
#include <torch/torch.h>

#include <fstream>
#include <map>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/collective/communicator.h"
#include "common/collective/grpc_transport.h"
#include "common/core/exchange_spec.h"
#include "common/core/status_macros.h"
#include "common/sync/sync_method.h"
#include "common/wire/job_spec.h"
#include "common/wire/status.h"
#include "worker/trainer/checkpoint_store.h"
#include "worker/trainer/checkpointer.h"
#include "worker/trainer/compute_device.h"
#include "worker/trainer/convex_loop.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/exchange_choice.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/flat_model.h"
#include "worker/trainer/method_choice.h"
#include "worker/trainer/models.h"
#include "worker/trainer/optimizer.h"
#include "worker/trainer/result.h"
#include "worker/trainer/saved_choice.h"
#include "worker/trainer/training_loop.h"

namespace laconic::trainer {
namespace {

absl::StatusOr<v1::TrainJob> read_job(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  v1::TrainJob job;
  if (!file || !job.ParseFromIstream(&file)) {
    return failure(absl::StatusCode::kInvalidArgument, kBadJob,
                   absl::StrCat(path, ": no binary TrainJob can be read from it"));
  }
  const std::vector<wire::Violation> violations = wire::check_job(job);
  if (!violations.empty()) {
    return failure(absl::StatusCode::kInvalidArgument, kBadJob,
                   std::string(wire::invalid_job(violations).message()));
  }
  return wire::with_defaults(job);
}

// The data plane of one run. A shared pointer to it is all that a stop needs.
struct DataPlane {
  std::unique_ptr<collective::GrpcTransport> transport;
  std::unique_ptr<collective::Communicator> communicator;
};

// What is ready before the other ranks are waited for.
struct Loaded {
  v1::TrainJob job;
  std::unique_ptr<Dataset> data;
  std::unique_ptr<Model> model;
  std::unique_ptr<FlatModel> flat;
  std::unique_ptr<Optimizer> optimizer;  // Null with exchange.convex.
  std::optional<CheckpointStore> checkpoints;
};

std::string result_directory(const RankOptions& options, const v1::TrainJob& job) {
  const std::string& wanted = job.spec().result().directory();
  return wanted.empty() ? options.directory : wanted;
}

void warn_about_buffers(const Model& model, World world, WorkerLink& link) {
  std::vector<std::string> names;
  for (const Model::Buffer& buffer : model.buffers()) {
    names.push_back(buffer.name);
  }
  if (names.empty() || world.rank != 0) {
    return;
  }
  const std::string message =
      absl::StrCat("the model has buffers that no gradient trains (", absl::StrJoin(names, ", "),
                   "): every rank keeps its own, rank 0's are saved");
  spdlog::warn("{}", message);
  link.report_event("BUFFERS_NOT_EXCHANGED", message);
}

// States of another job are refused here, before anybody waits for this rank.
absl::Status open_checkpoints(int rank, Loaded& loaded) {
  LACONIC_ASSIGN_OR_RETURN(
      loaded.checkpoints,
      CheckpointStore::open(loaded.job.spec().train().checkpoint().directory(), rank));
  return saved_steps(*loaded.checkpoints, rank, job_fingerprint(loaded.job, loaded.data->samples()))
      .status();
}

absl::StatusOr<Loaded> load(const RankOptions& options) {
  Loaded loaded;
  LACONIC_ASSIGN_OR_RETURN(loaded.job, read_job(options.job_file));
  const v1::TrainJobSpec& spec = loaded.job.spec();
  torch::set_num_threads(spec.workers().threads_per_rank());
  if (options.world.rank == 0) {
    LACONIC_RETURN_IF_ERROR(prepare_result_directory(result_directory(options, loaded.job)));
  }
  // Convex methods compute on the CPU, in double.
  const v1::Workers::Device asked =
      spec.exchange().has_convex() ? v1::Workers::CPU : spec.workers().device();
  LACONIC_ASSIGN_OR_RETURN(const torch::Device device,
                           choose_device(asked, visible_gpus(), options.world.rank));
  LACONIC_ASSIGN_OR_RETURN(loaded.data, load_dataset(loaded.job, options.world));
  LACONIC_ASSIGN_OR_RETURN(loaded.model,
                           make_model(spec.model(), loaded.data->shape(), spec.train().seed()));
  loaded.model->move_to(device);
  LACONIC_ASSIGN_OR_RETURN(loaded.flat, FlatModel::create(*loaded.model));
  if (!spec.exchange().has_convex()) {
    LACONIC_ASSIGN_OR_RETURN(loaded.optimizer, make_optimizer(spec.train(), *loaded.flat));
  }
  if (spec.train().has_checkpoint() && !spec.exchange().compressor().auto_().measure_only()) {
    LACONIC_RETURN_IF_ERROR(open_checkpoints(options.world.rank, loaded));
  }
  return loaded;
}

// Where the model is, and that what is exchanged does not stay there.
void name_device(const FlatModel& flat, int rank, WorkerLink& link, v1::ExchangeChoice& choice) {
  choice.set_device(flat.device().str());
  choice.set_host_copies(flat.is_copied());
  if (!flat.is_copied() || rank != 0) {
    return;
  }
  const std::string message =
      absl::StrCat("the model is on ", choice.device(),
                   "; what is exchanged is copied to host memory, encoded there by the CPU, and "
                   "copied back");
  spdlog::info("{}", message);
  link.report_event("EXCHANGE_OVER_HOST", message);
}

void say_hello(const Loaded& loaded, const std::string& address, WorkerLink& link) {
  v1::TrainerReport report;
  v1::Hello& hello = *report.mutable_hello();
  hello.set_peer_address(address);
  hello.set_layout_hash(loaded.flat->layout().hash());
  hello.set_parameters(loaded.flat->layout().elements());
  hello.set_samples(loaded.data->samples());
  spdlog::info("ready: {} parameters on {}, {} samples, listens on {}", hello.parameters(),
               loaded.flat->device().str(), hello.samples(), address);
  link.report(std::move(report));
}

// Waits for the launch and connects to the other ranks.
absl::StatusOr<v1::Launch> join(collective::GrpcTransport& transport, WorkerLink& link,
                                absl::Duration deadline) {
  LACONIC_ASSIGN_OR_RETURN(v1::Launch launch, link.wait_for_launch());
  std::vector<std::string> peers;
  for (const v1::Peer& peer : launch.peers()) {
    peers.push_back(peer.address());
  }
  const absl::Status connected =
      transport.connect(launch.generation(), peers, absl::Now() + deadline);
  LACONIC_RETURN_IF_ERROR(exchange_failure(connected, /*step=*/0, transport.lost_rank()));
  spdlog::info("generation={} connected to {} other ranks, trains", launch.generation(),
               launch.peers_size() - 1);
  return launch;
}

// A measurement fails as an exchange before the first step does, or because the job allows no way.
absl::StatusOr<ExchangeChoice> measured(absl::StatusOr<ExchangeChoice> choice,
                                        const DataPlane& plane, const char* field,
                                        absl::Duration deadline) {
  if (absl::IsInvalidArgument(choice.status())) {
    // All ranks come to this, if nobody leaves before the others have what they need for it.
    if (const absl::Status end = plane.transport->finish(absl::Now() + deadline); !end.ok()) {
      spdlog::warn("{}", std::string(end.message()));
    }
    return failure(absl::StatusCode::kInvalidArgument, kBadJob,
                   absl::StrCat(field, ": ", std::string(choice.status().message())));
  }
  LACONIC_RETURN_IF_ERROR(
      exchange_failure(choice.status(), /*step=*/0, plane.communicator->failed_rank()));
  return choice;
}

// The last report of a run that was to measure and not to train.
absl::StatusOr<v1::Finished> end_after_measuring(const ExchangeChoice& choice,
                                                 collective::Transport& transport,
                                                 absl::Duration deadline) {
  LACONIC_RETURN_IF_ERROR(exchange_failure(transport.finish(absl::Now() + deadline), /*step=*/0,
                                           transport.lost_rank()));
  v1::Finished finished;
  report_exchange(choice.message, transport, finished);
  return finished;
}

// What the ranks exchange by: as the job says, or as they measure together where it leaves that
// open, unless they have done so when the run began.
absl::StatusOr<ExchangeChoice> choose(Loaded& loaded, const core::ExchangeSpec& exchange,
                                      const Origin& origin, const DataPlane& plane,
                                      WorkerLink& link) {
  if (!origin.choice.empty()) {
    absl::StatusOr<ExchangeChoice> choice = restore_choice(exchange, origin.choice);
    return choice.ok() ? std::move(choice)
                       : refused(*loaded.checkpoints, origin.saved.step, choice.status());
  }
  if (!exchange.automatic.has_value()) {
    return measured(choose_exchange(exchange, loaded.flat->layout(), *plane.communicator, link),
                    plane, "spec.exchange.compressor.auto", exchange.round_deadline);
  }
  const v1::Train& train = loaded.job.spec().train();
  const GradientParts gradient = {.model = *loaded.model,
                                  .flat = *loaded.flat,
                                  .bfloat16_products = train.precision() == v1::Train::BFLOAT16,
                                  .offsets = {}};
  // What is wrong with model or data has its own reason, not that of the measurement.
  loaded.model->set_training(false);
  LACONIC_RETURN_IF_ERROR(compute_gradient(gradient, loaded.data->share_batch(0, 1)).status());
  const int64_t measurements =
      1 + train.steps() / loaded.job.spec().exchange().similarity().every_steps();
  return measured(choose_method(exchange, gradient, *loaded.data, train.batch_size(),
                                bytes_beside_rounds(plane.communicator->world_size(), measurements),
                                *plane.communicator, link),
                  plane, "spec.exchange.auto", exchange.round_deadline);
}

absl::StatusOr<Origin> origin_of(const Loaded& loaded, collective::Communicator& communicator,
                                 WorkerLink& link) {
  if (!loaded.checkpoints.has_value()) {
    return Origin();
  }
  return find_origin(*loaded.checkpoints, job_fingerprint(loaded.job, loaded.data->samples()),
                     communicator, link);
}

// By the loop that the job's exchange needs.
absl::StatusOr<v1::Finished> train_loaded(Loaded& loaded, const core::ExchangeSpec& exchange,
                                          const DataPlane& plane, WorkerLink& link,
                                          const StopSignal& stop) {
  CheckpointStore* const checkpoints =
      loaded.checkpoints.has_value() ? &*loaded.checkpoints : nullptr;
  LACONIC_ASSIGN_OR_RETURN(Origin origin, origin_of(loaded, *plane.communicator, link));
  if (loaded.job.spec().exchange().has_convex()) {
    return train_convex({.job = loaded.job,
                         .model = *loaded.model,
                         .flat = *loaded.flat,
                         .data = *loaded.data,
                         .communicator = *plane.communicator,
                         .transport = *plane.transport,
                         .link = link,
                         .stop = stop,
                         .checkpoints = checkpoints,
                         .origin = origin});
  }
  LACONIC_ASSIGN_OR_RETURN(ExchangeChoice choice, choose(loaded, exchange, origin, plane, link));
  origin.choice = save_choice(exchange, choice);
  name_device(*loaded.flat, plane.communicator->rank(), link, choice.message);
  if (plane.communicator->rank() != 0) {
    choice.message.Clear();  // rank 0 reports for all
  }
  if (loaded.job.spec().exchange().compressor().auto_().measure_only()) {
    return end_after_measuring(choice, *plane.transport, exchange.round_deadline);
  }
  LACONIC_ASSIGN_OR_RETURN(
      const std::unique_ptr<sync::SyncMethod> sync,
      sync::make_sync_method(choice.spec, loaded.flat->layout(), *plane.communicator));
  return train({.model = *loaded.model,
                .flat = *loaded.flat,
                .data = *loaded.data,
                .optimizer = *loaded.optimizer,
                .sync = *sync,
                .communicator = *plane.communicator,
                .transport = *plane.transport,
                .link = link,
                .stop = stop,
                .choice = choice.message,
                .checkpoints = checkpoints,
                .origin = origin},
               loop_options(loaded.job, loaded.data->samples()));
}

std::map<std::string, std::string> result_metadata(const Loaded& loaded, int64_t steps) {
  std::map<std::string, std::string> metadata = loaded.data->preparation();
  metadata["format"] = "pt";
  // No id and no time: the same job gives the same file.
  metadata["job"] = loaded.job.metadata().name();
  metadata["steps"] = absl::StrCat(steps);
  return metadata;
}

}  // namespace

absl::StatusOr<v1::Finished> run_rank(const RankOptions& options,
                                      const std::shared_ptr<WorkerLink>& link,
                                      const std::shared_ptr<StopSignal>& stop) {
  LACONIC_ASSIGN_OR_RETURN(Loaded loaded, load(options));
  LACONIC_RETURN_IF_ERROR(stop->status());
  const core::ExchangeSpec exchange = wire::exchange_spec(loaded.job);
  const auto plane = std::make_shared<DataPlane>();
  LACONIC_ASSIGN_OR_RETURN(
      plane->transport, collective::GrpcTransport::create({.rank = options.world.rank,
                                                           .world_size = options.world.world_size,
                                                           .host = options.peer_host,
                                                           .job_id = options.job_id,
                                                           .peer_token = options.peer_token,
                                                           .lanes = exchange.lanes}));
  stop->set_listener([plane, link](const absl::Status& reason) {
    plane->transport->abort(reason);
    link->wake();
  });
  say_hello(loaded, plane->transport->address(), *link);
  warn_about_buffers(*loaded.model, options.world, *link);
  LACONIC_ASSIGN_OR_RETURN(const v1::Launch launch,
                           join(*plane->transport, *link, exchange.round_deadline));
  plane->communicator = std::make_unique<collective::Communicator>(
      *plane->transport, launch.generation(), exchange.round_deadline);
  LACONIC_ASSIGN_OR_RETURN(v1::Finished finished,
                           train_loaded(loaded, exchange, *plane, *link, *stop));
  if (loaded.job.spec().exchange().compressor().auto_().measure_only()) {
    return finished;
  }
  if (options.world.rank == 0) {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<std::string> files,
                             write_result(result_directory(options, loaded.job), *loaded.model,
                                          *loaded.flat, result_metadata(loaded, finished.steps())));
    finished.mutable_files()->Add(files.begin(), files.end());
    spdlog::info("wrote {}", absl::StrJoin(files, ", "));
  }
  return finished;
}

absl::StatusOr<v1::Finished> guarded_run_rank(const RankOptions& options,
                                              const std::shared_ptr<WorkerLink>& link,
                                              const std::shared_ptr<StopSignal>& stop) {
  const absl::Status out_of_memory =
      failure(absl::StatusCode::kResourceExhausted, kOutOfMemory,
              "memory ran out; take a smaller model or batch_size, or run fewer ranks per node");
  try {
    return run_rank(options, link, stop);
  } catch (const c10::Error& error) {
    const std::string line = first_line(error.what_without_backtrace());
    return absl::StrContains(line, "DefaultCPUAllocator")
               ? out_of_memory
               : bad_model(absl::StrCat("torch: ", line, "; check that the model fits the data"));
  } catch (const std::bad_alloc&) {
    return out_of_memory;
  } catch (const std::exception& error) {
    // A TorchScript interpreter error has the user's own stack first and the reason in its last
    // line.
    const std::string text = error.what();
    const size_t end = text.find_last_not_of('\n');
    const size_t line = end == std::string::npos ? end : text.rfind('\n', end);
    return failure(absl::StatusCode::kInternal,
                   absl::StrContains(text, "TorchScript") ? kBadModel : kInternal,
                   line == std::string::npos ? text : text.substr(line + 1, end - line));
  }
}

}  // namespace laconic::trainer
