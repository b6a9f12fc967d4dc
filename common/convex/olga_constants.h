// Step sizes of OLGA and EF-OLGA.
//
//   M  workers       mu  strong convexity       delta  similarity: |Hess f_m - Hess f| <= delta
//   gamma  d / K, the factor by which messages shrink     omega  variance constant of the codec
//   p  inverse mean number of inner rounds    theta  prox step    tau  coupling    alpha  step of z
//
// Source: Bylinkin, Beznosikov, "Accelerated Methods with Compressed Communications for Distributed
// Optimization Problems under Data Similarity", AAAI 2025, arXiv 2412.16414; errata E1 to E8 and
// the tuned constants: docs/algorithms.md.
#pragma once

#include <cstdint>

namespace laconic::convex {

struct OlgaProblem {
  int workers = 1;        // M >= 1
  double convexity = 0;   // mu > 0
  double similarity = 0;  // delta > 0
  double gamma = 1;       // >= 1
  double omega = 1;       // >= 1; RandK: d / K (E8)
};

struct OlgaConstants {
  double p = 1;
  double theta = 0;
  double tau = 0;
  double alpha = 0;
  bool operator==(const OlgaConstants&) const = default;
};

// Theorem 1 and Corollary 1: E[Y + Z] falls by 1 - tau an iteration.
OlgaConstants olga_theory(const OlgaProblem& problem);
// Theorem 2 and Corollary 2 with E4.
OlgaConstants ef_olga_theory(const OlgaProblem& problem);
// What measurements allow: c = 1 for OLGA, 0.25 for EF-OLGA. c > 0; 4 diverges on sparse messages.
OlgaConstants olga_tuned(const OlgaProblem& problem, double c);

// Inner rounds of iteration k: N ~ Geom(p) on {1, 2, ..} (E1), or round(1/p), which is as fast in
// the mean and always the same. Equal on all ranks.
int64_t inner_rounds(double p, bool geometric, uint64_t seed, int64_t iteration);

}  // namespace laconic::convex
