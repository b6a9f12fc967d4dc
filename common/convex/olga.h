// OLGA and EF-OLGA: acceleration, compression and data similarity in one method. Workers send
// compressed differences that are small because their Hessians resemble the anchor worker's, which
// solves a subproblem on its own data in every inner round.
//
//   x0  reference point of an iteration    x  inner iterate    y, z  the two outer sequences
//   a_m  gradient of worker m at x0 as the anchor knows it     s  grad f_1(x)    s0  grad f_1(x0)
//   D  s - s0    q  what the workers got of D    Q  unbiased codec    C  contractive codec
//   ghat_m  what worker m has to say in an inner round: grad f_m(x) - a_m - q
//
// One iteration [Algorithms 1 and 3 of the paper; s0 never travels: q does]:
//   x0 = tau z + (1 - tau) y -> all;  a_m up;  g_full = mean a_m
//   N times:  ghat_m up by Q;  t = (1/M)(sum_{m > 1} Q(ghat_m) + D - q) + q - D - s0 + g_full
//             x ~ argmin <t, v - x> + |v - x|^2 / (2 theta) + f_1(v) -> all, with the new q
//   y = x;  grad f_m(y) up
//   G = p ((s0 - grad f(x0)) - (grad f_1(y) - grad f(y)) + (x0 - y) / theta)
//   z = (z / alpha + mu y - G) / (1 / alpha + mu)
// EF-OLGA [Algorithm 4]: worker m sends C(e_m + ghat_m) and keeps the rest as e_m, 0 at the start
// of an iteration; in the last inner round it sends e_m + ghat_m itself ("flush"), so that nothing
// is left. The paper's factors theta before and 1 / theta after C cancel for the codecs here.
//
// Source: Bylinkin, Beznosikov, AAAI 2025, arXiv 2412.16414. No theorem covers lossy downlinks,
// lossy gathers, inexact subproblems or an estimated delta; docs/algorithms.md has the
// measurements.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/codec.h"
#include "common/convex/method.h"
#include "common/convex/olga_constants.h"
#include "common/core/codec_spec.h"

namespace laconic::convex {

struct OlgaOptions {
  int anchor = 0;
  double convexity = 0;           // mu > 0 of f
  double similarity = 0;          // delta > 0; with adapt_similarity the first guess
  bool adapt_similarity = false;  // delta follows the secant estimate of every iteration
  bool theory = false;            // constants of the theorems instead of tuned ones
  double scale = 1;               // c of the tuned constants, > 0
  int64_t rounds = 0;             // 1/p, the mean of N; 0: gamma, as the theorems ask
  bool geometric = false;         // N ~ Geom(p) as the theorems ask, instead of round(1/p)
  double tolerance = 0.1;         // of the subproblem, relative
  double gradient_noise = 1e-13;  // relative error of the objective's gradients
  double smoothness = 0;          // L_1 of the anchor's f_1; 0: estimated at the start
  uint64_t seed = 0;

  core::CodecSpec inner =
      {};  // Q or C: kRandK or kPermK scaled, kQuantize stochastic (OLGA); any (EF)
  bool error_feedback = false;  // EF-OLGA
  // EF-OLGA: a worker stays silent while |e_m + ghat_m|^2 <= lazy delta^2 |x - x0|^2; 0: never.
  double lazy = 0;
  core::CodecSpec gather =
      {};  // of full gradients; lossy: as differences to a memory on both sides
  core::CodecSpec downlink = {};  // of steps, of q, and of x0 as a difference to y
};

class Olga final : public Method {
 public:
  // All ranks give the same options. start: [d], equal on all ranks.
  // Errors: InvalidArgument for options outside their ranges, an unbiased codec where EF-OLGA is
  // off and none is given, or a wrong length.
  static absl::StatusOr<std::unique_ptr<Olga>> make(const OlgaOptions& options,
                                                    collective::Communicator& communicator,
                                                    Objective& objective,
                                                    std::span<const double> start);

  std::span<const double> solution() const override { return y_; }
  std::span<const double> momentum_sequence() const { return z_; }
  // Of the last iteration, at the anchor.
  const OlgaConstants& constants() const { return constants_; }

 protected:
  absl::Status step() override;
  std::vector<std::span<double>> state() override;

 private:
  // What an iteration keeps of its reference point.
  struct Reference {
    std::vector<double> point;     // x0
    std::vector<double> anchor;    // s0, at the anchor
    std::vector<double> gradient;  // grad f(x0), at the anchor
  };

  Olga(const OlgaOptions& options, collective::Communicator& communicator, Objective& objective,
       std::span<const double> start);

  absl::Status begin();
  void choose_constants();
  absl::Status share_reference();
  // Brings the workers' gradients at `x` to the anchor. At the anchor `own` <- grad f_1(x) and
  // `mean` <- grad f(x) as the messages tell it.
  absl::Status full_gradient(std::span<const double> x, std::span<double> own,
                             std::span<double> mean);
  absl::Status inner_round(int64_t round, bool last);
  absl::Status gather_differences(int64_t round, bool last);
  absl::Status solve_subproblem();
  void raise_similarity_where_messages_show_it();
  absl::Status share_step(bool last);
  void move_momentum();
  void guard_against_divergence();

  const OlgaOptions options_;
  std::unique_ptr<compress::Codec> float32_;
  std::unique_ptr<compress::Codec> inner_;
  std::unique_ptr<compress::Codec> gather_;
  std::unique_ptr<compress::Codec> downlink_;
  OlgaProblem problem_;
  OlgaConstants constants_;
  bool begun_ = false;

  // State between iterations. memory_: of the full gradients, this worker's h_m; at the anchor
  // their sum. scalars_: delta, L_1, |grad f| one and two iterations ago, guards.
  enum Scalar : size_t { kSimilarity, kSmoothness, kLastNorm, kNormBefore, kGuards, kScalars };
  std::vector<double> y_;
  std::vector<double> z_;
  std::vector<double> memory_;
  std::vector<double> scalars_;

  // Of the iteration under way, all [d].
  Reference reference_;
  std::vector<double> x_;
  std::vector<double> q_;         // what all know of D
  std::vector<double> d_;         // D, at the anchor
  std::vector<double> shift_;     // t, at the anchor
  std::vector<double> sum_;       // of the workers' messages, at the anchor
  std::vector<double> solved_;    // the subproblem's solution, at the anchor
  std::vector<double> gradient_;  // scratch: grad f_m
  std::vector<double> residual_;  // e_m
  std::vector<double> sent_;      // scratch
  std::vector<double> end_own_;   // grad f_1(y), at the anchor
  std::vector<double> end_mean_;  // grad f(y), at the anchor
};

}  // namespace laconic::convex
