// The methods lazy, power_sgd, demo and ef21 of a job file: their checks, their defaults, and what
// they mean to common/sync.
#pragma once

#include <vector>

#include "common/core/exchange_spec.h"
#include "common/wire/job_checker.h"
#include "laconic/v1/job.pb.h"

namespace laconic::wire {

// Reports everything wrong with the method of `exchange`, and with compressor and schedule beside
// it. Says nothing of dense and local.
void check_method_fields(Checker& checker, const v1::Exchange& exchange);

// Fills in every unset field of the method that has a default, and the form of error feedback and
// the schedule that go with it.
void fill_method(v1::Exchange& exchange);

// What exchange.auto chooses from: float32, 8, 4, 2 and 1 bits; the last two with a scale per row.
std::vector<core::CodecSpec> method_codecs();

// Method and its fields of an exchange whose defaults are filled in.
void set_method(const v1::Exchange& exchange, core::ExchangeSpec& spec);

}  // namespace laconic::wire
