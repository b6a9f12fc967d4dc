// A whole laconic on this machine, of real processes on free ports, for one test.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "laconic/v1/control.grpc.pb.h"
#include "tests/testing/child_process.h"

namespace laconic::integration {

// Every process that a test starts carries this mark, so that leftovers can be found.
inline constexpr char kMarkName[] = "LACONIC_TEST_MARK";

std::string binary(const std::string& name);
// An example or another file of the source tree.
std::string source_file(const std::string& path);

// A mark no other test has, and the environment that carries it.
std::string new_mark();

// Trainers that run now and carry the mark.
std::vector<pid_t> trainers_with(const std::string& mark);

// Writes a learnable data set of `samples` images of 8x8 in 4 classes in the idx format:
// train-images, train-labels, eval-images, eval-labels.
void write_idx_data(const std::filesystem::path& directory, int samples);

struct JobOptions {
  std::string name = "small";
  int workers = 2;
  int64_t steps = 40;
  std::string model = "mlp: {hidden: [16]}";
  std::string exchange =
      "{local: {inner_steps: 4}, compressor: {quantize: {bits: 1, rows: {}}}, round_deadline: 20s}";
  std::string optimizer = "sgd: {learning_rate: 0.1}";
};
// A job file on the data of write_idx_data(directory).
std::string job_yaml(const std::filesystem::path& data, const JobOptions& options);

// One server and some workers, ended with the object.
class Cluster {
 public:
  // slots[i] is what worker i offers.
  explicit Cluster(const std::vector<int>& slots);
  ~Cluster();

  const std::filesystem::path& directory() const { return directory_.path(); }
  const std::filesystem::path& data() const { return data_; }
  const std::string& mark() const { return mark_; }
  const std::string& address() const { return address_; }

  void start_server();
  testing::ChildProcess& server() { return *server_; }
  void start_worker(int slots);
  testing::ChildProcess& worker(size_t index) { return *workers_[index]; }

  // Runs the CLI against this server.
  testing::Ended laconic(std::vector<std::string> arguments,
                         absl::Duration timeout = absl::Seconds(60));
  // Writes a job file and submits it; the id.
  std::string submit(const JobOptions& options);

  v1::Job get(const std::string& id);
  // Watches the job until `wanted` holds; fails the test after the timeout. Returns the job then.
  v1::Job watch_until(const std::string& id, const std::function<bool(const v1::Job&)>& wanted,
                      absl::Duration timeout = absl::Seconds(60));
  v1::Job watch_until_final(const std::string& id, absl::Duration timeout = absl::Seconds(60));

  // Trainers that run now.
  std::vector<pid_t> trainers() const;
  // False if one still runs after `timeout`.
  bool trainers_end(absl::Duration timeout = absl::Seconds(10)) const;

 private:
  testing::TemporaryDirectory directory_;
  std::filesystem::path data_;
  std::string mark_;
  std::string address_;
  std::unique_ptr<testing::ChildProcess> server_;
  std::vector<std::unique_ptr<testing::ChildProcess>> workers_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
};

bool is_final(const v1::Job& job);

}  // namespace laconic::integration
