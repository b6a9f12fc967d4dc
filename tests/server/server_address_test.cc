// Where the server may listen and write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "server/server.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {
namespace {

using ::laconic::testing::StatusIs;
using ::laconic::testing::TemporaryDirectory;
using ::testing::HasSubstr;

TEST(ServerAddressTest, TakenPortsAreRefusedWithoutHanging) {
  TemporaryDirectory directory;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "127.0.0.1:0";
  options.data_dir = directory.path() / "first";
  ASSERT_OK_AND_ASSIGN(const auto first, Server::start(options));
  options.data_dir = directory.path() / "second";
  options.metrics_listen = first->metrics_address();
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--metrics-listen")));
  options.listen = first->address();
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--listen")));
}

// SQLite lets two processes share one database; both would schedule the same jobs.
TEST(ServerAddressTest, SecondServerInTheSameDirectoryIsRefusedUntilTheFirstIsGone) {
  TemporaryDirectory directory;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "";
  options.data_dir = directory.path() / "data";
  ASSERT_OK_AND_ASSIGN(auto first, Server::start(options));
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr(absl::StrCat("(process ", ::getpid(), ") uses it"))));
  first.reset();
  EXPECT_OK(Server::start(options).status());
}

TEST(ServerAddressTest, DirectoriesAreMadeForTheOwnerOnly) {
  TemporaryDirectory directory;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "";
  options.data_dir = directory.path() / "deep/data";
  ASSERT_OK_AND_ASSIGN(const auto server, Server::start(options));
  for (const char* part : {"", "/logs"}) {
    struct stat info = {};
    ASSERT_EQ(::stat((options.data_dir + part).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u) << part;
  }
}

TEST(ServerAddressTest, FileInPlaceOfTheDirectoryIsRefused) {
  TemporaryDirectory directory;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "";
  options.data_dir = directory.path() / "file";
  ::laconic::testing::write_file(options.data_dir, "");
  EXPECT_THAT(Server::start(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("not a directory")));
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
