#include "common/wire/exchange_check.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/core/exchange_spec.h"
#include "common/core/schedule_choice.h"
#include "common/wire/compressor_spec.h"
#include "common/wire/convex_check.h"
#include "common/wire/method_spec.h"

namespace laconic::wire {
namespace {

constexpr int64_t kRoundDeadlineMaxSeconds = 86'400;
constexpr int64_t kBytesMax = 1'000'000'000'000'000'000;

void check_rounds(Checker& checker, const v1::Local& local, int64_t steps) {
  const std::string path = "spec.exchange.local";
  if (local.has_inner_steps() && local.has_rounds()) {
    checker.add(path + ".rounds", "is set beside inner_steps; allowed: one of the two");
  } else if (!local.has_rounds()) {
    checker.required_integer(path + ".inner_steps", local.has_inner_steps(), local.inner_steps(), 1,
                             1'000'000);
  } else if (local.rounds() < 1 || local.rounds() > 1'000'000) {
    checker.integer(path + ".rounds", local.rounds(), 1, 1'000'000);
  } else if (steps >= 1 && local.rounds() > steps) {
    checker.add(path + ".rounds", absl::StrCat("is ", local.rounds(), " with ", steps,
                                               " steps; allowed: at most spec.train.steps"));
  }
  if (!local.has_round_growth()) {
    return;
  }
  checker.number(path + ".round_growth", local.round_growth(), {.low = 0.25, .high = 4});
  if (!local.has_rounds()) {
    checker.add(path + ".round_growth", "is set without rounds; allowed: only with rounds");
  }
}

bool streams(const v1::Local& local) {
  return local.fragments() > 1 || local.delay_steps() > 0;
}

void check_fragments(Checker& checker, const v1::Local& local) {
  const std::string path = "spec.exchange.local";
  if (local.has_fragments()) {
    checker.integer(path + ".fragments", local.fragments(), 1, 1024);
  }
  if (local.has_keep()) {
    checker.number(path + ".keep", local.keep(), {.low = 0, .high = 1});
  }
  const int64_t fragments = local.has_fragments() ? local.fragments() : 1;
  if (local.has_rounds() && streams(local)) {
    checker.add(path + (fragments > 1 ? ".fragments" : ".delay_steps"),
                "is set with rounds; allowed: with inner_steps");
  } else if (local.has_delay_steps() && fragments >= 1 && local.inner_steps() >= 1) {
    checker.integer(path + ".delay_steps", local.delay_steps(), 0, local.inner_steps() / fragments);
  }
}

void check_similarity_fields(Checker& checker, const v1::Local& local) {
  const std::string path = "spec.exchange.local";
  if (local.has_inner_steps_max()) {
    const std::string field = path + ".inner_steps_max";
    if (!local.has_inner_steps()) {
      checker.add(field, "is set without inner_steps; allowed: inner_steps beside it");
    } else {
      checker.integer(field, local.inner_steps_max(), local.inner_steps(), 1'000'000);
    }
    if (streams(local)) {
      checker.add(field, "is set with fragments or delay_steps; allowed: without them");
    }
  }
  if (local.has_shift()) {
    checker.number(path + ".shift", local.shift(), {.low = 0, .high = 1});
    if (streams(local)) {
      checker.add(path + ".shift", "is set with fragments or delay_steps; allowed: without them");
    }
  }
}

void check_similarity(Checker& checker, const v1::Exchange& exchange) {
  const std::string path = "spec.exchange.similarity";
  const v1::Similarity& similarity = exchange.similarity();
  if (exchange.has_convex()) {
    checker.add(path, "is set with convex; allowed: convex.similarity");
  }
  if (streams(exchange.local())) {
    checker.add(path, "is set with fragments or delay_steps; allowed: without them");
  }
  if (similarity.has_every_steps()) {
    checker.integer(path + ".every_steps", similarity.every_steps(), 1, 1'000'000'000);
  }
  if (similarity.has_samples()) {
    checker.integer(path + ".samples", similarity.samples(), 4, 1'000'000);
  }
}

void check_auto(Checker& checker, const v1::Exchange& exchange) {
  const std::string path = "spec.exchange";
  if (exchange.auto_().has_wait()) {
    checker.number(path + ".auto.wait", exchange.auto_().wait(), {.low = 0.001, .high = 0.9});
  }
  if (exchange.auto_().has_bytes() &&
      (exchange.auto_().bytes() < 1 || exchange.auto_().bytes() > kBytesMax)) {
    checker.integer(path + ".auto.bytes", exchange.auto_().bytes(), 1, kBytesMax);
  }
  if (exchange.compressor().codec_case() != v1::Compressor::CODEC_NOT_SET &&
      !exchange.compressor().has_none()) {
    checker.add(path + ".compressor", "is set with auto, which chooses it; allowed: unset");
  }
  if (exchange.schedule() != v1::EXCHANGE_SCHEDULE_UNSPECIFIED && exchange.schedule() != v1::AUTO) {
    checker.add(path + ".schedule", "is set with auto, which chooses it; allowed: unset or AUTO");
  }
}

void check_method(Checker& checker, const v1::Exchange& exchange, int64_t steps) {
  const std::string path = "spec.exchange";
  if (exchange.method_case() == v1::Exchange::METHOD_NOT_SET) {
    checker.missing(path, "one of dense, local, convex, lazy, power_sgd, demo, ef21, auto");
  }
  check_method_fields(checker, exchange);
  if (exchange.has_similarity()) {
    check_similarity(checker, exchange);
  }
  if (exchange.has_auto_()) {
    check_auto(checker, exchange);
  }
  if (!exchange.has_local()) {
    return;
  }
  const v1::Local& local = exchange.local();
  check_rounds(checker, local, steps);
  check_fragments(checker, local);
  check_similarity_fields(checker, local);
  if (local.has_outer_rate()) {
    checker.number(path + ".local.outer_rate", local.outer_rate(),
                   {.low = 0, .high = 10, .above = true});
  }
  if (local.has_outer_momentum()) {
    checker.number(path + ".local.outer_momentum", local.outer_momentum(), kMomentum);
  }
}

// Sites are G neighbouring ranks each.
void check_sites(Checker& checker, const v1::Exchange& exchange, int32_t workers) {
  const std::string path = "spec.exchange.ranks_per_site";
  const std::string allowed = "a divisor of spec.workers.count";
  const bool hierarchical = exchange.schedule() == v1::HIERARCHICAL;
  const v1::Compressor& compressor = exchange.compressor();
  const bool dense =
      compressor.has_none() || compressor.codec_case() == v1::Compressor::CODEC_NOT_SET;
  const int32_t ranks = exchange.ranks_per_site();
  if (!exchange.has_ranks_per_site()) {
    if (hierarchical) {
      checker.missing(path, allowed + ", such as 2 for sites of two ranks");
    }
  } else if (ranks < 1 || ranks > kWorkersMax) {
    checker.integer(path, ranks, 1, kWorkersMax);
  } else if (workers % ranks != 0) {
    checker.add(path,
                absl::StrCat("is ", ranks, " with ", workers, " workers; allowed: ", allowed));
  } else if (hierarchical && workers == ranks && workers > 1 && !dense) {
    checker.add(path, absl::StrCat("is ", ranks, " with ", workers,
                                   " workers: one site, so nothing would be compressed; allowed: ",
                                   allowed, " below it, or compressor none"));
  }
}

void check_schedule(Checker& checker, const v1::Exchange& exchange) {
  const std::string path = "spec.exchange.schedule";
  const std::string allowed = "AUTO, ALL_GATHER, SHARDED, RING, STAR, TREE or HIERARCHICAL";
  const v1::Compressor& compressor = exchange.compressor();
  if (!v1::ExchangeSchedule_IsValid(exchange.schedule())) {
    checker.add(path,
                absl::StrCat("is ", static_cast<int>(exchange.schedule()), "; allowed: ", allowed));
  } else if (compressor.has_shared_index()) {
    const v1::ExchangeSchedule asked = exchange.schedule();
    const bool floats = (!compressor.shared_index().has_value_bits() ||
                         compressor.shared_index().value_bits() == 32) &&
                        !compressor.shared_index().by_overlap();
    if (asked > v1::AUTO && asked != v1::SHARDED && (asked != v1::RING || !floats)) {
      checker.add(path, absl::StrCat("is ", v1::ExchangeSchedule_Name(asked),
                                     " with shared_index; allowed: AUTO, SHARDED, or RING with 32 "
                                     "value_bits and without by_overlap"));
    }
  } else if (exchange.schedule() == v1::RING && !compressor.has_none() &&
             compressor.codec_case() != v1::Compressor::CODEC_NOT_SET) {
    checker.add(path,
                "is RING with a codec, which would lose again at every hop; allowed: AUTO, "
                "ALL_GATHER, SHARDED, STAR, TREE or HIERARCHICAL, or RING with compressor none");
  } else if (exchange.schedule() > v1::ALL_GATHER && !core::may_be_cut(codec_spec(compressor))) {
    checker.add(path, absl::StrCat("is ", v1::ExchangeSchedule_Name(exchange.schedule()),
                                   ", which cuts the vector, and this compressor needs it whole; "
                                   "allowed: AUTO or ALL_GATHER, or the compressor none, quantize "
                                   "or top_k"));
  } else if (exchange.schedule() > v1::ALL_GATHER && compressor.feedback() == v1::EF21) {
    checker.add(path, absl::StrCat("is ", v1::ExchangeSchedule_Name(exchange.schedule()),
                                   " with feedback EF21; allowed: AUTO or ALL_GATHER"));
  }
}

}  // namespace

void check_exchange(Checker& checker, const v1::TrainJobSpec& spec) {
  const v1::Exchange& exchange = spec.exchange();
  const int32_t workers = spec.workers().has_count() ? spec.workers().count() : 1;
  check_method(checker, exchange, spec.train().steps());
  if (exchange.has_compressor()) {
    check_compressor(checker, exchange.compressor());
  }
  if (exchange.has_round_deadline()) {
    checker.duration("spec.exchange.round_deadline", exchange.round_deadline(),
                     kRoundDeadlineMaxSeconds, "1s..24h");
  }
  if (exchange.has_convex()) {
    check_convex(checker, spec);
  } else {
    check_schedule(checker, exchange);
  }
  check_sites(checker, exchange, workers);
  if (exchange.has_lanes()) {
    checker.integer("spec.exchange.lanes", exchange.lanes(), 1, core::kLanesMax);
  }
}

}  // namespace laconic::wire
