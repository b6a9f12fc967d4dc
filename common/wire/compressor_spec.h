// The compressor of a job file: its checks, its defaults, and what it means to the codecs.
#pragma once

#include <vector>

#include "common/core/codec_spec.h"
#include "common/core/exchange_spec.h"
#include "common/wire/job_checker.h"
#include "laconic/v1/job.pb.h"

namespace laconic::wire {

// Reports everything wrong with `compressor`.
void check_compressor(Checker& checker, const v1::Compressor& compressor);

// Fills in every unset field that has a default. local: the method is local, else dense.
void fill_compressor(v1::Compressor& compressor, bool local);

// Error feedback of a compressor with its defaults filled in. With EF21 also the schedule, which
// has been checked.
void set_feedback(const v1::Compressor& compressor, core::ExchangeSpec& spec);

// The shared index of a compressor with its defaults filled in, if it has one, and what AUTO means
// with it.
void set_shared_index(const v1::Compressor& compressor, core::ExchangeSpec& spec);

// The codec of a compressor with its defaults filled in; rank and world_size are not.
core::CodecSpec codec_spec(const v1::Compressor& compressor);

// What the planner chooses from, defaults applied; empty unless the compressor is auto.
std::vector<core::CodecSpec> candidate_codecs(const v1::Compressor& compressor);

}  // namespace laconic::wire
