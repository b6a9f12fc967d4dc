// The rows of gpu_bench.
#pragma once

#include <cstdint>
#include <string>

#include "bench/report.h"

namespace laconic::bench {

struct GpuBenchOptions {
  int64_t elements = int64_t{1} << 28;
  int repetitions = 20;
  int device = 0;
  std::string python = "python3";  // one that may have torch
};

// Measures on the device with CUDA events. Every row's peer is the ceiling: the measured speed of a
// copy within device memory over the bytes per element that the row cannot do without. Ends the
// program with exit code 1 if a payload differs from that of the scalar code.
void add_gpu_rows(const GpuBenchOptions& options, Report& report);

}  // namespace laconic::bench
