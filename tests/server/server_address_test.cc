// Where the server may listen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/server.h"
#include "tests/server/temporary_directory.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {
namespace {

namespace fixture = ::laconic::server::testing;
using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ServerAddressTest, TakenPortsAreRefusedWithoutHanging) {
  fixture::TemporaryDirectory directory;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "127.0.0.1:0";
  options.data_dir = directory.path() + "/first";
  ASSERT_OK_AND_ASSIGN(const auto first, Server::start(options));
  options.data_dir = directory.path() + "/second";
  options.metrics_listen = first->metrics_address();
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--metrics-listen")));
  options.listen = first->address();
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--listen")));
}

TEST(ServerAddressTest, OtherThanLoopbackNeedsInsecure) {
  ServerOptions options;
  options.listen = "0.0.0.0:0";
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--insecure")));
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "0.0.0.0:0";
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--metrics-listen")));
}

}  // namespace
}  // namespace laconic::server
