// What a job exchanges by and what its planner predicted, for tables, JSON and reports. Pure.
#pragma once

#include <string>
#include <vector>

#include "laconic/v1/control.pb.h"

namespace laconic::cli {

// Of rank 0, as it reported it last; without schedule and codec: not known yet.
v1::ExchangeChoice exchange_of(const v1::Job& job);

// "int4 by sharded"; "-" where it is not known.
std::string exchange_text(const v1::ExchangeChoice& exchange);

// "20.1 ms, 12.5 MB/s".
std::string link_text(const v1::Plan& plan);

// One row per way, heading first: mark ("*": chosen), schedule, codec, seconds and their three
// parts, bytes sent, error, "over budget".
std::vector<std::vector<std::string>> plan_rows(const v1::Plan& plan);

// {"schedule": .., "codec": .., "plan": null or {"latency_seconds", "bytes_per_second",
// "error_budget", "ways": [{"schedule", "codec", "seconds", "codec_seconds", "latency_seconds",
// "wire_seconds", "sent_bytes", "error", "within_budget", "chosen"}]}}; null: not known.
std::string exchange_json(const v1::ExchangeChoice& exchange);

}  // namespace laconic::cli
