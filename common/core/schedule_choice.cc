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

// A message on the wire: a header for each started frame.
int64_t framed(int64_t payload_bytes) {
  const int64_t frames = (payload_bytes + kFrameBytesMax - 1) / kFrameBytesMax;
  return payload_bytes + std::max<int64_t>(1, frames) * kFrameHeaderBytes;
}

int64_t framed(const std::vector<Part>& parts, const CodecSpec& codec, PayloadSize size) {
  int64_t bytes = 0;
  for (const Part& part : parts) {
    bytes += framed(size(codec, part.layout));
  }
  return bytes;
}

// Every rank sends each part to its owner, and the owner its result to the others.
int64_t owners_bytes(const CodecSpec& codec, const Layout& layout, int owners, int world_size,
                     PayloadSize size) {
  std::vector<int64_t> owned(static_cast<size_t>(world_size));
  int64_t all = 0;
  for (const Part& part : cut_into_parts(codec, layout, owners)) {
    const int64_t bytes = framed(size(codec, part.layout));
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
  return 2 * (world_size - 1) * framed(4 * ((elements + world_size - 1) / world_size));
}

std::vector<int64_t> chunk_bytes(int64_t elements, int chunks) {
  std::vector<int64_t> bytes(static_cast<size_t>(chunks));
  const int tiles = tiles_per_chunk(elements, chunks);
  const std::vector<Part> parts = even_parts(elements, int64_t{chunks} * tiles);
  for (size_t i = 0; i < parts.size(); ++i) {
    bytes[i / static_cast<size_t>(tiles)] += framed(4 * parts[i].elements);
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

int64_t sent_bytes(Schedule schedule, const CodecSpec& codec, const Layout& layout, int world_size,
                   PayloadSize size) {
  const bool dense = codec.kind == CodecKind::kNone;
  const int64_t elements = layout.elements();
  const int64_t peers = world_size - 1;
  if (peers == 0) {
    return 0;
  }
  switch (schedule) {
    case Schedule::kAuto:
      break;
    case Schedule::kAllGather:
      return peers * (dense ? framed(cut_into_parts(codec, layout, 1), codec, size)
                            : framed(size(codec, layout)));
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
  }
  return 0;
}

}  // namespace

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
                       int world_size) {
  return sent_bytes(schedule, codec, layout, world_size, payload_bytes_max);
}

int64_t sent_bytes_expected(Schedule schedule, const CodecSpec& codec, const Layout& layout,
                            int world_size) {
  return sent_bytes(schedule, codec, layout, world_size, payload_bytes_expected);
}

bool may_be_cut(const CodecSpec& codec) {
  return codec.kind == CodecKind::kNone || codec.kind == CodecKind::kQuantize ||
         codec.kind == CodecKind::kTopK;
}

}  // namespace laconic::core
