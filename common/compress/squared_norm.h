// Squared L2 norms in double precision, with the sums of levels.h: the same bits on every machine.
#pragma once

#include <span>

namespace laconic::compress {

// |values|^2. Cost: one pass at about the speed of memory.
double squared_norm(std::span<const float> values);

}  // namespace laconic::compress
