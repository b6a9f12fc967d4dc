#include "worker/trainer/convex_events.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace laconic::trainer {
namespace {

using v1::Convex;

bool is_olga(const Convex& spec) {
  return spec.algorithm() == Convex::OLGA || spec.algorithm() == Convex::EF_OLGA;
}

// Why messages were not sent.
std::string silence(const Convex& spec, const convex::IterationReport& report) {
  const int64_t asked = report.messages + report.skipped_messages;
  std::string text =
      absl::StrCat("; ", report.skipped_messages, " of ", asked, " messages not sent");
  if (report.skipped_messages == 0) {
    return text;
  }
  return spec.algorithm() == Convex::LAQ
             ? absl::StrCat(text, ": smaller than what the last steps moved x by")
             : absl::StrFormat("%s: |w|^2 <= %g delta^2 |x - x0|^2", text, spec.lazy());
}

}  // namespace

std::string constants_sentence(const Convex& spec, const AnchorChoice& anchor,
                               const ConvexMethod& method) {
  std::string text = absl::StrCat(Convex::Algorithm_Name(spec.algorithm()), ", l2 ", spec.l2());
  if (spec.has_convexity()) {
    absl::StrAppendFormat(&text, ", mu %.3g", spec.convexity());
  }
  const char* source = method.estimated ? "estimated" : "given";
  if (method.similarity > 0) {
    absl::StrAppendFormat(&text, ", delta %.3g (%s%s)", method.similarity, source,
                          spec.adapt_similarity() ? ", a first guess" : "");
  } else if (method.smoothness > 0) {
    absl::StrAppendFormat(&text, ", L %.3g (%s)", method.smoothness, source);
  }
  if (!anchor.deltas.empty()) {
    const auto [least, most] = std::minmax_element(anchor.deltas.begin(), anchor.deltas.end());
    absl::StrAppendFormat(
        &text, "; rank %d is the anchor worker, most like all: its f curves apart by %.3g",
        anchor.rank, *least);
    absl::StrAppendFormat(&text, ", rank %d's by %.3g", most - anchor.deltas.begin(), *most);
  }
  return text;
}

std::string iteration_sentence(const Convex& spec, int64_t iteration,
                               const convex::IterationReport& report) {
  if (!is_olga(spec) && spec.algorithm() != Convex::LAQ) {
    return "";
  }
  std::string text = absl::StrCat("iteration ", iteration, ": ");
  if (is_olga(spec)) {
    absl::StrAppendFormat(&text, "%d inner rounds (%s), delta %.3g (%s)", report.inner_rounds,
                          spec.geometric()          ? "drawn from Geom(p)"
                          : spec.has_inner_rounds() ? "as the job says"
                                                    : "as the compressor shrinks",
                          report.similarity,
                          spec.adapt_similarity() ? "measured on the way" : "as the job says");
  } else {
    absl::StrAppend(&text, "one round");
  }
  if (spec.lazy() > 0) {
    text += silence(spec, report);
  }
  if (report.divergence_guards > 0) {
    absl::StrAppend(&text, "; steps were shortened ", report.divergence_guards,
                    " times, since the gradient grew");
  }
  absl::StrAppendFormat(&text, "; gradient norm %.3g", report.gradient_norm);
  return text;
}

std::string end_sentence(const Convex& spec, int64_t iterations, double gradient_norm) {
  if (!spec.has_tolerance()) {
    return absl::StrFormat("gradient norm %.3g after %d iterations", gradient_norm, iterations);
  }
  return absl::StrFormat(
      "gradient norm %.3g after %d iterations is %s the tolerance of %g", gradient_norm, iterations,
      gradient_norm <= spec.tolerance() ? "within" : "still above", spec.tolerance());
}

}  // namespace laconic::trainer
