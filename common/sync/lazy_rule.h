// When a change is worth a message: the rules of method `lazy`, as pure functions.
//
//   v  what a rank would send, [d]    h  what receivers hold of it, [d]    Q  encode, then decode
//   G_r  the mean over the ranks of their h after round r: what all ranks stepped along
//
//   CLAG  send if |v - h|^2 > zeta |v - v'|^2, v' the v of the round before. Known to one rank
//         alone. Source: Richtarik, Sokolov, Fatkhullin, Gasanov, Li, Gorbunov, "3PC: Three Point
//         Compressors for Communication-Efficient Distributed Training", ICML 2022, (18). zeta = 0
//         sends always, which is EF21; with Q = identity it is LAG (Chen et al., NeurIPS 2018).
//   LAQ   send if |Q(v - h)|^2 >= xi (1/D) sum_{j=1..D} |G_{r-j}|^2 + 3 (err + err_last), D = 10,
//         err = |v - h - Q(v - h)|^2 now and after the last message. Source: Sun, Chen, Giannakis,
//         Yang, "Communication-Efficient Distributed Learning via Lazily Aggregated Quantized
//         Gradients", NeurIPS 2019, (7a), for f the mean of the f_i. There |x_{r-j+1} - x_{r-j}|^2
//         over the squared step stands in place of |G|^2: the same for gradient descent, and free
//         of the step for other optimizers.
//
//   Carried  (Silence::kCarry) send if |e + v|^2 > zeta mean |v|^2 of the last D rounds, e what
//         earlier silence and compression left. After k rounds the ratio is about k where v is
//         noise, k^2 where it is the same every time: zeta around 1 keeps back the smaller ones of
//         v, for one round, above 1.2 or so every second message. Ours; with zeta = 0 it is error
//         feedback.
#pragma once

#include <cstdint>

#include "common/core/exchange_spec.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

inline constexpr size_t kLaqRounds = 10;  // D

// What a decision follows from; squares are sums over the elements.
struct LazyEvidence {
  int rank = 0;
  int64_t rounds = 0;          // before this one
  int32_t age = 0;             // rounds in a row, up to the last, that used the last message again
  double change = 0;           // |v - h|^2; carried: |e + v|^2
  double step = 0;             // |v - v'|^2; carried: mean |v|^2 of the last rounds
  double message = 0;          // |Q(v - h)|^2
  double error = 0;            // |v - h - Q(v - h)|^2
  double error_of_last = 0;    // the same when this rank last sent
  double mean_square_sum = 0;  // sum of |G|^2, carried |v|^2, over the last kLaqRounds rounds
};

// The decision and its reason; silent exactly for kSmallChange. Sends in the first round (CLAG) or
// the first kLaqRounds (LAQ), and when age has come to age_max. Carried: for the first time in
// round 1 + rank mod ceil(zeta) at the latest, so that ranks take turns. If all began at once they
// would all be silent at once, and take their next gradients where they took the last ones.
RoundReason decide(const core::LazySpec& spec, const LazyEvidence& evidence);

}  // namespace laconic::sync
