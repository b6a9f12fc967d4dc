// What holds over a server's life: health, standstill, and what is forgotten in time.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/wire/status.h"
#include "laconic/v1/control.grpc.pb.h"
#include "server/engine.h"
#include "server/job_metrics.h"
#include "server/server.h"
#include "tests/server/job_fixture.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {
namespace {

namespace fixture = ::laconic::server::testing;
using ::laconic::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::Not;

class IdleLink : public SessionLink {
 public:
  void send(const v1::SessionResponse& /*message*/) override {}
  void end(const absl::Status& /*status*/) override {}
};

void on_thread_of(Engine& engine, const std::function<void()>& step) {
  std::promise<void> done;
  ASSERT_TRUE(engine.post([&] {
    step();
    done.set_value();
  }));
  done.get_future().wait();
}

// The bytes of grpc.health.v1's answer: field 1, 1 for SERVING and 2 for NOT_SERVING.
std::string health_of(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  const std::string request =
      absl::StrCat("\n", std::string(1, static_cast<char>(service.size())), service);
  const grpc::Slice slice(request);
  const grpc::ByteBuffer in(&slice, 1);
  grpc::ByteBuffer out;
  grpc::ClientContext context;
  grpc::GenericStub stub(channel);
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &in, &out,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  grpc::Slice bytes;
  if (!status.ok() || !out.TrySingleSlice(&bytes).ok()) {
    return absl::StrCat("error ", status.error_code());
  }
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

TEST(ServerLifeTest, HealthIsServingForTheServicesThatLoadBalancersAsk) {
  TemporaryDirectory directory;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "";
  options.data_dir = directory.path();
  ASSERT_OK_AND_ASSIGN(const auto server, Server::start(options));
  const auto channel = grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials());
  for (const char* service : {"", "liveness", "readiness", "laconic.v1.JobService"}) {
    EXPECT_EQ(health_of(channel, service), std::string("\x08\x01")) << service;
  }
  EXPECT_EQ(health_of(channel, "other"), absl::StrCat("error ", grpc::StatusCode::NOT_FOUND));
}

// The error was larger than gRPC's headers may be, so the client saw RESOURCE_EXHAUSTED instead.
TEST(ServerLifeTest, JobThatIsWrongInManyPlacesIsStillRefusedWithItsReason) {
  TemporaryDirectory directory;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "";
  options.data_dir = directory.path();
  ASSERT_OK_AND_ASSIGN(const auto server, Server::start(options));
  const auto stub = v1::JobService::NewStub(
      grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));
  v1::CreateJobRequest request;
  *request.mutable_job() = fixture::job_of(1);
  request.mutable_job()->set_api_version(std::string(100'000, 'x'));
  for (int i = 0; i < 2000; ++i) {
    (*request.mutable_job()->mutable_metadata()->mutable_labels())[absl::StrCat(i)] =
        std::string(64, 'x');
  }
  grpc::ClientContext context;
  v1::CreateJobResponse response;
  const absl::Status status = wire::from_grpc(stub->CreateJob(&context, request, &response));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(wire::error_info(status).reason, "INVALID_JOB");
  EXPECT_THAT(std::string(status.message()), HasSubstr("more violations"));
}

TEST(ServerLifeTest, SeriesOfAJobGoFifteenMinutesAfterItsEnd) {
  const Limits limits;
  metrics::Metrics metrics;
  JobMetrics job_metrics(metrics, limits);
  Coordinator coordinator(limits, [] { return "token"; });
  const absl::Time start = absl::FromUnixSeconds(1'700'000'000);
  ASSERT_OK(coordinator.submit(fixture::job_of(1), "job-a", start));
  ASSERT_OK(coordinator.cancel("job-a", start));
  job_metrics.refresh_totals(coordinator, 0, 0, start + absl::Minutes(15));
  EXPECT_THAT(metrics.text(), HasSubstr("job_id=\"job-a\""));
  const int64_t series = metrics.series();
  job_metrics.refresh_totals(coordinator, 0, 0, start + absl::Minutes(15) + absl::Seconds(1));
  EXPECT_THAT(metrics.text(), Not(HasSubstr("job_id=\"job-a\"")));
  EXPECT_LT(metrics.series(), series);
}

// Events wait up to a second for company; a stop in that second lost them.
TEST(ServerLifeTest, EventsOfTheLastSecondBeforeAStopAreKept) {
  TemporaryDirectory directory;
  metrics::Metrics metrics;
  Engine::Options options;
  options.data_dir = directory.path();
  options.limits.tick = absl::ZeroDuration();
  options.clock = [] { return absl::FromUnixSeconds(1'700'000'000); };
  std::string id;
  {
    ASSERT_OK_AND_ASSIGN(const auto engine, Engine::open(options, metrics));
    engine->start();
    on_thread_of(*engine, [&] {
      v1::CreateJobRequest request;
      *request.mutable_job() = fixture::job_of(1);
      request.set_request_id("00000000-0000-4000-8000-000000000001");
      const absl::StatusOr<v1::Job> job = engine->create_job(request);
      ASSERT_OK(job.status());
      id = job->id();
    });
    on_thread_of(*engine, [] {});  // A tick follows each command: it notes NO_WORKERS.
    on_thread_of(*engine, [&] { EXPECT_EQ(engine->find(id)->events.size(), 2u); });
  }
  ASSERT_OK_AND_ASSIGN(const auto engine, Engine::open(options, metrics));
  EXPECT_EQ(engine->find(id)->events.size(), 2u);
}

// A slow disk, or SIGSTOP, must not make all nodes unreachable: their beats wait to be read.
TEST(ServerLifeTest, StandstillOfTheServerIsNoSilenceOfItsWorkers) {
  TemporaryDirectory directory;
  metrics::Metrics metrics;
  Engine::Options options;
  options.data_dir = directory.path();
  options.limits.tick = absl::ZeroDuration();
  std::atomic<int64_t> seconds = 1'700'000'000;
  options.clock = [&] { return absl::FromUnixSeconds(seconds); };
  ASSERT_OK_AND_ASSIGN(const auto engine, Engine::open(options, metrics));
  engine->start();
  const auto link = std::make_shared<IdleLink>();
  on_thread_of(*engine, [&] {
    const absl::StatusOr<uint64_t> session = engine->open_session(link);
    v1::SessionRequest request;
    *request.mutable_register_() = fixture::registration("n1", 1);
    EXPECT_OK(engine->session_message(*session, request));
  });
  on_thread_of(*engine, [] {});  // A tick follows each command.
  seconds += 60;
  on_thread_of(*engine, [] {});
  on_thread_of(*engine, [&] { EXPECT_EQ(engine->list_nodes().nodes(0).state(), v1::LIVE); });
}

}  // namespace
}  // namespace laconic::server
