#include "server/reasons.h"

#include <algorithm>

namespace laconic::server {

bool is_reason(const std::string& text) {
  constexpr size_t kReasonBytesMax = 63;
  if (text.empty() || text.size() > kReasonBytesMax || text[0] < 'A' || text[0] > 'Z') {
    return false;
  }
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace laconic::server
