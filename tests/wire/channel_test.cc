#include "common/wire/channel.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace laconic::wire {
namespace {

TEST(HostOfTest, TakesHostNamesAndBothKindsOfAddress) {
  EXPECT_EQ(*host_of("node-1:7070"), "node-1");
  EXPECT_EQ(*host_of("10.0.0.3:0"), "10.0.0.3");
  EXPECT_EQ(*host_of("[fe80::1]:7070"), "fe80::1");
}

TEST(HostOfTest, RefusesWhatHasNoPortOrNoHost) {
  for (const char* address : {"", ":", "node", ":7070", "node:", "node:seven", "node:70000",
                              "::1:70", "[]:1", "[::1:7", "node:-1"}) {
    EXPECT_THAT(host_of(address), testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                                    ::testing::HasSubstr("HOST:PORT")))
        << address;
  }
}

TEST(IsLoopbackTest, OnlyThisMachineCounts) {
  for (const char* address :
       {"127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1", "unix:/tmp/socket"}) {
    EXPECT_TRUE(is_loopback(address)) << address;
  }
  // A name that merely begins like a loopback address may resolve to anything.
  for (const char* address :
       {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.evil.example:1", "nonsense"}) {
    EXPECT_FALSE(is_loopback(address)) << address;
  }
}

}  // namespace
}  // namespace laconic::wire
