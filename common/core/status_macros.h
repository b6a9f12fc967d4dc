// LACONIC_RETURN_IF_ERROR and LACONIC_ASSIGN_OR_RETURN: pass an error on to the caller.
// Abseil 20220623 has no status_macros.h; delete this file when the floor rises.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define LACONIC_CONCAT_INNER(a, b) a##b
#define LACONIC_CONCAT(a, b) LACONIC_CONCAT_INNER(a, b)

#define LACONIC_RETURN_IF_ERROR(expression)                                 \
  do {                                                                      \
    if (absl::Status laconic_status = (expression); !laconic_status.ok()) { \
      return laconic_status;                                                \
    }                                                                       \
  } while (false)

// NOLINTBEGIN(bugprone-macro-parentheses): `target` may be a declaration.
#define LACONIC_ASSIGN_OR_RETURN(target, expression) \
  LACONIC_ASSIGN_OR_RETURN_INNER(LACONIC_CONCAT(laconic_statusor_, __LINE__), target, expression)
#define LACONIC_ASSIGN_OR_RETURN_INNER(temporary, target, expression) \
  auto temporary = (expression);                                      \
  if (!temporary.ok()) {                                              \
    return std::move(temporary).status();                             \
  }                                                                   \
  target = *std::move(temporary)
// NOLINTEND(bugprone-macro-parentheses)
