#include "worker/trainer/failure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "tests/testing/status_matchers.h"
#include "worker/trainer/data_file.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(FailureTest, RanksThatPartedAreToldWhy) {
  const absl::Status status =
      exchange_failure(absl::FailedPreconditionError("rank 1 diverged"), 7, /*failed_rank=*/1);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("step 7: rank 1"), HasSubstr("exchange.local"))));
  EXPECT_EQ(to_report(status).reason(), "DIGEST_MISMATCH");
  EXPECT_EQ(to_report(status).peer_rank(), 1);
}

// A file that shrank while it was read was refused with "Success" as the reason.
TEST(DataFileTest, AFileShorterThanItsSizeSaysSo) {
  // The kernel gives this file the size of a page and far fewer bytes.
  const std::string path = "/sys/kernel/mm/transparent_hugepage/enabled";
  if (access(path.c_str(), R_OK) != 0) {
    GTEST_SKIP() << path << " is not there";
  }
  EXPECT_THAT(read_data_file(path),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the file became shorter")));
}

}  // namespace
}  // namespace laconic::trainer
