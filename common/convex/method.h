// Methods with full gradients on strongly convex problems, and what they share. Each rank runs the
// same object in step with the others; one rank is the anchor worker, which owns f_1.
//
//   M  workers    d  dimension    f = (1/M) sum_m f_m    mu  strong convexity of f
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/convex/objective.h"
#include "common/convex/vector_star.h"

namespace laconic::convex {

// How the last iteration went. Norm, estimates and counts of messages are known at the anchor
// alone.
struct IterationReport {
  int64_t inner_rounds = 0;       // messages asked of each worker beside the full gradients
  double gradient_norm = 0;       // |grad f| where the method last knew it
  double similarity = 0;          // delta that the step was made for; 0: the method knows none
  double theta = 0;               // prox step of the subproblem; 0: none was solved
  int64_t prox_steps = 0;         // inner steps of the anchor worker
  int64_t divergence_guards = 0;  // of the whole run: times the step was shortened
  int64_t messages = 0;           // from the workers, with a payload
  int64_t skipped_messages = 0;   // from the workers, empty
};

// Owned by one thread. All ranks call iterate() in step.
class Method {
 public:
  virtual ~Method() = default;

  // One pass from an iterate to the next.
  // Errors: those of the exchange, the codecs and the objective; OutOfRange if it diverged. After
  // one, only a restored checkpoint goes on.
  absl::Status iterate();

  // Tells all the anchor's |grad f|, 8 bytes to each worker. Call between two iterations, on all
  // ranks. Errors: those of the exchange.
  absl::StatusOr<double> share_gradient_norm();

  // How often the anchor says that it will come while the others wait for a subproblem; a quarter
  // of the exchange's deadline serves. Until it is set: never.
  void keep_alive_every(absl::Duration interval) { word_interval_ = interval; }
  // The same between two iterations, where the others wait in share_gradient_norm().
  absl::Status keep_alive() { return star_.keep_alive(word_interval_); }

  // y, [d], bit-identical on all ranks between iterations.
  virtual std::span<const double> solution() const = 0;

  int64_t iterations() const { return iterations_; }
  const Traffic& traffic() const { return star_.traffic(); }
  const IterationReport& report() const { return report_; }

  // What the frames of the next exchange say, for one of other words between two iterations.
  collective::OpTag next_tag() const { return star_.tag(); }

  // This rank's whole state between two iterations, traffic so far included: restored into a method
  // made with the same options on every rank, it goes on bit for bit as it would have.
  std::vector<double> save();
  // Errors: InvalidArgument for a wrong length; nothing has changed then.
  absl::Status restore(std::span<const double> state);

 protected:
  // `communicator` and `objective` must outlive this object.
  Method(collective::Communicator& communicator, int anchor, Objective& objective)
      : star_(communicator, anchor, objective.dimension()), objective_(objective) {}

  // What all methods ask of their options. method: its name, for the error.
  // Errors: InvalidArgument for an anchor that is no rank or a start of the wrong length.
  static absl::Status check_start(const std::string& method, int anchor,
                                  const collective::Communicator& communicator,
                                  const Objective& objective, std::span<const double> start);

  virtual absl::Status step() = 0;
  // The vectors that live from one iteration to the next, always the same ones in the same order.
  virtual std::vector<std::span<double>> state() = 0;

  std::vector<double> vector() const {
    return std::vector<double>(static_cast<size_t>(star_.dimension()));
  }
  // Seed of this rank's message of the iteration, unlike any other's: unbiased codecs must draw
  // independently. round_seed: one for all ranks.
  uint64_t message_seed(uint64_t seed, int64_t message) const;
  uint64_t round_seed(uint64_t seed, int64_t message) const;

  // f_1, and a word to the workers before its gradients.
  class BusyObjective final : public Objective {
   public:
    explicit BusyObjective(Method& method) : method_(method) {}
    int64_t dimension() const override { return method_.objective_.dimension(); }
    absl::Status gradient(std::span<const double> x, std::span<double> gradient) override;

   private:
    Method& method_;
  };

  VectorStar star_;
  Objective& objective_;
  IterationReport report_;
  BusyObjective busy_objective_{*this};  // for subproblems

 private:
  int64_t iterations_ = 0;
  absl::Duration word_interval_ = absl::InfiniteDuration();
};

}  // namespace laconic::convex
