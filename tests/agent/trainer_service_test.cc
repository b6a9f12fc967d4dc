#include "worker/agent/trainer_service.h"

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/agent/processes.h"
#include "tests/testing/status_matchers.h"

namespace laconic::agent {
namespace {

const TaskId kTask{"job1", 1, 0};

// One trainer's call.
struct Call {
  Call(const std::string& address, const std::string& token)
      : stub(v1::TrainerService::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    context.AddMetadata(kTaskTokenKey, token);
    stream = stub->Attach(&context);
  }
  grpc::StatusCode end() {
    v1::AttachResponse ignored;
    while (stream->Read(&ignored)) {
    }
    return stream->Finish().error_code();
  }
  std::unique_ptr<v1::TrainerService::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>> stream;
};

v1::AttachRequest event(size_t bytes) {
  v1::AttachRequest request;
  request.mutable_report()->mutable_event()->set_message(std::string(bytes, 'x'));
  return request;
}

class TrainerServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = TrainerServer::start(
        inbox_, [this](const TaskId& id, const v1::TrainerReport&) { reports_.push_back(id); });
    ASSERT_OK(server.status());
    server_ = *std::move(server);
    server_->admit(kTask, "token");
  }
  bool report_arrives() {
    pollfd item{.fd = inbox_.fd(), .events = POLLIN, .revents = 0};
    const size_t before = reports_.size();
    poll(&item, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience)));
    inbox_.run_all();
    return reports_.size() > before;
  }
  std::string directory() const {
    return std::filesystem::path(server_->address().substr(5)).parent_path();
  }

  Inbox inbox_;
  std::vector<TaskId> reports_;
  std::unique_ptr<TrainerServer> server_;
};

TEST_F(TrainerServiceTest, ReportsArriveUnderTheTaskOfTheToken) {
  Call call(server_->address(), "token");
  call.stream->Write(event(1));
  ASSERT_TRUE(report_arrives());
  call.stream->Write(event(1));
  ASSERT_TRUE(report_arrives());
  EXPECT_EQ(reports_, (std::vector<TaskId>{kTask, kTask}));
  EXPECT_TRUE(server_->attached(kTask));
  call.stream->WritesDone();
  EXPECT_EQ(call.end(), grpc::StatusCode::OK);
}

TEST_F(TrainerServiceTest, UnknownAndEmptyTokensAreRefused) {
  EXPECT_EQ(Call(server_->address(), "other").end(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Call(server_->address(), "").end(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_FALSE(server_->attached(kTask));
}

TEST_F(TrainerServiceTest, SecondTrainerWithTheSameTokenIsRefused) {
  Call first(server_->address(), "token");
  first.stream->Write(event(1));
  ASSERT_TRUE(report_arrives());
  EXPECT_EQ(Call(server_->address(), "token").end(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(server_->attached(kTask));
}

TEST_F(TrainerServiceTest, CommandsReachTheAttachedTrainerOnly) {
  v1::AttachResponse command;
  command.mutable_launch()->set_generation(3);
  EXPECT_FALSE(server_->send(kTask, command));
  Call call(server_->address(), "token");
  call.stream->Write(event(1));
  ASSERT_TRUE(report_arrives());
  EXPECT_TRUE(server_->send(kTask, command));
  v1::AttachResponse received;
  ASSERT_TRUE(call.stream->Read(&received));
  EXPECT_EQ(received.launch().generation(), 3u);
}

TEST_F(TrainerServiceTest, DismissalEndsTheStreamAndTheToken) {
  Call call(server_->address(), "token");
  call.stream->Write(event(1));
  ASSERT_TRUE(report_arrives());
  server_->dismiss(kTask);
  EXPECT_EQ(call.end(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(Call(server_->address(), "token").end(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(TrainerServiceTest, ReportAboveTheLimitEndsTheStream) {
  Call call(server_->address(), "token");
  call.stream->Write(event(kReportBytesMax + 1));
  EXPECT_NE(call.end(), grpc::StatusCode::OK);
  inbox_.run_all();
  EXPECT_TRUE(reports_.empty());
}

TEST_F(TrainerServiceTest, SocketIsPrivateAndGoesWithTheServer) {
  struct stat info {};
  ASSERT_EQ(stat(directory().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_LE(server_->address().size(), 107u);
  const std::string path = directory();
  server_.reset();
  EXPECT_NE(stat(path.c_str(), &info), 0);
}

}  // namespace
}  // namespace laconic::agent
