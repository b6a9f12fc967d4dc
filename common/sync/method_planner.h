// The method, when a job leaves it open: dense where the link carries it, else local with no more
// steps between rounds than it must have. Pure: equal inputs give every rank the same choice.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "common/core/exchange_spec.h"

namespace laconic::sync {

// One codec, by its fastest schedule.
struct MethodCandidate {
  core::CodecSpec codec;
  core::Schedule schedule = core::Schedule::kAllGather;  // never kAuto
  double seconds = 0;                                    // of one exchange, predicted
  int64_t sent_bytes = 0;  // by the rank that sends most, with headers, >= 0
};

struct MethodRequest {
  core::AutoSpec limits;
  int64_t steps = 1;          // S >= 1
  double step_seconds = 0;    // of one step's computing on the slowest rank, > 0
  int64_t spent_bytes = 0;    // sent already, by the rank that sent most
  int64_t reserve_bytes = 0;  // needed beside the rounds
};

struct MethodChoice {
  core::Method method = core::Method::kDense;  // or kLocal
  size_t candidate = 0;                        // index
  int64_t inner_steps = 1;                     // H
  std::string explanation;                     // one sentence
};

// Keeps exchanges within limits.wait of the time and, where set, within limits.bytes.
//
//   1  dense in float32, then in 8, then in 4 bits, if one of them keeps within the limits
//   2  else local: of all candidates that with the smallest H that does,
//        H = max(ceil(t (1 - wait) / (wait c)), ceil(S / floor(bytes left / bytes of a round))),
//      t the seconds of a round and c those of a step; among equals the one of most bits
//
// More rounds are worth more than more bits in each: docs/algorithms.md. An H that would be above S
// is S: where that does not keep the limit on the wait, the codec with the shortest exchange is
// taken, and the explanation says so.
//
// candidates: at least one, from most bits to fewest, float32 first.
// Errors: InvalidArgument if the bytes left are less than one round needs.
absl::StatusOr<MethodChoice> choose_method(const MethodRequest& request,
                                           std::span<const MethodCandidate> candidates);

// `asked` as the choice has it: method, codec, schedule, rounds, error feedback.
core::ExchangeSpec chosen_exchange(const core::ExchangeSpec& asked, const MethodChoice& choice,
                                   std::span<const MethodCandidate> candidates);

}  // namespace laconic::sync
