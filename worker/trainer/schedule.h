// The learning rate over time.
#pragma once

#include <cstdint>

namespace laconic::trainer {

struct CosineSchedule {
  int64_t steps = 1;         // S, of the run, >= 1
  int64_t warmup_steps = 0;  // w, >= 0
  double final_ratio = 1;    // f, 0..1
};

// Factor on every learning rate at step t = 0..S-1: (t+1)/w while t < w, then
// f + (1-f)/2 (1 + cos(pi (t-w)/(S-w))). Source: Loshchilov, Hutter, SGDR, ICLR 2017.
double learning_rate_factor(const CosineSchedule& schedule, int64_t step);

}  // namespace laconic::trainer
