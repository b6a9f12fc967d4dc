// EXPECT_OK(status), ASSERT_OK(status), and StatusIs(code, text matcher).
// Abseil 20220623 has no status_matchers.h; delete this file when the floor rises.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic::testing {

inline const absl::Status& status_of(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& status_of(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << "which is " << status_of(arg).ToString();
  return status_of(arg).ok();
}

MATCHER_P2(StatusIs, code, text, "has the code and its text matches") {
  const absl::Status& status = status_of(arg);
  *result_listener << "which is " << status.ToString();
  return status.code() == code &&
         ::testing::ExplainMatchResult(text, std::string(status.message()), result_listener);
}

}  // namespace laconic::testing

#define EXPECT_OK(expression) EXPECT_THAT(expression, ::laconic::testing::IsOk())
#define ASSERT_OK(expression) ASSERT_THAT(expression, ::laconic::testing::IsOk())
// ASSERT_OK_AND_ASSIGN(declaration, expression): for use in tests that return void.
#define ASSERT_OK_AND_ASSIGN(declaration, expression) \
  LACONIC_TEST_ASSIGN_INNER(LACONIC_TEST_CONCAT(result_, __LINE__), declaration, expression)
#define LACONIC_TEST_CONCAT_INNER(a, b) a##b
#define LACONIC_TEST_CONCAT(a, b) LACONIC_TEST_CONCAT_INNER(a, b)
#define LACONIC_TEST_ASSIGN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                                      \
  ASSERT_OK(temporary.status());                                      \
  declaration = *std::move(temporary)
