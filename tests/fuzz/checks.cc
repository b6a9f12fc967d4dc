#include "tests/fuzz/checks.h"

#include <cstdio>
#include <cstdlib>

namespace laconic::fuzz {

void check(bool holds, const std::string& rule) {
  if (!holds) {
    std::fprintf(stderr, "broken: %s\n", rule.c_str());
    std::abort();
  }
}

void check_data_loss_or_ok(const absl::Status& status, const char* what) {
  check(status.ok() || absl::IsDataLoss(status), what + (": " + status.ToString()));
}

}  // namespace laconic::fuzz
