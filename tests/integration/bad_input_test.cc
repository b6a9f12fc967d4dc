// Everything a user can get wrong ends in a clear error: exit 2 before anything starts, or a FAILED
// job with the reason; never in a hang.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/integration/cluster.h"

namespace laconic::integration {
namespace {

using ::testing::HasSubstr;

class BadInputTest : public ::testing::Test {
 protected:
  BadInputTest() { write_idx_data(data_, 64); }

  ~BadInputTest() override {
    EXPECT_TRUE(testing::wait_until_gone(kMarkName, mark_, absl::Seconds(10)).empty());
  }

  // All output of `laconic run` on this job, which must end with `exit_code`.
  std::string error_of(const std::string& yaml, int exit_code) {
    const std::filesystem::path file = directory_.path() / "job.yaml";
    testing::write_file(file, yaml);
    const testing::Ended ended = testing::run_program(
        {binary("laconic"), "run", "-f", file.string(), "--out", (directory_.path() / "out")},
        absl::Seconds(60), {{kMarkName, mark_}});
    EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
    EXPECT_FALSE(std::filesystem::exists(directory_.path() / "out" / "model.safetensors"));
    return ended.out + ended.err;
  }

  std::string yaml(const JobOptions& options = {}) { return job_yaml(data_, options); }

  testing::TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_.path() / "data";
  std::string mark_ = new_mark();
};

TEST_F(BadInputTest, BadJobFilesAreRefusedBeforeAnythingStarts) {
  const std::string good = yaml();
  const std::vector<std::pair<std::string, std::string>> replaced = {
      {"batch_size: 16", "batch_size: 0"},
      {"quantize: {bits: 1, rows: {}}", "top_k: {density: 0}"},
      {"quantize: {bits: 1, rows: {}}", "top_k: {density: 1.5}"},
      {"local: {inner_steps: 4}", "gossip: {}"},
      {"  train:", "\ttrain:"},
      {"  train:", "  train: {}\n  train:"},
      {"steps: 40", "steps: many"},
      {"sgd:", "sdg:"},
  };
  for (const auto& [from, to] : replaced) {
    const std::string bad = absl::StrReplaceAll(good, {{from, to}});
    ASSERT_NE(bad, good) << from;
    // file:line:column
    EXPECT_THAT(error_of(bad, 2), ::testing::ContainsRegex("job.yaml:[0-9]+:[0-9]+")) << to;
    EXPECT_FALSE(std::filesystem::exists(directory_.path() / "out" / "server")) << to;
  }
  EXPECT_THAT(error_of(std::string(10 << 20, '#'), 2), HasSubstr("job.yaml"));
}

TEST_F(BadInputTest, MissingJobFileAndDirectoryAreUsageErrors) {
  for (const std::string& path : {directory_.path().string(), directory_.path().string() + "/no"}) {
    const testing::Ended ended = testing::run_program({binary("laconic"), "run", "-f", path});
    EXPECT_EQ(ended.exit_code, 2);
    EXPECT_THAT(ended.err, HasSubstr(path));
  }
}

// A port that nobody listens on, and that nobody else gets while this object lives.
class ClosedPort {
 public:
  ClosedPort() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address_), size), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address_), &size), 0);
  }
  ~ClosedPort() { close(socket_); }
  ClosedPort(const ClosedPort&) = delete;
  ClosedPort& operator=(const ClosedPort&) = delete;

  std::string address() const { return absl::StrCat("127.0.0.1:", ntohs(address_.sin_port)); }

 private:
  const int socket_;
  sockaddr_in address_{};
};

TEST_F(BadInputTest, ServerThatIsNotThereIsNamedWithTheRemedy) {
  const ClosedPort port;
  const std::filesystem::path file = directory_.path() / "job.yaml";
  testing::write_file(file, yaml());
  const testing::Ended ended = testing::run_program(
      {binary("laconic"), "--server", port.address(), "--timeout", "2s", "submit", "-f", file});
  EXPECT_EQ(ended.exit_code, 8);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, HasSubstr("cannot reach laconic-server at " + port.address()));
  EXPECT_THAT(ended.err, HasSubstr("start laconic-server"));
  EXPECT_THAT(ended.err, HasSubstr("--server"));
}

TEST_F(BadInputTest, MissingDataFileFailsTheJobAndIsNamed) {
  std::filesystem::remove(data_ / "train-labels");
  const std::string error = error_of(yaml(), 1);
  EXPECT_THAT(error, HasSubstr("BAD_DATA"));
  EXPECT_THAT(error, HasSubstr("train-labels"));
}

TEST_F(BadInputTest, DirectoryInsteadOfADataFileFailsTheJob) {
  std::filesystem::remove(data_ / "train-images");
  std::filesystem::create_directory(data_ / "train-images");
  EXPECT_THAT(error_of(yaml(), 1), HasSubstr("train-images"));
}

TEST_F(BadInputTest, EmptyAndTruncatedAndForeignDataFilesFailTheJob) {
  const std::string images = testing::read_file(data_ / "train-images");
  std::string wrong_magic = images;
  wrong_magic[3] = 9;
  for (const std::string& bytes :
       {std::string(), images.substr(0, images.size() / 2), wrong_magic}) {
    testing::write_file(data_ / "train-images", bytes);
    const std::string error = error_of(yaml(), 1);
    EXPECT_THAT(error, HasSubstr("BAD_DATA"));
    EXPECT_THAT(error, HasSubstr("train-images"));
  }
}

TEST_F(BadInputTest, NotANumberInLibSvmFailsTheJobWithItsLine) {
  testing::write_file(data_ / "points.svm", "1 1:0.5 2:1\n-1 1:0.25\n1 2:nan\n-1 1:3\n");
  const std::string bad =
      "api_version: laconic.v1\nkind: TrainJob\nmetadata: {name: nan}\nspec:\n  workers: {count: "
      "2}\n"
      "  model: {softmax: {}}\n  data: {libsvm: {train_file: " +
      (data_ / "points.svm").string() +
      "}, shared: {}}\n  train: {steps: 10, batch_size: 1, optimizer: {sgd: {learning_rate: "
      "0.1}}}\n"
      "  exchange: {dense: {}}\n";
  const std::string error = error_of(bad, 1);
  EXPECT_THAT(error, HasSubstr("points.svm:3"));
}

TEST_F(BadInputTest, LabelOutsideTheModelsClassesFailsTheJob) {
  const std::string error =
      error_of(yaml({.model = "mlp: {hidden: [16], features: 64, classes: 3}"}), 1);
  EXPECT_THAT(error, HasSubstr("BAD_DATA"));
  EXPECT_THAT(error, HasSubstr("label"));
}

TEST_F(BadInputTest, ModelFileThatIsNoTorchScriptFailsTheJob) {
  testing::write_file(data_ / "model.pt", "this is no module");
  const std::string error =
      error_of(yaml({.model = "torchscript: {file: " + (data_ / "model.pt").string() +
                              ", loss: CROSS_ENTROPY}"}),
               1);
  EXPECT_THAT(error, HasSubstr("BAD_MODEL"));
  EXPECT_THAT(error, HasSubstr("model.pt"));
}

TEST_F(BadInputTest, DivergingTrainingFailsTheJob) {
  const std::string error =
      error_of(yaml({.steps = 2000, .optimizer = "sgd: {learning_rate: 100, momentum: 0.99}"}), 1);
  EXPECT_THAT(error, HasSubstr("DIVERGED"));
}

}  // namespace
}  // namespace laconic::integration
