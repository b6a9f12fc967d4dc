// Squared L2 norms in double precision, with the sums of levels.h: the same bits on every machine.
#pragma once

#include <span>

namespace laconic::compress {

// |values|^2. Cost: one pass at about the speed of memory.
double squared_norm(std::span<const float> values);

// Of an encode with error feedback, taken while the numbers are in a cache anyway; added up from
// stretches, so the last bits differ from those of squared_norm().
struct EncodeSquares {
  double v = 0;
  double a = 0;  // of decay a + v
};

}  // namespace laconic::compress
