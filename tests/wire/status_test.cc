#include "common/wire/status.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace laconic::wire {
namespace {

using ::testing::HasSubstr;

TEST(StatusTest, ReasonAndMetadataSurviveTheWire) {
  const absl::Status sent = with_error_info(absl::NotFoundError("no job 'x'"),
                                            {.reason = "JOB_NOT_FOUND", .metadata = {{"id", "x"}}});
  const absl::Status received = from_grpc(to_grpc(sent));
  EXPECT_THAT(received, laconic::testing::StatusIs(absl::StatusCode::kNotFound, "no job 'x'"));
  EXPECT_EQ(error_info(received).reason, "JOB_NOT_FOUND");
  EXPECT_EQ(error_info(received).metadata.at("id"), "x");
}

TEST(StatusTest, EveryViolationSurvivesTheWireInOrder) {
  const absl::Status received = from_grpc(to_grpc(invalid_job(
      {{"spec.train.steps", "is 0; allowed: 1..1e9"}, {"metadata.name", "is missing"}})));
  EXPECT_THAT(received, laconic::testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                                   HasSubstr("metadata.name is missing")));
  EXPECT_EQ(error_info(received).reason, "INVALID_JOB");
  const std::vector<Violation> fields = violations(received);
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[0].path, "spec.train.steps");
  EXPECT_EQ(fields[1].description, "is missing");
}

TEST(StatusTest, OkStaysOkInBothDirections) {
  EXPECT_TRUE(to_grpc(absl::OkStatus()).ok());
  EXPECT_OK(from_grpc(grpc::Status::OK));
}

TEST(StatusTest, GarbageInTheDetailsTrailerIsNoReason) {
  const absl::Status status =
      from_grpc(grpc::Status(grpc::StatusCode::INTERNAL, "broken", "\xff\xff\xff"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(error_info(status).reason, "");
  EXPECT_TRUE(violations(status).empty());
}

TEST(StatusTest, UnknownDetailsOfAPeerAreNotCarriedOn) {
  // ErrorStatus{code: 13, details: [{type_url: "evil", value: "x"}]}
  const absl::Status status = from_grpc(grpc::Status(grpc::StatusCode::INTERNAL, "broken",
                                                     std::string("\x08\x0d\x1a\x09\x0a\x04"
                                                                 "evil\x12\x01x",
                                                                 13)));
  int payloads = 0;
  status.ForEachPayload([&](absl::string_view, const absl::Cord&) { ++payloads; });
  EXPECT_EQ(payloads, 0);
}

}  // namespace
}  // namespace laconic::wire
