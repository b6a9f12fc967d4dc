#include "tests/integration/cluster.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/core/random.h"
#include "gtest/gtest.h"
#include "tests/testing/paths.h"

namespace laconic::integration {
namespace {

// The last object of gRPC to go shuts the library down, which can wait 10 s for gRPC's backup
// poller; so the library stays.
const bool kGrpcStays = (grpc_init(), true);

constexpr int kSide = 8;
constexpr int kClasses = 4;

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

// Class c lights up the c-th quarter of the image, on noise.
void write_part(const std::filesystem::path& directory, const std::string& part, int samples,
                uint64_t seed) {
  core::Random random(seed);
  std::string images = big_endian(0x803) + big_endian(static_cast<uint32_t>(samples)) +
                       big_endian(kSide) + big_endian(kSide);
  std::string labels = big_endian(0x801) + big_endian(static_cast<uint32_t>(samples));
  for (int i = 0; i < samples; ++i) {
    const int label = static_cast<int>(random.below(kClasses));
    labels.push_back(static_cast<char>(label));
    for (int pixel = 0; pixel < kSide * kSide; ++pixel) {
      const bool lit = pixel / (kSide * kSide / kClasses) == label;
      images.push_back(static_cast<char>(random.below(120) + (lit ? 120 : 0)));
    }
  }
  testing::write_file(directory / (part + "-images"), images);
  testing::write_file(directory / (part + "-labels"), labels);
}

}  // namespace

std::string binary(const std::string& name) {
  return testing::bin_dir() + "/" + name;
}
std::string source_file(const std::string& path) {
  return testing::source_dir() + "/" + path;
}

std::string new_mark() {
  static int count = 0;
  return absl::StrCat(getpid(), "-", ++count);
}

void write_idx_data(const std::filesystem::path& directory, int samples) {
  std::filesystem::create_directories(directory);
  write_part(directory, "train", samples, 1);
  write_part(directory, "eval", samples / 4, 2);
}

std::string job_yaml(const std::filesystem::path& data, const JobOptions& options) {
  const std::string prefix = data.string();
  return absl::StrCat(
      "api_version: laconic.v1\nkind: TrainJob\nmetadata: {name: ", options.name,
      "}\nspec:\n  workers: {count: ", options.workers, "}\n  model: {", options.model,
      "}\n  data:\n    idx: {train_images: ", prefix, "/train-images, train_labels: ", prefix,
      "/train-labels, eval_images: ", prefix, "/eval-images, eval_labels: ", prefix,
      "/eval-labels}\n    shared: {iid: {}}\n  train: {seed: 7, steps: ", options.steps,
      ", batch_size: 16, optimizer: {", options.optimizer, "}}\n  exchange: ", options.exchange,
      "\n");
}

bool is_final(const v1::Job& job) {
  return job.state() == v1::SUCCEEDED || job.state() == v1::FAILED || job.state() == v1::CANCELLED;
}

Cluster::Cluster(const std::vector<int>& slots) : mark_(new_mark()), address_("127.0.0.1:0") {
  data_ = directory() / "data";
  write_idx_data(data_, 512);
  start_server();
  for (const int count : slots) {
    start_worker(count);
  }
}

Cluster::~Cluster() {
  for (const auto& worker : workers_) {
    worker->kill(SIGTERM);
  }
  for (const auto& worker : workers_) {
    worker->wait(absl::Seconds(10));
  }
  // An idle channel that nobody polls never answers the server's goodbye, which then waits for it.
  jobs_.reset();
  channel_.reset();
  if (server_ != nullptr) {
    server_->kill(SIGTERM);
    server_->wait(absl::Seconds(15));
  }
  EXPECT_TRUE(testing::wait_until_gone(kMarkName, mark_, absl::Seconds(10)).empty())
      << "processes are left";
}

void Cluster::start_server() {
  const std::filesystem::path ready = directory() / "server.ready";
  std::filesystem::remove(ready);
  server_ = std::make_unique<testing::ChildProcess>(
      std::vector<std::string>{binary("laconic-server"), "--listen", address_, "--metrics-listen",
                               "127.0.0.1:0", "--data-dir", (directory() / "server").string(),
                               "--ready-file", ready.string()},
      std::map<std::string, std::string>{{kMarkName, mark_}});
  ASSERT_TRUE(testing::wait_for_file(ready, absl::Seconds(20))) << server_->err();
  google::protobuf::Struct json;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(testing::read_file(ready), &json).ok());
  address_ = json.fields().at("address").string_value();
  channel_ = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
  jobs_ = v1::JobService::NewStub(channel_);
}

void Cluster::start_worker(int slots) {
  const std::string name = absl::StrCat("node-", workers_.size());
  const std::filesystem::path ready = directory() / (name + ".ready");
  workers_.push_back(std::make_unique<testing::ChildProcess>(
      std::vector<std::string>{binary("laconic-worker"), "--server", address_, "--name", name,
                               "--slots", absl::StrCat(slots), "--work-dir",
                               (directory() / name).string(), "--peer-host", "127.0.0.1",
                               "--ready-file", ready.string()},
      std::map<std::string, std::string>{{kMarkName, mark_}}));
  ASSERT_TRUE(testing::wait_for_file(ready, absl::Seconds(20))) << workers_.back()->err();
}

testing::Ended Cluster::laconic(std::vector<std::string> arguments, absl::Duration timeout) {
  arguments.insert(arguments.begin(), binary("laconic"));
  return testing::run_program(arguments, timeout,
                              {{kMarkName, mark_}, {"LACONIC_SERVER", address_}});
}

std::string Cluster::submit(const JobOptions& options) {
  const std::filesystem::path file = directory() / (options.name + ".yaml");
  testing::write_file(file, job_yaml(data_, options));
  const testing::Ended ended = laconic({"submit", "-f", file.string()});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  return std::string(absl::StripSuffix(ended.out, "\n"));
}

v1::Job Cluster::get(const std::string& id) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
  v1::GetJobRequest request;
  request.set_id(id);
  v1::GetJobResponse response;
  const grpc::Status status = jobs_->GetJob(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.job();
}

v1::Job Cluster::watch_until(const std::string& id,
                             const std::function<bool(const v1::Job&)>& wanted,
                             absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  v1::WatchJobRequest request;
  request.set_id(id);
  const auto reader = jobs_->WatchJob(&context, request);
  v1::WatchJobResponse response;
  while (reader->Read(&response)) {
    if (wanted(response.job())) {
      context.TryCancel();
      return response.job();
    }
  }
  ADD_FAILURE() << "job " << id << " did not get there within " << absl::FormatDuration(timeout)
                << "; it is now:\n"
                << get(id).DebugString();
  return response.job();
}

v1::Job Cluster::watch_until_final(const std::string& id, absl::Duration timeout) {
  return watch_until(id, is_final, timeout);
}

std::vector<pid_t> Cluster::trainers() const {
  return trainers_with(mark_);
}

std::vector<pid_t> trainers_with(const std::string& mark) {
  std::vector<pid_t> found;
  for (const pid_t pid : testing::processes_with(kMarkName, mark)) {
    const std::string name = testing::read_file(absl::StrCat("/proc/", pid, "/comm"));
    if (absl::StripSuffix(name, "\n") == "laconic-trainer") {
      found.push_back(pid);
    }
  }
  return found;
}

bool Cluster::trainers_end(absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  std::vector<pid_t> left = trainers();
  while (!left.empty() && absl::Now() < deadline) {
    testing::wait_for_exit(left.front(), deadline);
    left = trainers();
  }
  return left.empty();
}

}  // namespace laconic::integration
