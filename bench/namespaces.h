// Network namespaces on one bridge, each behind a link of a given rate: hosts for the ranks of a
// benchmark on one machine. Needs root, iproute2 and the kernel's tbf.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::bench {

// The namespaces go away with the object.
class Namespaces {
 public:
  // rate: as tc writes it, "1gbit".
  // Errors: FailedPrecondition with the command that failed.
  static absl::StatusOr<std::unique_ptr<Namespaces>> make(int hosts, const std::string& rate);
  ~Namespaces();
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;

  static std::string address(int host);
  // Runs what follows it on that host: {"ip", "netns", "exec", NAME}.
  std::vector<std::string> prefix(int host) const;

 private:
  explicit Namespaces(int hosts);
  absl::Status build(const std::string& rate) const;
  std::string name(int host) const;

  const int hosts_;
  const std::string tag_;
};

}  // namespace laconic::bench
