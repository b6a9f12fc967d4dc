#include "server/tokens.h"

#include <sys/random.h>

#include <array>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/escaping.h"

namespace laconic::server {
namespace {

template <size_t kBytes>
std::array<uint8_t, kBytes> random_bytes() {
  std::array<uint8_t, kBytes> bytes = {};
  // Up to 256 bytes come whole once the kernel's source is ready; without one no secret is safe.
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    std::abort();
  }
  return bytes;
}

}  // namespace

std::string random_job_id() {
  constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr size_t kCharacters = sizeof(kAlphabet) - 1;
  std::string id;
  for (const uint8_t byte : random_bytes<10>()) {
    id.push_back(kAlphabet[byte % kCharacters]);
  }
  return id;
}

std::string random_token() {
  const auto bytes = random_bytes<16>();
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace laconic::server
