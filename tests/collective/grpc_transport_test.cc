#include "common/collective/grpc_transport.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/core/crc32c.h"
#include "tests/collective/world.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::grpc_options;
using ::laconic::testing::grpc_world;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::Time soon() {
  return absl::Now() + kTestDeadline;
}

Frame frame_to(int from, int to, size_t payload_bytes, uint64_t round = 0) {
  Frame frame;
  frame.header.from_rank = static_cast<uint16_t>(from);
  frame.header.to_rank = static_cast<uint16_t>(to);
  frame.header.round = round;
  frame.header.payload_bytes_total = payload_bytes;
  frame.header.payload_bytes = static_cast<uint32_t>(payload_bytes);
  std::vector<uint8_t> bytes(payload_bytes);
  for (size_t i = 0; i < payload_bytes; ++i) {
    bytes[i] = static_cast<uint8_t>(i * 31 + round);
  }
  frame.header.payload_crc32c = core::crc32c(bytes);
  frame.payload = Payload(std::move(bytes));
  return frame;
}

// A stream as any program could open it.
class RawStream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  RawStream(const std::string& address, std::map<std::string, std::string> metadata,
            const std::string& method)
      : channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {
    for (const auto& [key, value] : metadata) {
      context_.AddMetadata(key, value);
    }
    grpc::GenericStub(channel_).PrepareBidiStreamingCall(&context_, method, {}, this);
    StartRead(&buffer_);
    StartCall();
  }
  void OnReadInitialMetadataDone(bool /*ok*/) override { answered_.Notify(); }
  void OnDone(const grpc::Status& status) override {
    status_ = status;
    done_.Notify();
  }
  // Waits for the peer's first word.
  void wait_answered() { answered_.WaitForNotification(); }
  grpc::Status wait_done() {
    done_.WaitForNotification();
    return status_;
  }
  void write(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    message_ = grpc::ByteBuffer(&slice, 1);
    StartWriteLast(&message_, {});
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  grpc::ByteBuffer buffer_;
  grpc::ByteBuffer message_;
  grpc::Status status_;
  absl::Notification answered_;
  absl::Notification done_;
};

std::map<std::string, std::string> good_metadata() {
  return {{"laconic-peer-token", grpc_options(0, 2).peer_token},
          {"laconic-job-id", "job-1"},
          {"laconic-generation", "4"},
          {"laconic-from-rank", "1"},
          {"laconic-lane", "0"},
          {"laconic-lanes", "1"}};
}

std::unique_ptr<GrpcTransport> transport(int rank, int world_size) {
  auto made = GrpcTransport::create(grpc_options(rank, world_size));
  EXPECT_OK(made.status());
  return *std::move(made);
}

grpc::Status open_with(std::map<std::string, std::string> metadata,
                       const std::string& method = "/laconic.v1.Peer/Frames") {
  const auto server = transport(0, 2);
  // Its peer never opens a stream of its own, so that connect() cannot succeed; it still opens us.
  EXPECT_FALSE(server->connect(4, {server->address(), "127.0.0.1:1"}, absl::Now()).ok());
  RawStream stream(server->address(), std::move(metadata), method);
  const grpc::Status status = stream.wait_done();
  EXPECT_EQ(server->refused_streams(), 1);
  return status;
}

TEST(GrpcTransportTest, FramesArriveInOrderWithTheirBytes) {
  Transports world = grpc_world(2, 4);
  for (uint64_t round = 0; round < 100; ++round) {
    ASSERT_OK(world[0]->send(1, frame_to(0, 1, round * 37, round), soon()));
  }
  for (uint64_t round = 0; round < 100; ++round) {
    ASSERT_OK_AND_ASSIGN(const Frame frame, world[1]->receive(0, soon()));
    EXPECT_EQ(frame.header, frame_to(0, 1, round * 37, round).header);
    EXPECT_OK(check_payload(frame.header, frame.payload.bytes()));
  }
  laconic::testing::finish_all(world);
}

TEST(GrpcTransportTest, AProxyInTheEnvironmentIsNotAsked) {
  // gRPC takes http_proxy for every address: ranks behind a company's proxy never met.
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  Transports world = grpc_world(2, 4);
  unsetenv("http_proxy");
  laconic::testing::finish_all(world);
}

TEST(GrpcTransportTest, SenderWaitsWhileNobodyReceives) {
  Transports world = grpc_world(2, 4);
  const size_t tile = static_cast<size_t>(kFramePayloadBytesMax);
  int64_t queued = 0;
  absl::Status status;
  // Both queues and what HTTP/2 holds in between: bounded, or this would never end.
  while (status.ok()) {
    status = world[0]->send(1, frame_to(0, 1, tile), absl::Now() + absl::Milliseconds(200));
    queued += status.ok() ? 1 : 0;
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1 at ")));
  EXPECT_LT(queued, 200);
  for (int64_t i = 0; i < queued; ++i) {
    ASSERT_OK(world[1]->receive(0, soon()).status());
  }
  ASSERT_OK(world[0]->send(1, frame_to(0, 1, 1), soon()));
  ASSERT_OK(world[1]->receive(0, soon()).status());
  EXPECT_EQ(world[0]->bytes().sent, world[1]->bytes().received);
  laconic::testing::finish_all(world);
}

TEST(GrpcTransportTest, NoQueuedFrameIsLostWhenTheSenderFinishes) {
  Transports world = grpc_world(2, 4);
  constexpr int kFrames = 40;  // above what one queue holds
  on_all_ranks(2, [&](int rank) {
    if (rank == 0) {
      for (int i = 0; i < kFrames; ++i) {
        ASSERT_OK(world[0]->send(1, frame_to(0, 1, kFramePayloadBytesMax), soon()));
      }
      EXPECT_OK(world[0]->finish(soon()));
      world[0].reset();
      return;
    }
    for (int i = 0; i < kFrames; ++i) {
      ASSERT_OK(world[1]->receive(0, soon()).status());
    }
    EXPECT_OK(world[1]->finish(soon()));
    EXPECT_THAT(world[1]->receive(0, soon()),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("closed its stream")));
    EXPECT_EQ(world[1]->lost_rank(), -1);
  });
}

TEST(GrpcTransportTest, FinishNamesTheRankThatDoesNotEnd) {
  Transports world = grpc_world(3, 4);
  on_all_ranks(2, [&](int rank) {
    EXPECT_THAT(world[static_cast<size_t>(rank)]->finish(absl::Now() + absl::Milliseconds(200)),
                StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 2 at 127.0.0.1:")));
  });
}

TEST(GrpcTransportTest, PeerThatComesUpLaterIsWaitedFor) {
  const auto first = transport(0, 2);
  const auto second = transport(1, 2);
  const std::vector<std::string> addresses = {first->address(), second->address()};
  on_all_ranks(2, [&](int rank) {
    if (rank == 0) {
      EXPECT_OK(first->connect(4, addresses, soon()));
      return;
    }
    // The first one's stream is parked here by the time the second one knows its generation.
    RawStream impostor(second->address(), {}, "/laconic.v1.Peer/Frames");
    EXPECT_EQ(impostor.wait_done().error_code(), grpc::UNAUTHENTICATED);
    EXPECT_OK(second->connect(4, addresses, soon()));
  });
}

TEST(GrpcTransportTest, AddressWhereNobodyListensIsNamed) {
  const auto alone = transport(0, 2);
  // Port 1 is never given out as a free port.
  EXPECT_THAT(
      alone->connect(4, {alone->address(), "127.0.0.1:1"}, absl::Now() + absl::Milliseconds(100)),
      StatusIs(absl::StatusCode::kDeadlineExceeded,
               HasSubstr("rank 0 could not reach rank 1 at 127.0.0.1:1 in time")));
}

TEST(GrpcTransportTest, WrongNumberOfPeersIsRefused) {
  const auto alone = transport(0, 2);
  EXPECT_THAT(alone->connect(4, {alone->address()}, soon()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 peer addresses for 2")));
}

TEST(GrpcTransportTest, PeersOfDifferentGenerationsRefuseEachOther) {
  const auto first = transport(0, 2);
  const auto second = transport(1, 2);
  const std::vector<std::string> addresses = {first->address(), second->address()};
  on_all_ranks(2, [&](int rank) {
    const absl::Status status =
        (rank == 0 ? first : second)->connect(rank == 0 ? 4 : 5, addresses, soon());
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("refused our stream"), HasSubstr("generation"))));
  });
}

TEST(GrpcTransportTest, PeerWithAnotherTokenIsRefusedByName) {
  const auto first = transport(0, 2);
  GrpcTransportOptions options = grpc_options(1, 2);
  options.peer_token = "another token";
  ASSERT_OK_AND_ASSIGN(const auto second, GrpcTransport::create(options));
  const std::vector<std::string> addresses = {first->address(), second->address()};
  on_all_ranks(2, [&](int rank) {
    EXPECT_THAT((rank == 0 ? first : second)->connect(4, addresses, soon()),
                StatusIs(absl::StatusCode::kUnauthenticated,
                         HasSubstr(absl::StrCat("rank ", 1 - rank, " at "))));
  });
}

TEST(GrpcTransportTest, StreamsWithoutTheRightMetadataAreRefusedAndCounted) {
  auto metadata = good_metadata();
  metadata["laconic-peer-token"].back() ^= 1;
  EXPECT_EQ(open_with(metadata).error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(open_with({}).error_code(), grpc::UNAUTHENTICATED);
  for (const auto& [key, value] : std::map<std::string, std::string>{
           {"laconic-job-id", "job-2"}, {"laconic-generation", "3"}, {"laconic-generation", "x"}}) {
    metadata = good_metadata();
    metadata[key] = value;
    EXPECT_EQ(open_with(metadata).error_code(), grpc::FAILED_PRECONDITION) << key << value;
  }
  for (const char* rank : {"0", "2", "-1", "", "one", "99999999999"}) {
    metadata = good_metadata();
    metadata["laconic-from-rank"] = rank;
    EXPECT_EQ(open_with(metadata).error_code(), grpc::FAILED_PRECONDITION) << rank;
  }
  for (const char* lane : {"1", "-1", "", "one", "99999999999"}) {
    metadata = good_metadata();
    metadata["laconic-lane"] = lane;
    EXPECT_EQ(open_with(metadata).error_code(), grpc::FAILED_PRECONDITION) << lane;
  }
  EXPECT_EQ(open_with(good_metadata(), "/laconic.v1.Peer/Other").error_code(), grpc::UNIMPLEMENTED);
}

// A stream of another generation left an empty place, and the next receive() ended the process.
TEST(GrpcTransportTest, ReceiveSurvivesARefusedStreamOfThatRank) {
  const auto server = transport(0, 2);
  EXPECT_FALSE(server->connect(4, {server->address(), "127.0.0.1:1"}, absl::Now()).ok());
  std::map<std::string, std::string> metadata = good_metadata();
  metadata["laconic-generation"] = "3";
  RawStream stream(server->address(), std::move(metadata), "/laconic.v1.Peer/Frames");
  EXPECT_EQ(stream.wait_done().error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(server->receive(1, absl::Now()).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1")));
}

TEST(GrpcTransportTest, SecondStreamOfARankIsRefused) {
  const auto server = transport(0, 2);
  EXPECT_FALSE(server->connect(4, {server->address(), "127.0.0.1:1"}, absl::Now()).ok());
  RawStream first(server->address(), good_metadata(), "/laconic.v1.Peer/Frames");
  first.wait_answered();
  RawStream second(server->address(), good_metadata(), "/laconic.v1.Peer/Frames");
  EXPECT_EQ(second.wait_done().error_code(), grpc::ALREADY_EXISTS);
  first.write("");
  EXPECT_TRUE(first.wait_done().ok());
}

TEST(GrpcTransportTest, MessageThatIsNoFrameIsDataLoss) {
  for (const std::string& junk :
       {std::string("x"), std::string(63, 'x'), std::string(64, 'x'),
        std::string(static_cast<size_t>(kFrameHeaderBytes + kFramePayloadBytesMax) + 1, 'x')}) {
    const auto server = transport(0, 2);
    EXPECT_FALSE(server->connect(4, {server->address(), "127.0.0.1:1"}, absl::Now()).ok());
    RawStream stream(server->address(), good_metadata(), "/laconic.v1.Peer/Frames");
    stream.write(junk);
    EXPECT_THAT(server->receive(1, soon()),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("from rank 1")))
        << junk.size();
    EXPECT_TRUE(stream.wait_done().ok());
    EXPECT_EQ(server->lost_rank(), 1);  // It went without saying that nothing follows.
  }
}

TEST(GrpcTransportTest, TransportWithAParkedStreamCanBeDestroyed) {
  auto server = transport(0, 2);
  RawStream stream(server->address(), good_metadata(), "/laconic.v1.Peer/Frames");
  RawStream refused(server->address(), {}, "/laconic.v1.Peer/Frames");
  EXPECT_EQ(refused.wait_done().error_code(), grpc::UNAUTHENTICATED);
  server.reset();
  EXPECT_FALSE(stream.wait_done().ok());
}

TEST(GrpcTransportTest, OptionsOutsideTheirRangesAreRefused) {
  GrpcTransportOptions options = grpc_options(2, 2);
  EXPECT_THAT(GrpcTransport::create(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank is 2; allowed: 0..1")));
  options = grpc_options(0, 0);
  EXPECT_THAT(GrpcTransport::create(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("world size is 0")));
  options = grpc_options(0, 1);
  options.peer_token = "";
  EXPECT_THAT(GrpcTransport::create(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("token is empty")));
  for (const int lanes : {0, -1, 17}) {
    options = grpc_options(0, 1, lanes);
    EXPECT_THAT(GrpcTransport::create(options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed: 1..16")));
  }
  options = grpc_options(0, 1);
  options.host = "192.0.2.1";  // TEST-NET-1, RFC 5737: no machine has it.
  EXPECT_THAT(GrpcTransport::create(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("'192.0.2.1'")));
}

TEST(GrpcTransportTest, SendBeforeConnectIsRefused) {
  const auto server = transport(0, 2);
  EXPECT_THAT(server->send(1, frame_to(0, 1, 1), soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("connect() comes first")));
}

}  // namespace
}  // namespace laconic::collective
