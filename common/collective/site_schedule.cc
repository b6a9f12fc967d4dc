#include "common/collective/site_schedule.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/collective/rank_order.h"

namespace laconic::collective {
namespace {

size_t at(int index) {
  return static_cast<size_t>(index);
}

// One rank's view: who is where, and which parts every index adds up.
class SitePlan {
 public:
  SitePlan(int rank, const Sites& sites, std::span<const int> owners)
      : sites_(sites),
        owners_(owners),
        own_site_(rank / sites.ranks_per_site),
        own_index_(rank % sites.ranks_per_site),
        shards_(at(sites.ranks_per_site)) {
    for (size_t part = 0; part < owners.size(); ++part) {
      shards_[at(owners[part] % sites.ranks_per_site)].push_back(static_cast<int>(part));
    }
  }

  int own_index() const { return own_index_; }
  int mate(int index) const { return own_site_ * sites_.ranks_per_site + index; }
  int owner(int part) const { return owners_[at(part)]; }
  // The parts that index g of every site adds up.
  const std::vector<int>& shard(int index) const { return shards_[at(index)]; }
  std::vector<int> mates_after() const { return others_after(own_index_, sites_.ranks_per_site); }
  std::vector<int> mates_in_order() const {
    return others_in_order(own_index_, sites_.ranks_per_site);
  }

  // What index g of this site does to exchange its shard with index g of the others: the sharded
  // schedule, its ranks being sites and its parts those of the shard.
  StepList between_sites(int index, Form form) const {
    std::vector<int> owning;
    for (const int part : shard(index)) {
      owning.push_back(owner(part) / sites_.ranks_per_site);
    }
    StepList list = sharded_schedule(own_site_, sites_.sites, owning, form);
    const auto translate = [&](std::vector<Message>& messages) {
      for (Message& message : messages) {
        message.peer = message.peer * sites_.ranks_per_site + index;
        message.origin = message.origin * sites_.ranks_per_site + index;
        message.part = shard(index)[at(message.part)];
      }
    };
    for (Step& step : list.steps) {
      translate(step.sends);
      translate(step.receives);
      for (int& part : step.adds) {
        part = shard(index)[at(part)];
      }
      for (Finish& finish : step.finishes) {
        finish.part = shard(index)[at(finish.part)];
      }
    }
    return list;
  }

 private:
  const Sites& sites_;
  const std::span<const int> owners_;
  const int own_site_;
  const int own_index_;
  std::vector<std::vector<int>> shards_;
};

// A frame of float32.
struct Tile {
  int part = 0;
  int tile = 0;
  bool last = false;  // of its part
};
std::vector<Tile> tiles_of(std::span<const int> parts, std::span<const int> tiles) {
  std::vector<Tile> all;
  for (const int part : parts) {
    for (int tile = 0; tile < tiles[at(part)]; ++tile) {
      all.push_back({part, tile, tile + 1 == tiles[at(part)]});
    }
  }
  return all;
}

// Sums inside the site, a frame to each mate per step.
std::vector<Step> site_sums(const SitePlan& plan, int ranks_per_site, std::span<const int> tiles) {
  const int rank = plan.mate(plan.own_index());
  std::vector<std::vector<Tile>> shards;
  size_t most = 0;
  for (int index = 0; index < ranks_per_site; ++index) {
    shards.push_back(tiles_of(plan.shard(index), tiles));
    most = std::max(most, shards.back().size());
  }
  if (ranks_per_site == 1) {
    return {};
  }
  const int lag = std::clamp(static_cast<int>(most) - 1, 0, kLagMax);
  std::vector<Step> steps(most + at(lag));
  for (const int index : plan.mates_after()) {
    for (size_t i = 0; i < shards[at(index)].size(); ++i) {
      const Tile& tile = shards[at(index)][i];
      steps[i].sends.push_back(
          {plan.mate(index), tile.part, Content::kSum, Form::kFloat32, rank, tile.tile});
    }
  }
  const std::vector<Tile>& own = shards[at(plan.own_index())];
  for (size_t i = 0; i < own.size(); ++i) {
    Step& step = steps[i + at(lag)];
    for (const int index : plan.mates_in_order()) {
      const int mate = plan.mate(index);
      step.receives.push_back(
          {mate, own[i].part, Content::kSum, Form::kFloat32, mate, own[i].tile});
    }
    if (own[i].last) {
      step.adds.push_back(own[i].part);
    }
  }
  return steps;
}

// [steps] The results that index g has from step s of between_sites() on, as messages inside the
// site; the peer is left open.
std::vector<std::vector<Message>> results_of(const SitePlan& plan, int index,
                                             std::span<const int> tiles, Form form) {
  std::vector<std::vector<Message>> results;
  for (const Step& step : plan.between_sites(index, form).steps) {
    std::vector<int> parts;
    for (const Finish& finish : step.finishes) {
      parts.push_back(finish.part);
    }
    for (const Message& message : step.receives) {
      if (message.content == Content::kResult) {
        parts.push_back(message.part);
      }
    }
    results.emplace_back();
    for (const int part : parts) {
      for (int tile = 0; tile < (form == Form::kFloat32 ? tiles[at(part)] : 1); ++tile) {
        results.back().push_back({0, part, Content::kResult, form, plan.owner(part), tile});
      }
    }
  }
  return results;
}

// Passes the results of each step on inside in the next, so mates hear of each other all the time,
// however slow the links between sites. Message by message to all: none waits for the others' last.
void add_site_results(std::vector<Step>& steps, const SitePlan& plan,
                      const std::vector<std::vector<std::vector<Message>>>& results) {
  const auto due = [&](int index, size_t step) -> std::span<const Message> {
    const auto& of_index = results[at(index)];
    return step < of_index.size() ? std::span<const Message>(of_index[step])
                                  : std::span<const Message>();
  };
  const auto add = [&](std::vector<Message>& messages, Message message, int mate) {
    message.peer = plan.mate(mate);
    messages.push_back(message);
  };
  const auto receive = [&](size_t step, size_t number, int mate) {
    if (number < due(mate, step).size()) {
      add(steps[step + 1].receives, due(mate, step)[number], mate);
    }
  };
  size_t count = steps.size();
  for (const auto& of_index : results) {
    count = std::max(count, of_index.size() + 1);
  }
  steps.resize(count);
  for (size_t s = 0; s + 1 < count; ++s) {
    for (const Message& message : due(plan.own_index(), s)) {
      for (const int mate : plan.mates_after()) {
        add(steps[s + 1].sends, message, mate);
      }
    }
    size_t most = 0;
    for (const int mate : plan.mates_in_order()) {
      most = std::max(most, due(mate, s).size());
    }
    for (size_t i = 0; i < most; ++i) {
      for (const int mate : plan.mates_in_order()) {
        receive(s, i, mate);
      }
    }
  }
}

}  // namespace

StepList hierarchical_schedule(int rank, const Sites& sites, std::span<const int> owners,
                               std::span<const int> tiles, Form form) {
  const SitePlan plan(rank, sites, owners);
  const Form between = sites.sites == 1 ? Form::kFloat32 : form;
  StepList schedule{.parts = static_cast<int>(owners.size()),
                    .steps = site_sums(plan, sites.ranks_per_site, tiles)};
  std::vector<std::vector<std::vector<Message>>> results;
  results.reserve(at(sites.ranks_per_site));
  for (int index = 0; index < sites.ranks_per_site; ++index) {
    results.push_back(results_of(plan, index, tiles, between));
  }
  std::vector<Step> exchange = plan.between_sites(plan.own_index(), between).steps;
  add_site_results(exchange, plan, results);
  std::move(exchange.begin(), exchange.end(), std::back_inserter(schedule.steps));
  return schedule;
}

}  // namespace laconic::collective
