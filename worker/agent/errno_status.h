// What the system said, as a Status.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace laconic::agent {

// NotFound, PermissionDenied, ResourceExhausted (disk, memory, processes or descriptors used up) or
// Internal; the text is `what` and the cause.
absl::Status errno_status(int error, const std::string& what);

}  // namespace laconic::agent
