#include "common/collective/schedule.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "common/collective/rank_order.h"

namespace laconic::collective {
namespace {

size_t at(int index) {
  return static_cast<size_t>(index);
}

std::vector<int> range_of(int first, int count) {
  std::vector<int> all(at(count));
  std::iota(all.begin(), all.end(), first);
  return all;
}

// parts_of[o][w]: the part of owner o in wave w.
std::vector<std::vector<int>> waves_by_owner(std::span<const int> owners, int world_size) {
  std::vector<std::vector<int>> parts_of(at(world_size));
  for (size_t part = 0; part < owners.size(); ++part) {
    parts_of[at(owners[part])].push_back(static_cast<int>(part));
  }
  return parts_of;
}

}  // namespace

StepList all_gather_schedule(int rank, int world_size, int parts) {
  StepList schedule{.parts = parts, .steps = {}};
  const int lag = std::clamp(parts - 1, 0, kLagMax);
  schedule.steps.resize(at(parts + lag));
  for (int part = 0; part < parts; ++part) {
    Step& sending = schedule.steps[at(part)];
    for (const int to : others_after(rank, world_size)) {
      sending.sends.push_back({to, part, Content::kSum, Form::kEncoded, rank});
    }
    Step& receiving = schedule.steps[at(part + lag)];
    for (const int from : others_in_order(rank, world_size)) {
      receiving.receives.push_back({from, part, Content::kSum, Form::kEncoded, from});
    }
    receiving.adds.push_back(part);
    receiving.finishes.push_back({part, /*encode=*/false});
  }
  return schedule;
}

// Wave w: sums sent in step w and received in step w + L; results sent in the step after that and
// received L steps later still. Within a step results come first, for sender and receiver alike.
StepList sharded_schedule(int rank, int world_size, std::span<const int> owners, Form form) {
  const std::vector<std::vector<int>> parts_of = waves_by_owner(owners, world_size);
  int waves = 0;
  for (const std::vector<int>& parts : parts_of) {
    waves = std::max(waves, static_cast<int>(parts.size()));
  }
  const int lag = std::clamp(waves - 1, 0, kLagMax);
  StepList schedule{.parts = static_cast<int>(owners.size()), .steps = {}};
  schedule.steps.resize(waves == 0 ? 0 : at(waves + 2 * lag + 1));
  const auto part_in = [&](int owner, int wave) {
    const std::vector<int>& parts = parts_of[at(owner)];
    return wave >= 0 && wave < static_cast<int>(parts.size()) ? parts[at(wave)] : -1;
  };
  for (int s = 0; s < static_cast<int>(schedule.steps.size()); ++s) {
    Step& step = schedule.steps[at(s)];
    const int result_out = part_in(rank, s - lag - 1);
    const int sum_in = part_in(rank, s - lag);
    for (const int to : others_after(rank, world_size)) {
      if (result_out >= 0) {
        step.sends.push_back({to, result_out, Content::kResult, form, rank});
      }
    }
    for (const int to : others_after(rank, world_size)) {
      if (const int part = part_in(to, s); part >= 0) {
        step.sends.push_back({to, part, Content::kSum, form, rank});
      }
    }
    for (const int from : others_in_order(rank, world_size)) {
      if (const int part = part_in(from, s - 2 * lag - 1); part >= 0) {
        step.receives.push_back({from, part, Content::kResult, form, from});
      }
    }
    if (sum_in < 0) {
      continue;
    }
    for (const int from : others_in_order(rank, world_size)) {
      step.receives.push_back({from, sum_in, Content::kSum, form, from});
    }
    step.adds.push_back(sum_in);
    step.finishes.push_back({sum_in, form == Form::kEncoded && world_size > 1});
  }
  return schedule;
}

// Item (s, t), s = 0..2P-3, is part t of the chunk that step s of the ring moves. Items are sent
// one per step and received L steps later, L < T, so that what item (s+1, t) sends has come by
// then.
StepList ring_schedule(int rank, int world_size, int parts_per_chunk) {
  const int tiles = parts_per_chunk;
  StepList schedule{.parts = world_size * tiles, .steps = {}};
  if (world_size == 1) {
    schedule.steps.emplace_back();
    for (int part = 0; part < tiles; ++part) {
      schedule.steps.back().finishes.push_back({part, /*encode=*/false});
    }
    return schedule;
  }
  const int lag = std::clamp(tiles - 1, 0, kLagMax);
  const int items = 2 * (world_size - 1) * tiles;
  const int next = (rank + 1) % world_size;
  const int previous = (rank + world_size - 1) % world_size;
  schedule.steps.resize(at(items + lag));
  for (int item = 0; item < items; ++item) {
    const int s = item / tiles;
    const int tile = item % tiles;
    const bool adding = s < world_size - 1;
    // The chunk that rank r sends in step s; it receives what the one before it sends.
    const auto part_sent_by = [&](int r) {
      return (r + 2 * world_size - s) % world_size * tiles + tile;
    };
    const Content content = adding ? Content::kSum : Content::kResult;
    const int sent = part_sent_by(rank);
    const int received = part_sent_by(previous);
    // A result was made by the rank behind which its chunk's way around the ring began.
    const auto origin_of = [&](int part, int sender) {
      return adding ? sender : (part / tiles + world_size - 1) % world_size;
    };
    schedule.steps[at(item)].sends.push_back(
        {next, sent, content, Form::kFloat32, origin_of(sent, rank)});
    Step& receiving = schedule.steps[at(item + lag)];
    receiving.receives.push_back(
        {previous, received, content, Form::kFloat32, origin_of(received, previous)});
    if (adding) {
      receiving.adds.push_back(received);
    }
    if (s == world_size - 2) {
      receiving.finishes.push_back({received, /*encode=*/false});
    }
  }
  return schedule;
}

int halving_chunks(int world_size) {
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(world_size)));
}

namespace {

// The chunks [first, first + count) that `rank` still adds up after the exchanges with the partners
// at distances core/2 .. distance.
int first_chunk(int rank, int distance) {
  return rank / distance * distance;
}

// Exchanges between the ranks below `core`: at each distance a rank keeps the half in which its own
// chunk lies.
void add_halving(StepList& schedule, int rank, int core, int tiles) {
  for (int distance = core / 2; distance >= 1; distance /= 2) {
    const int partner = rank ^ distance;
    Step step;
    for (const int part : range_of(first_chunk(partner, distance) * tiles, distance * tiles)) {
      step.sends.push_back({partner, part, Content::kSum, Form::kFloat32, rank});
    }
    for (const int part : range_of(first_chunk(rank, distance) * tiles, distance * tiles)) {
      step.receives.push_back({partner, part, Content::kSum, Form::kFloat32, partner});
      step.adds.push_back(part);
    }
    schedule.steps.push_back(std::move(step));
  }
}

void add_doubling(StepList& schedule, int rank, int core, int tiles) {
  for (int distance = 1; distance < core; distance *= 2) {
    const int partner = rank ^ distance;
    Step step;
    for (const int part : range_of(first_chunk(rank, distance) * tiles, distance * tiles)) {
      step.sends.push_back({partner, part, Content::kResult, Form::kFloat32, part / tiles});
    }
    for (const int part : range_of(first_chunk(partner, distance) * tiles, distance * tiles)) {
      step.receives.push_back({partner, part, Content::kResult, Form::kFloat32, part / tiles});
    }
    schedule.steps.push_back(std::move(step));
  }
}

}  // namespace

StepList halving_schedule(int rank, int world_size, int parts_per_chunk) {
  const int core = halving_chunks(world_size);
  const int tiles = parts_per_chunk;
  StepList schedule{.parts = core * tiles, .steps = {}};
  // The rank beyond the core that this one stands in for, or that stands in for this one.
  const int other = rank >= core ? rank - core : rank + core;
  Step before;
  Step after;
  if (other < world_size) {
    for (const int part : range_of(0, core * tiles)) {
      const Message sum = {other, part, Content::kSum, Form::kFloat32, std::max(rank, other)};
      const Message result = {other, part, Content::kResult, Form::kFloat32, part / tiles};
      if (rank >= core) {
        before.sends.push_back(sum);
        after.receives.push_back(result);
      } else {
        before.receives.push_back(sum);
        before.adds.push_back(part);
        after.sends.push_back(result);
      }
    }
  }
  schedule.steps.push_back(std::move(before));
  if (rank < core) {
    add_halving(schedule, rank, core, tiles);
    for (const int part : range_of(rank * tiles, tiles)) {
      schedule.steps.back().finishes.push_back({part, /*encode=*/false});
    }
    add_doubling(schedule, rank, core, tiles);
  } else {
    const auto halvings = static_cast<int>(std::bit_width(static_cast<unsigned>(core))) - 1;
    schedule.steps.resize(at(1 + 2 * halvings));
  }
  schedule.steps.push_back(std::move(after));
  return schedule;
}

StepList doubling_schedule(int rank, int world_size, int parts) {
  StepList schedule{.parts = parts, .steps = {}};
  for (int held = 1; held < world_size; held *= 2) {
    const int passed_on = std::min(held, world_size - held);
    const int to = (rank + world_size - held) % world_size;
    const int from = (rank + held) % world_size;
    Step step;
    for (int i = 0; i < passed_on; ++i) {
      for (int part = 0; part < parts; ++part) {
        step.sends.push_back({to, part, Content::kSum, Form::kEncoded, (rank + i) % world_size});
        step.receives.push_back(
            {from, part, Content::kSum, Form::kEncoded, (from + i) % world_size});
      }
    }
    schedule.steps.push_back(std::move(step));
  }
  Step& last = schedule.steps.empty() ? schedule.steps.emplace_back() : schedule.steps.back();
  for (int part = 0; part < parts; ++part) {
    last.adds.push_back(part);
    last.finishes.push_back({part, /*encode=*/false});
  }
  return schedule;
}

}  // namespace laconic::collective
