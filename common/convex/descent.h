// Gradient descent on an estimate of the gradient that workers keep up to date with few bytes, and
// the plain methods that everything is measured against.
//
//   g_m  what the anchor takes for worker m's gradient    step  of x <- x - step mean g_m
//   w  variance constant of an unbiased codec (RandK: d/K - 1)    C, Q  codecs
//
//   gd      g_m = grad f_m(x)
//   agd     the same at y = x + beta (x - x_before), beta = (sqrt(L/mu) - 1)/(sqrt(L/mu) + 1).
//           Source: Nesterov, "Lectures on Convex Optimization", 2018, 2.2.22.
//   diana   m = Q(grad f_m - h_m); g_m = h_m + m; h_m += m/(1 + w). Source: Mishchenko et al.,
//           arXiv 1901.09269.
//   ef21    g_m += C(grad f_m - g_m). Source: Richtarik, Sokolov, Fatkhullin, NeurIPS 2021.
//   marina  with probability K/d (one coin for all) g_m = grad f_m, else g_m += Q(grad f_m(x) -
//           grad f_m(x_before)). Source: Gorbunov et al., ICML 2021.
//   laq     g_m += q, q = C(grad f_m - g_m), but silent while |q|^2 < (1/step^2) (1/D) sum_D |dx|^2
//           weight + 3 (err + err_last), at most kSilentRoundsMax times; D = 10. With an exact
//           codec it is LAG-WK. Source: Sun et al., NeurIPS 2019 (LAQ); Chen et al., NeurIPS 2018
//           (LAG), for f = mean.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/codec.h"
#include "common/convex/method.h"
#include "common/core/codec_spec.h"

namespace laconic::convex {

enum class DescentKind : uint8_t { kGd = 0, kAgd, kDiana, kEf21, kMarina, kLaq };

inline constexpr int kSilentRoundsMax = 100;
inline constexpr size_t kMovesKept = 10;  // D

struct DescentOptions {
  DescentKind kind = DescentKind::kGd;
  int anchor = 0;
  double step = 0;             // > 0
  double momentum = 0;         // beta of kAgd, 0..1
  double lazy = 0.8;           // weight of kLaq's rule: larger is more silent
  core::CodecSpec codec = {};  // of the messages; kGd, kAgd: none
  uint64_t seed = 0;
};

class Descent final : public Method {
 public:
  // Errors: InvalidArgument for options outside their ranges, a biased codec for kDiana or kMarina,
  // or a wrong length.
  static absl::StatusOr<std::unique_ptr<Descent>> make(const DescentOptions& options,
                                                       collective::Communicator& communicator,
                                                       Objective& objective,
                                                       std::span<const double> start);

  std::span<const double> solution() const override { return x_; }

 protected:
  absl::Status step() override;
  std::vector<std::span<double>> state() override;

 private:
  Descent(const DescentOptions& options, collective::Communicator& communicator,
          Objective& objective, std::span<const double> start);

  // Each brings estimate_ up to date: at the anchor the mean of g_m.
  absl::Status exact();
  absl::Status diana();
  absl::Status ef21();
  absl::Status marina();
  absl::Status laq();
  // Sends gradient_ - memory_ by the codec (skip: nothing); sent_ and, at the anchor, sum_ follow.
  absl::Status send_difference(bool skip);
  absl::Status move();

  const DescentOptions options_;
  std::unique_ptr<compress::Codec> float32_;
  std::unique_ptr<compress::Codec> codec_;
  double shrink_ = 1;  // d / K

  std::vector<double> x_;        // on all
  std::vector<double> before_;   // x of the last iteration, on all
  std::vector<double> memory_;   // g_m or h_m of this worker; at the anchor the others' sum
  std::vector<double> last_;     // grad f_m at before_ (kMarina)
  std::vector<double> moves_;    // [kMovesKept]: |dx|^2, the newest first (kLaq)
  std::vector<double> scalars_;  // kLaq: age of the message, its error

  std::vector<double> point_;     // where gradients are taken
  std::vector<double> gradient_;  // scratch
  std::vector<double> sent_;
  std::vector<double> sum_;
  std::vector<double> estimate_;  // mean of g_m, at the anchor
  std::vector<double> step_;
};

}  // namespace laconic::convex
