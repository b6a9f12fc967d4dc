#include <algorithm>
#include <cmath>

#include "common/core/method_sizes.h"
#include "common/core/payload_size.h"
#include "common/core/schedule_choice.h"
#include "common/wire/job_defaults.h"
#include "common/wire/job_spec.h"

// P workers, d parameters, H steps between rounds.

namespace laconic::wire {
namespace {

// Methods that make their own messages: what a round sends in which every rank sends, after the
// first steps.
void predict_own_messages(const core::ExchangeSpec& exchange, const core::Layout& layout,
                          int world_size, RoundPrediction& prediction) {
  const int64_t peers = world_size - 1;
  if (exchange.method == core::Method::kLazy) {
    prediction.payload_bytes += 1;
    prediction.varies = true;
    prediction.sent_bytes = peers * core::framed_bytes(prediction.payload_bytes);
  } else if (exchange.method == core::Method::kDemo) {
    prediction.payload_bytes = core::demo_payload_bytes_max(exchange.demo, layout);
    prediction.varies = true;
    prediction.sent_bytes = peers * core::framed_bytes(prediction.payload_bytes);
  } else if (exchange.method == core::Method::kPowerSgd) {
    const int64_t floats = core::power_sgd_floats(exchange.power_sgd, layout);
    prediction.payload_bytes = 4 * floats;
    prediction.sent_bytes = core::sent_bytes_expected(core::Schedule::kSharded, {},
                                                      {{{"factors", 1, floats}}}, world_size, 1);
  }
}

using v1::Convex;

core::CodecSpec codec_of_bits(int32_t bits) {
  return bits == 32 ? core::CodecSpec{}
                    : core::CodecSpec{.kind = core::CodecKind::kQuantize, .bits = bits};
}

// What one worker sends and gets in an iteration of OLGA (common/convex/olga.h).
void predict_olga(const Convex& convex, const core::CodecSpec& inner, const core::Layout& layout,
                  RoundPrediction& prediction) {
  const auto framed = [&](const core::CodecSpec& codec) {
    return core::framed_bytes(core::payload_bytes_expected(codec, layout));
  };
  const int64_t rounds = convex.has_inner_rounds()
                             ? convex.inner_rounds()
                             : std::llround(core::shrink_factor(inner, layout));
  const core::CodecSpec gather = codec_of_bits(convex.gather_bits());
  int64_t messages = gather.lossy() ? rounds : rounds - 1;
  prediction.up_bytes = 2 * framed(gather);
  if (convex.algorithm() == Convex::EF_OLGA && messages > 0) {
    --messages;
    prediction.up_bytes += framed({});  // The last one sends what is left.
  }
  prediction.up_bytes += messages * framed(inner);
  prediction.down_bytes = 2 * rounds * framed(codec_of_bits(convex.downlink_bits()));
  prediction.down_bytes += (convex.lazy() > 0 ? 2 : 1) * core::framed_bytes(sizeof(double));
  prediction.varies |= convex.geometric() || convex.lazy() > 0;
}

void predict_convex(const Convex& convex, const core::ExchangeSpec& exchange,
                    const core::Layout& layout, RoundPrediction& prediction) {
  const core::CodecSpec& codec = exchange.codec;
  const int64_t floats = core::framed_bytes(4 * layout.elements());
  const int64_t message = core::framed_bytes(prediction.payload_bytes);
  prediction.schedule = core::Schedule::kStar;
  prediction.down_bytes = floats + core::framed_bytes(sizeof(double));
  prediction.up_bytes = message;
  if (convex.algorithm() == Convex::OLGA || convex.algorithm() == Convex::EF_OLGA) {
    predict_olga(convex, codec, layout, prediction);
  } else if (convex.algorithm() == Convex::AEG) {
    prediction.up_bytes = 2 * floats;
    prediction.down_bytes += floats;
  } else if (convex.algorithm() == Convex::MARINA) {
    prediction.up_bytes = std::llround(codec.density * static_cast<double>(floats) +
                                       (1 - codec.density) * static_cast<double>(message));
    prediction.varies = true;
  } else if (convex.algorithm() == Convex::LAQ) {
    prediction.varies = true;
  }
  if (codec.world_size == 1) {
    prediction.up_bytes = 0;
    prediction.down_bytes = 0;
  }
  prediction.sent_bytes =
      std::max(prediction.up_bytes, (codec.world_size - 1) * prediction.down_bytes);
}

}  // namespace

RoundPrediction predict_round(const v1::TrainJob& job, const core::Layout& layout) {
  const core::ExchangeSpec exchange = exchange_spec(job);
  const v1::Workers& workers = job.spec().workers();
  const int64_t world_size = workers.has_count() ? workers.count() : 1;
  const int64_t peers = world_size - 1;
  const int64_t elements = layout.elements();
  const int64_t steps = std::max<int64_t>(1, job.spec().train().steps());
  core::RoundSchedule rounds = exchange.rounds;
  rounds.steps = steps;

  RoundPrediction prediction;
  prediction.payload_bytes = core::payload_bytes_expected(exchange.codec, layout);
  prediction.varies = core::payload_size_varies(exchange.codec, layout);
  prediction.rounds = core::round_count(rounds);
  // Ring all-reduce: each rank sends P-1 of P shards twice. Multiplied first: exact up to rounding.
  prediction.dense_bytes = 2 * peers * 4 * elements * core::longest_round(rounds) / world_size;
  if (job.spec().exchange().has_convex()) {
    predict_convex(with_exchange_defaults(job.spec().exchange()).convex(), exchange, layout,
                   prediction);
    return prediction;
  }
  prediction.schedule = core::choose_schedule(exchange.schedule, exchange.codec, layout,
                                              static_cast<int>(world_size));
  const int ranks_per_site = std::max(1, exchange.ranks_per_site);
  prediction.sent_bytes = core::sent_bytes_expected(prediction.schedule, exchange.codec, layout,
                                                    static_cast<int>(world_size), ranks_per_site);
  if (prediction.schedule == core::Schedule::kHierarchical) {
    prediction.between_sites_bytes =
        core::site_bytes_expected(exchange.codec, layout, static_cast<int>(world_size),
                                  ranks_per_site)
            .between;
  }
  if (exchange.shared_index.has_value()) {
    prediction.payload_bytes = core::shared_index_payload_bytes(*exchange.shared_index, layout);
    prediction.varies = exchange.shared_index->agreement == core::Agreement::kLeader;
    prediction.schedule = exchange.schedule;
    prediction.sent_bytes = core::shared_index_sent_bytes(*exchange.shared_index, exchange.schedule,
                                                          layout, static_cast<int>(world_size));
    if (exchange.shared_index->by_overlap) {  // It may stay with what it begins with.
      const core::CodecSpec own = core::own_index_codec(*exchange.shared_index);
      prediction.schedule = core::Schedule::kAllGather;
      prediction.payload_bytes = core::payload_bytes_expected(own, layout);
      prediction.sent_bytes =
          core::sent_bytes_expected(core::Schedule::kAllGather, own, layout,
                                    static_cast<int>(world_size), /*ranks_per_site=*/1);
    }
  }
  predict_own_messages(exchange, layout, static_cast<int>(world_size), prediction);
  if (prediction.sent_bytes > 0) {
    const double dense_in_all = 2.0 * static_cast<double>(peers) * 4 *
                                static_cast<double>(elements) * static_cast<double>(steps) /
                                static_cast<double>(world_size);
    prediction.times_less =
        dense_in_all / static_cast<double>(prediction.sent_bytes * prediction.rounds);
  }
  return prediction;
}

}  // namespace laconic::wire
