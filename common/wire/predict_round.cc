#include <algorithm>

#include "common/core/method_sizes.h"
#include "common/core/payload_size.h"
#include "common/core/schedule_choice.h"
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

}  // namespace

RoundPrediction predict_round(const v1::TrainJob& job, const core::Layout& layout) {
  const core::ExchangeSpec exchange = exchange_spec(job);
  const v1::Workers& workers = job.spec().workers();
  const int64_t world_size = workers.has_count() ? workers.count() : 1;
  const int64_t peers = world_size - 1;
  const int64_t elements = layout.elements();
  const int64_t steps = std::max<int64_t>(1, job.spec().train().steps());
  const int64_t inner_steps = std::clamp<int64_t>(exchange.inner_steps, 1, steps);

  RoundPrediction prediction;
  prediction.payload_bytes = core::payload_bytes_expected(exchange.codec, layout);
  prediction.varies = core::payload_size_varies(exchange.codec, layout);
  prediction.rounds = (steps + inner_steps - 1) / inner_steps;
  // Ring all-reduce: each rank sends P-1 of P shards twice. Multiplied first: exact up to rounding.
  prediction.dense_bytes = 2 * peers * 4 * elements * inner_steps / world_size;
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
