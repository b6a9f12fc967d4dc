// How a target reports a broken rule.
#pragma once

#include <cstring>
#include <span>
#include <string>

#include "absl/status/status.h"

namespace laconic::fuzz {

// Prints the rule and aborts, which libFuzzer reports with the input, unless it holds.
void check(bool holds, const std::string& rule);

// Aborts unless the status is OK or DataLoss: what any bytes from a peer may end in.
void check_data_loss_or_ok(const absl::Status& status, const char* what);

// Bit for bit, so that 0 and -0 differ and NaNs are equal to themselves.
template <typename T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace laconic::fuzz
