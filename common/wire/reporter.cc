#include "common/wire/reporter.h"

#include <algorithm>

namespace laconic::wire {

const v1::Rank& reporter(const v1::Job& job) {
  const auto named = std::find_if(job.ranks().begin(), job.ranks().end(), [](const v1::Rank& rank) {
    return rank.finished().has_exchange() || rank.progress().has_exchange();
  });
  return named == job.ranks().end() ? job.ranks(0) : *named;
}

}  // namespace laconic::wire
