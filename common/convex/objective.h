// What a method of this layer knows of one worker's data.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace laconic::convex {

// f_m of one worker: smooth, with exact gradients. f = (1/M) sum_m f_m is mu-strongly convex; each
// f_m alone need not be convex. Owned by one thread.
class Objective {
 public:
  virtual ~Objective() = default;

  virtual int64_t dimension() const = 0;  // d >= 1

  // gradient <- grad f_m(x). x and gradient: [d]; they do not overlap. Equal x give equal
  // gradients. Errors: of the data or the model; a method passes them on.
  virtual absl::Status gradient(std::span<const double> x, std::span<double> gradient) = 0;
};

}  // namespace laconic::convex
