#include "bench/namespaces.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"

namespace laconic::bench {
namespace {

// What may leave at once: 2 ms of the rate at 1 Gbit/s, 5 ms at 100 Mbit/s. With less, timers that
// are late on a busy machine cost rate (64 kB at 1 Gbit/s gave 0.65 Gbit/s of raw TCP, 256 kB
// 0.94); with more, small payloads would hardly meet the rate at all.
const char* burst_of(const std::string& rate) {
  return rate == "1gbit" ? "256kb" : "64kb";
}

absl::Status run(const std::string& command) {
  if (std::system((command + " >/dev/null").c_str()) != 0) {  // NOLINT(concurrency-mt-unsafe)
    return absl::FailedPreconditionError(absl::StrCat(
        "failed: ", command, "; namespaces need root, iproute2, and a kernel with veth and tbf"));
  }
  return absl::OkStatus();
}

}  // namespace

Namespaces::Namespaces(int hosts) : hosts_(hosts), tag_(absl::StrCat("lab", getpid() % 100'000)) {}

absl::StatusOr<std::unique_ptr<Namespaces>> Namespaces::make(int hosts, const std::string& rate) {
  std::unique_ptr<Namespaces> made(new Namespaces(hosts));
  LACONIC_RETURN_IF_ERROR(made->build(rate));
  return made;
}

Namespaces::~Namespaces() {
  for (int host = -1; host < hosts_; ++host) {
    // Some may be missing where build() failed.
    const std::string command = absl::StrCat("ip netns del ", name(host), " 2>/dev/null");
    [[maybe_unused]] const int status = std::system(command.c_str());  // NOLINT
  }
}

std::string Namespaces::address(int host) {
  return absl::StrCat("10.98.0.", host + 1);
}

std::vector<std::string> Namespaces::prefix(int host) const {
  return {"ip", "netns", "exec", name(host)};
}

// The switch is host -1.
std::string Namespaces::name(int host) const {
  return host < 0 ? tag_ + "s" : absl::StrCat(tag_, "h", host);
}

absl::Status Namespaces::build(const std::string& rate) const {
  const std::string hub = name(-1);
  LACONIC_RETURN_IF_ERROR(run("ip netns add " + hub));
  LACONIC_RETURN_IF_ERROR(run("ip -n " + hub + " link add br0 type bridge"));
  LACONIC_RETURN_IF_ERROR(run("ip -n " + hub + " link set br0 up"));
  for (int host = 0; host < hosts_; ++host) {
    const std::string own = name(host);
    const std::string port = absl::StrCat("p", host);
    for (const std::string& command :
         {"ip netns add " + own,
          "ip -n " + hub + " link add " + port + " type veth peer name eth0 netns " + own,
          "ip -n " + hub + " link set " + port + " master br0 up",
          "ip -n " + own + " addr add " + address(host) + "/24 dev eth0",
          "ip -n " + own + " link set eth0 up", "ip -n " + own + " link set lo up",
          "ip netns exec " + own + " tc qdisc replace dev eth0 root tbf rate " + rate + " burst " +
              burst_of(rate) + " latency 200ms"}) {
      LACONIC_RETURN_IF_ERROR(run(command));
    }
  }
  return absl::OkStatus();
}

}  // namespace laconic::bench
