// One rank of all_reduce_bench: a process of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace laconic::bench {

struct RankOptions {
  int rank = -1;  // -1: this process starts the others
  int world_size = 4;
  int64_t elements = 16 << 20;
  int repetitions = 5;
  std::vector<std::string> methods;  // of method_names(); empty: all
  std::string host = "127.0.0.1";    // on which this rank listens
  // Of a proxy in front of every rank; 0: none. Each byte is under way for the delay, and what
  // comes in shares the rate. gloo does not go through it, and is left out.
  double proxy_bits_per_s = 0;
  double proxy_delay_s = 0;
  std::string directory;  // where the ranks find each other and leave what they measured
};

// "gloo_ring" where gloo is there, then the ways of MeanExchange: "dense", "int8", "int4",
// "top1pct"; last "planned", which measures first and takes one of these or another schedule.
std::vector<std::string> method_names();

// What one rank measured of one method in one repetition.
struct RankSample {
  std::string method;
  int repetition = 0;
  double seconds = 0;      // from a barrier until this rank has the mean
  double cpu_seconds = 0;  // of the whole process, all its threads, meanwhile
  int64_t bytes_sent = 0;  // frames with their headers; 0 for gloo, which does not count
  uint64_t digest = 0;     // of the result
};

// Takes part in all repetitions of all methods, in turn, and checks every result against the mean
// in double precision. Writes the samples to a file that read_samples() reads.
absl::Status run_rank(const RankOptions& options);

// Empty if the rank wrote none.
std::vector<RankSample> read_samples(const std::string& directory, int rank);

}  // namespace laconic::bench
