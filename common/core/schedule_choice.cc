#include "common/core/schedule_choice.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "common/core/partition.h"
#include "common/core/payload_size.h"

namespace laconic::core {
namespace {

// payload_bytes_max() or payload_bytes_expected().
using PayloadSize = int64_t (*)(const CodecSpec& codec, const Layout& layout);

constexpr int64_t kFrameBytesMax = 1 << 20;
constexpr int64_t kFrameHeaderBytes = 64;

int64_t framed(const std::vector<Part>& parts, const CodecSpec& codec, PayloadSize size) {
  int64_t bytes = 0;
  for (const Part& part : parts) {
    bytes += framed_bytes(size(codec, part.layout));
  }
  return bytes;
}

// Every rank sends each part to its owner, and the owner its result to the others.
int64_t owners_bytes(const CodecSpec& codec, const Layout& layout, int owners, int world_size,
                     PayloadSize size) {
  std::vector<int64_t> owned(static_cast<size_t>(world_size));
  int64_t all = 0;
  for (const Part& part : cut_into_parts(codec, layout, owners)) {
    const int64_t bytes = framed_bytes(size(codec, part.layout));
    owned[static_cast<size_t>(part.owner)] += bytes;
    all += bytes;
  }
  int64_t most = 0;
  for (const int64_t own : owned) {
    most = std::max(most, all - own + (world_size - 1) * own);
  }
  return most;
}

// Float32 shards of the sum in double: Communicator::all_reduce_mean.
int64_t shards_bytes(int64_t elements, int64_t world_size) {
  return 2 * (world_size - 1) * framed_bytes(4 * ((elements + world_size - 1) / world_size));
}

std::vector<int64_t> chunk_bytes(int64_t elements, int chunks) {
  std::vector<int64_t> bytes(static_cast<size_t>(chunks));
  const int tiles = tiles_per_chunk(elements, chunks);
  const std::vector<Part> parts = even_parts(elements, int64_t{chunks} * tiles);
  for (size_t i = 0; i < parts.size(); ++i) {
    bytes[i / static_cast<size_t>(tiles)] += framed_bytes(4 * parts[i].elements);
  }
  return bytes;
}

// Rank r sends all chunks but the one behind it, then all results but the next but one.
int64_t ring_bytes(int64_t elements, int world_size) {
  const std::vector<int64_t> chunks = chunk_bytes(elements, world_size);
  int64_t all = 0;
  for (const int64_t bytes : chunks) {
    all += bytes;
  }
  int64_t most = 0;
  for (size_t r = 0; r < chunks.size(); ++r) {
    most =
        std::max(most, 2 * all - chunks[(r + 1) % chunks.size()] - chunks[(r + 2) % chunks.size()]);
  }
  return most;
}

// Among the first 2^m ranks each sends all chunks but its own, then its growing stretch of results,
// 2^m - 1 chunks; who stands in for a rank beyond sends it everything.
int64_t halving_bytes(int64_t elements, int world_size) {
  const int core = static_cast<int>(std::bit_floor(static_cast<unsigned>(world_size)));
  const std::vector<int64_t> chunks = chunk_bytes(elements, core);
  int64_t all = 0;
  for (const int64_t bytes : chunks) {
    all += bytes;
  }
  int64_t most = 0;
  for (int rank = 0; rank < core; ++rank) {
    int64_t bytes = all - chunks[static_cast<size_t>(rank)];
    for (int distance = 1; distance < core; distance *= 2) {
      for (int chunk = rank / distance * distance; chunk < rank / distance * distance + distance;
           ++chunk) {
        bytes += chunks[static_cast<size_t>(chunk)];
      }
    }
    most = std::max(most, bytes + (rank + core < world_size ? all : 0));
  }
  return most;
}

// Of each rank. Inside: the sums of the other indices' shards in float32, then the results of its
// own shard to every mate, in float32 where there is but one site. Between: what the rank's index
// has of the other sites' pieces, then the result of its own piece to each of them.
std::vector<SiteBytes> bytes_of_ranks(const CodecSpec& codec, const Layout& layout, int sites,
                                      int ranks_per_site, PayloadSize size) {
  struct Shard {
    int64_t floats = 0;
    int64_t encoded = 0;
  };
  const auto at = [](int index) { return static_cast<size_t>(index); };
  std::vector<Shard> shards(at(ranks_per_site));
  std::vector<int64_t> owned(at(sites * ranks_per_site));
  int64_t floats_in_all = 0;
  for (const Part& part : cut_for_sites(codec, layout, sites, ranks_per_site)) {
    const int64_t floats = framed_bytes(4 * part.elements);
    const int64_t encoded = sites == 1 ? floats : framed_bytes(size(codec, part.layout));
    shards[at(part.owner % ranks_per_site)].floats += floats;
    shards[at(part.owner % ranks_per_site)].encoded += encoded;
    owned[at(part.owner)] += encoded;
    floats_in_all += floats;
  }
  std::vector<SiteBytes> ranks;
  for (int rank = 0; rank < sites * ranks_per_site; ++rank) {
    const Shard& shard = shards[at(rank % ranks_per_site)];
    const int64_t own = owned[at(rank)];
    const bool alone = ranks_per_site == 1;
    ranks.push_back(
        {.inside = alone ? 0 : floats_in_all - shard.floats + (ranks_per_site - 1) * shard.encoded,
         .between = sites == 1 ? 0 : shard.encoded - own + (sites - 1) * own});
  }
  return ranks;
}

int64_t hierarchical_bytes(const CodecSpec& codec, const Layout& layout, int world_size,
                           int ranks_per_site, PayloadSize size) {
  int64_t most = 0;
  for (const SiteBytes& rank :
       bytes_of_ranks(codec, layout, world_size / ranks_per_site, ranks_per_site, size)) {
    most = std::max(most, rank.inside + rank.between);
  }
  return most;
}

// With whom: a schedule, and what it needs to know.
struct Way {
  Schedule schedule = Schedule::kSharded;
  int world_size = 1;
  int ranks_per_site = 1;
};

int64_t sent_bytes(const Way& way, const CodecSpec& codec, const Layout& layout, PayloadSize size) {
  const int world_size = way.world_size;
  const bool dense = codec.kind == CodecKind::kNone;
  const int64_t elements = layout.elements();
  const int64_t peers = world_size - 1;
  if (peers == 0) {
    return 0;
  }
  switch (way.schedule) {
    case Schedule::kAuto:
      break;
    case Schedule::kAllGather:
      return peers * (dense ? framed(cut_into_parts(codec, layout, 1), codec, size)
                            : framed_bytes(size(codec, layout)));
    case Schedule::kSharded:
      return dense ? shards_bytes(elements, world_size)
                   : owners_bytes(codec, layout, world_size, world_size, size);
    case Schedule::kStar:
      return owners_bytes(codec, layout, /*owners=*/1, world_size, size);
    case Schedule::kRing:
      return ring_bytes(elements, world_size);
    case Schedule::kTree:
      return dense ? halving_bytes(elements, world_size)
                   : peers * framed(cut_into_parts(codec, layout, 1), codec, size);
    case Schedule::kHierarchical:
      return hierarchical_bytes(codec, layout, world_size, way.ranks_per_site, size);
  }
  return 0;
}

}  // namespace

int64_t framed_bytes(int64_t payload_bytes) {
  const int64_t frames = (payload_bytes + kFrameBytesMax - 1) / kFrameBytesMax;
  return payload_bytes + std::max<int64_t>(1, frames) * kFrameHeaderBytes;
}

Schedule choose_schedule(Schedule asked, const CodecSpec& codec, const Layout& layout,
                         int world_size) {
  constexpr double kFourBitCode = 4.25;
  if (asked != Schedule::kAuto) {
    return asked;
  }
  if (codec.kind == CodecKind::kNone) {
    return Schedule::kSharded;
  }
  if (!may_be_cut(codec)) {
    return Schedule::kAllGather;
  }
  const int64_t payload = payload_bytes_expected(codec, layout);
  if (world_size <= 2 || (world_size - 1) * payload <= kTinyRoundBytes) {
    return Schedule::kAllGather;
  }
  if (codec.kind == CodecKind::kTopK) {
    const double bits = 8 * static_cast<double>(payload) / static_cast<double>(layout.elements());
    return world_size < 2 * kFourBitCode / bits ? Schedule::kAllGather : Schedule::kSharded;
  }
  return Schedule::kSharded;
}

int64_t sent_bytes_max(Schedule schedule, const CodecSpec& codec, const Layout& layout,
                       int world_size, int ranks_per_site) {
  return sent_bytes({schedule, world_size, ranks_per_site}, codec, layout, payload_bytes_max);
}

int64_t sent_bytes_expected(Schedule schedule, const CodecSpec& codec, const Layout& layout,
                            int world_size, int ranks_per_site) {
  return sent_bytes({schedule, world_size, ranks_per_site}, codec, layout, payload_bytes_expected);
}

SiteBytes site_bytes_expected(const CodecSpec& codec, const Layout& layout, int world_size,
                              int ranks_per_site) {
  const std::vector<SiteBytes> ranks = bytes_of_ranks(codec, layout, world_size / ranks_per_site,
                                                      ranks_per_site, payload_bytes_expected);
  return *std::max_element(ranks.begin(), ranks.end(), [](const SiteBytes& a, const SiteBytes& b) {
    return a.between < b.between;
  });
}

bool may_be_cut(const CodecSpec& codec) {
  return codec.kind == CodecKind::kNone || codec.kind == CodecKind::kQuantize ||
         codec.kind == CodecKind::kTopK;
}

}  // namespace laconic::core
