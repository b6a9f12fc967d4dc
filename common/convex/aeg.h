// Accelerated extragradient (AEG): similarity and acceleration without compression; two full
// gradients an iteration. The method to beat on a link where latency counts.
//
//   xg = tau x + (1 - tau) xf;  xf ~ argmin <grad(f - f_1)(xg), v - xg> + |v - xg|^2/(2 theta) +
//   f_1(v) x = x + eta mu (xf - x) - eta grad f(xf) tau = min(1, sqrt(mu) / (2 sqrt(delta))), theta
//   = 1/(2 delta), eta = min(1/(2 mu), 1/(2 sqrt(mu delta)))
//
// Source: Kovalev, Beznosikov, Borodich, Gasnikov, Scutari, "Optimal gradient sliding and its
// application to distributed optimization under similarity", NeurIPS 2022, arXiv 2205.15136,
// Algorithm 1 with a = mu.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/codec.h"
#include "common/convex/method.h"

namespace laconic::convex {

struct AegOptions {
  int anchor = 0;
  double convexity = 0;   // mu > 0
  double similarity = 0;  // delta > 0; 0.35 to 0.7 of the true one is faster, where it converges
  double gradient_noise = 1e-13;  // relative error of the objective's gradients
  double smoothness = 0;          // L_1; 0: estimated at the start
  uint64_t seed = 0;
};

class Aeg final : public Method {
 public:
  // Errors: InvalidArgument for options outside their ranges or a wrong length.
  static absl::StatusOr<std::unique_ptr<Aeg>> make(const AegOptions& options,
                                                   collective::Communicator& communicator,
                                                   Objective& objective,
                                                   std::span<const double> start);

  std::span<const double> solution() const override { return xf_; }

 protected:
  absl::Status step() override;
  std::vector<std::span<double>> state() override { return {x_, xf_, smoothness_}; }

 private:
  Aeg(const AegOptions& options, collective::Communicator& communicator, Objective& objective,
      std::span<const double> start);

  // grad f_1 and grad f at `point`, at the anchor: own_ and mean_.
  absl::Status full_gradient(std::span<const double> point);

  const AegOptions options_;
  const double tau_;
  const double theta_;
  const double eta_;
  std::unique_ptr<compress::Codec> float32_;
  std::vector<double> x_;           // at the anchor
  std::vector<double> xf_;          // on all
  std::vector<double> smoothness_;  // [1]: L_1
  std::vector<double> xg_;
  std::vector<double> own_;
  std::vector<double> mean_;
  std::vector<double> solved_;
};

}  // namespace laconic::convex
