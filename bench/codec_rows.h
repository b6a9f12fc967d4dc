// The measurements of codec_bench.
//
//   d  elements    k  kept    D  what a payload decodes to    e, g, a, v  vectors of d float32
#pragma once

#include <cstdint>

#include "bench/report.h"

namespace laconic::bench {

struct CodecBenchOptions {
  int64_t elements = 32 << 20;
  int repetitions = 5;
};

// GB/s of float32 that one core encodes or decodes, beside libtorch, memcpy and e += g.
// top-k: a <- a + v, select, encode, a <- a - D, as error feedback does.
void add_top_k_rows(const CodecBenchOptions& options, Report& report);
void add_dense_rows(const CodecBenchOptions& options, Report& report);

// Bits per position, compression and energy: what is kept for how many bytes. No clock.
void add_position_rows(const CodecBenchOptions& options, Report& report);
void add_sparseloco_rows(const CodecBenchOptions& options, Report& report);
void add_energy_rows(const CodecBenchOptions& options, Report& report);

}  // namespace laconic::bench
