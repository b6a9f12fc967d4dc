#include "worker/agent/command_line.h"

#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <memory>
#include <system_error>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/wire/channel.h"

namespace laconic::agent {
namespace {

constexpr int kSlotsMax = 1024;
constexpr size_t kNameBytesMax = 63;

absl::StatusOr<std::string> port_of(const std::string& address) {
  const std::string port = address.substr(address.rfind(':') + 1);
  int number = 0;
  if (!absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--server ", address, ": the port is \"", port,
        "\"; allowed: 1..65535. Give the address that laconic-server listens on, host:port"));
  }
  return port;
}

// The address from which this host would talk to the server; nothing is sent.
absl::StatusOr<std::string> local_address_towards(const std::string& host,
                                                  const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, [](addrinfo* list) {
    if (list != nullptr) {
      freeaddrinfo(list);
    }
  });
  std::string cause = error != 0 ? gai_strerror(error) : "no route to any of its addresses";
  for (const addrinfo* at = found; error == 0 && at != nullptr; at = at->ai_next) {
    const int fd = socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_storage local{};
    socklen_t size = sizeof local;
    std::array<char, NI_MAXHOST> text{};
    const bool known = fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0 &&
                       getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0 &&
                       getnameinfo(reinterpret_cast<const sockaddr*>(&local), size, text.data(),
                                   text.size(), nullptr, 0, NI_NUMERICHOST) == 0;
    if (fd >= 0) {
      close(fd);
    }
    if (known) {
      return std::string(text.data());
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--peer-host: cannot find this host's address towards the server ", host, ": ", cause,
      ". Give --peer-host with the address under which the other workers reach this host"));
}

absl::StatusOr<std::string> checked_name(std::string name) {
  if (name.empty()) {
    std::array<char, 256> host{};
    gethostname(host.data(), host.size() - 1);
    name = host.data();
    absl::AsciiStrToLower(&name);
  }
  const bool valid =
      !name.empty() && name.size() <= kNameBytesMax &&
      std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
      });
  if (!valid) {
    return absl::InvalidArgumentError(absl::StrCat("--name is \"", name, "\"; allowed: 1..",
                                                   kNameBytesMax,
                                                   " of [a-z0-9.-]. Give --name with such a name"));
  }
  return name;
}

absl::StatusOr<int> checked_slots(int slots) {
  if (slots < 0 || slots > kSlotsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--slots is ", slots, "; allowed: 1..", kSlotsMax, ", or 0 for one per CPU"));
  }
  if (slots == 0) {
    slots = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kSlotsMax);
  }
  return slots;
}

std::string environment(const char* name) {
  // No thread of this process changes the environment.
  const char* value = getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? "" : value;
}

absl::StatusOr<std::string> default_work_dir(const std::string& name) {
  const std::string state = environment("XDG_STATE_HOME");
  const std::string home = environment("HOME");
  if (!state.empty()) {
    return absl::StrCat(state, "/laconic/", name);
  }
  if (!home.empty()) {
    return absl::StrCat(home, "/.local/state/laconic/", name);
  }
  return absl::InvalidArgumentError(
      "--work-dir: neither XDG_STATE_HOME nor HOME is set. Give --work-dir with a directory that "
      "this user may write");
}

}  // namespace

absl::StatusOr<AgentOptions> checked_options(const Flags& flags) {
  AgentOptions options;
  const absl::StatusOr<std::string> host = wire::host_of(flags.server);
  if (!host.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--server: ", std::string(host.status().message()),
                     ". Give the address that laconic-server listens on"));
  }
  options.server = flags.server;
  LACONIC_ASSIGN_OR_RETURN(const std::string port, port_of(flags.server));
  LACONIC_ASSIGN_OR_RETURN(options.name, checked_name(flags.name));
  LACONIC_ASSIGN_OR_RETURN(options.slots, checked_slots(flags.slots));
  options.peer_host = flags.peer_host;
  if (options.peer_host.empty()) {
    LACONIC_ASSIGN_OR_RETURN(options.peer_host, local_address_towards(*host, port));
  }
  const bool bare_v6 = options.peer_host.find(':') != std::string::npos;
  const std::string probe =
      bare_v6 ? absl::StrCat("[", options.peer_host, "]:1") : absl::StrCat(options.peer_host, ":1");
  if (!flags.insecure && !wire::is_loopback(probe)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--peer-host is ", options.peer_host,
        ", which other hosts can reach, and traffic between workers is not encrypted yet. Give "
        "--insecure if this network is trusted, or --peer-host 127.0.0.1 to train on this host "
        "only"));
  }
  std::string work_dir = flags.work_dir;
  if (work_dir.empty()) {
    LACONIC_ASSIGN_OR_RETURN(work_dir, default_work_dir(options.name));
  }
  options.work_dir = std::filesystem::absolute(work_dir).lexically_normal();
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  options.trainer = flags.trainer.empty() ? (self.parent_path() / "laconic-trainer").string()
                                          : std::filesystem::absolute(flags.trainer).string();
  options.ready_file = flags.ready_file;
  return options;
}

}  // namespace laconic::agent
