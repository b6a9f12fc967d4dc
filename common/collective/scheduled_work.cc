#include "common/collective/scheduled_work.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/collective/frame.h"
#include "common/collective/site_schedule.h"

namespace laconic::collective {
namespace {

constexpr int64_t kFloatTileElements = kFramePayloadBytesMax / int64_t{sizeof(float)};

std::vector<int> owners_of(const std::vector<core::Part>& parts) {
  std::vector<int> owners;
  owners.reserve(parts.size());
  for (const core::Part& part : parts) {
    owners.push_back(part.owner);
  }
  return owners;
}

absl::StatusOr<ScheduledWork> plan_sites(const ScheduledMeanOptions& options, Form form) {
  const int ranks_per_site = options.ranks_per_site;
  if (ranks_per_site < 1 || options.world_size % ranks_per_site != 0) {
    return absl::InvalidArgumentError(absl::StrCat("schedule hierarchical: ", ranks_per_site,
                                                   " ranks per site and ", options.world_size,
                                                   " ranks; ranks_per_site must divide them"));
  }
  const Sites sites = {options.world_size / ranks_per_site, ranks_per_site};
  ScheduledWork work;
  work.parts =
      core::cut_for_sites(options.codec, options.layout, sites.sites, sites.ranks_per_site);
  std::vector<int> tiles;
  for (const core::Part& part : work.parts) {
    tiles.push_back(float_tiles(part.elements));
  }
  work.list = hierarchical_schedule(options.rank, sites, owners_of(work.parts), tiles, form);
  return work;
}

}  // namespace

int float_tiles(int64_t elements) {
  return static_cast<int>(tile_count(elements * static_cast<int64_t>(sizeof(float))));
}

int64_t float_tile_begin(int tile) {
  return tile * kFloatTileElements;
}

int64_t float_tile_elements(int64_t elements, int tile) {
  return std::min(kFloatTileElements, elements - float_tile_begin(tile));
}

EncodedParts encoded_parts(const StepList& list, int rank) {
  EncodedParts encoded;
  encoded.own.resize(static_cast<size_t>(list.parts));
  encoded.results.resize(static_cast<size_t>(list.parts));
  for (const Step& step : list.steps) {
    for (const Message& message : step.sends) {
      if (message.origin == rank && message.content == Content::kSum &&
          message.form == Form::kEncoded) {
        encoded.own[static_cast<size_t>(message.part)] = true;
      }
    }
    for (const Finish& finish : step.finishes) {
      if (finish.encode) {
        encoded.results[static_cast<size_t>(finish.part)] = true;
      }
    }
  }
  return encoded;
}

absl::StatusOr<ScheduledWork> plan_scheduled_work(const ScheduledMeanOptions& options) {
  const int rank = options.rank;
  const int world_size = options.world_size;
  const core::CodecSpec& codec = options.codec;
  const bool dense = codec.kind == core::CodecKind::kNone;
  const Form form = dense ? Form::kFloat32 : Form::kEncoded;
  const int64_t elements = options.layout.elements();
  ScheduledWork work;
  switch (options.schedule) {
    case core::Schedule::kAuto:
      break;
    case core::Schedule::kAllGather:
      work.parts = core::cut_into_parts(codec, options.layout, 1);
      work.list = all_gather_schedule(rank, world_size, static_cast<int>(work.parts.size()));
      return work;
    case core::Schedule::kSharded:
    case core::Schedule::kStar: {
      const bool star = options.schedule == core::Schedule::kStar;
      work.parts = core::cut_into_parts(codec, options.layout, star ? 1 : world_size);
      work.list = sharded_schedule(rank, world_size, owners_of(work.parts), form);
      return work;
    }
    case core::Schedule::kRing: {
      if (!dense) {
        return absl::InvalidArgumentError(
            "schedule ring takes no codec: every hop would lose again; take sharded");
      }
      const int tiles = core::tiles_per_chunk(elements, world_size);
      work.parts = core::even_parts(elements, int64_t{world_size} * tiles);
      work.list = ring_schedule(rank, world_size, tiles);
      return work;
    }
    case core::Schedule::kTree: {
      if (dense) {
        const int chunks = halving_chunks(world_size);
        const int tiles = core::tiles_per_chunk(elements, chunks);
        work.parts = core::even_parts(elements, int64_t{chunks} * tiles);
        work.list = halving_schedule(rank, world_size, tiles);
        return work;
      }
      work.parts = core::cut_into_parts(codec, options.layout, 1);
      work.list = doubling_schedule(rank, world_size, static_cast<int>(work.parts.size()));
      return work;
    }
    case core::Schedule::kHierarchical:
      return plan_sites(options, form);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("schedule ", core::schedule_name(options.schedule),
                   " is none; allowed: all_gather, sharded, star, ring, tree, hierarchical"));
}

}  // namespace laconic::collective
