#include "common/sync/support_overlap.h"

#include <algorithm>
#include <iterator>
#include <span>

#include "common/compress/positions.h"
#include "common/core/status_macros.h"

namespace laconic::sync {
namespace {

absl::StatusOr<std::vector<uint32_t>> support_of(const collective::Payload& payload,
                                                 int64_t elements) {
  LACONIC_ASSIGN_OR_RETURN(const compress::PositionSection section,
                           compress::measure_positions(payload.bytes(), elements, elements));
  std::vector<uint32_t> positions(static_cast<size_t>(section.kept));
  LACONIC_RETURN_IF_ERROR(
      compress::decode_positions(payload.bytes().first(section.bytes), elements, positions));
  return positions;
}

}  // namespace

absl::StatusOr<double> support_overlap(const std::vector<collective::Payload>& payloads,
                                       int64_t elements, size_t leader) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint32_t> named,
                           support_of(payloads[leader], elements));
  size_t common = 0;
  for (size_t rank = 0; rank < payloads.size(); ++rank) {
    if (rank == leader) {
      continue;
    }
    LACONIC_ASSIGN_OR_RETURN(const std::vector<uint32_t> own, support_of(payloads[rank], elements));
    std::vector<uint32_t> both;
    std::ranges::set_intersection(own, named, std::back_inserter(both));
    common += both.size();
  }
  const size_t all = named.size() * (payloads.size() - 1);
  return all == 0 ? 1.0 : static_cast<double>(common) / static_cast<double>(all);
}

}  // namespace laconic::sync
