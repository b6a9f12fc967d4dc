#include "worker/agent/errno_status.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace laconic::agent {
namespace {

TEST(ErrnoStatusTest, SaysWhatFailedAndWhy) {
  const absl::Status status = errno_status(ENOSPC, "cannot write /x");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(std::string(status.message()), "cannot write /x: No space left on device");
}

TEST(ErrnoStatusTest, KindTellsWhatHelps) {
  for (const int error : {ENOENT, ENOTDIR}) {
    EXPECT_EQ(errno_status(error, "").code(), absl::StatusCode::kNotFound) << error;
  }
  for (const int error : {EACCES, EPERM, EROFS}) {
    EXPECT_EQ(errno_status(error, "").code(), absl::StatusCode::kPermissionDenied) << error;
  }
  for (const int error : {EDQUOT, EAGAIN, EMFILE, ENFILE, ENOMEM}) {
    EXPECT_EQ(errno_status(error, "").code(), absl::StatusCode::kResourceExhausted) << error;
  }
  EXPECT_EQ(errno_status(EIO, "").code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace laconic::agent
