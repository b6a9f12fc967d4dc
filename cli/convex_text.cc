#include "cli/convex_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/json.h"
#include "common/wire/reporter.h"

namespace laconic::cli {

std::optional<v1::ConvexState> convex_of(const v1::Job& job) {
  if (job.ranks().empty()) {
    return std::nullopt;
  }
  const v1::Rank& first = wire::reporter(job);
  if (first.finished().has_convex()) {
    return first.finished().convex();
  }
  return first.progress().has_convex() ? std::optional(first.progress().convex()) : std::nullopt;
}

std::string convex_text(const v1::ConvexState& state) {
  std::string text = absl::StrFormat("gradient norm %.3g%s", state.gradient_norm(),
                                     state.converged() ? " (converged)" : "");
  if (state.similarity() > 0) {
    absl::StrAppendFormat(&text, ", delta %.3g", state.similarity());
  }
  if (state.anchor() > 0) {
    absl::StrAppend(&text, ", anchor worker rank ", state.anchor());
  }
  if (state.skipped_messages() > 0) {
    absl::StrAppend(&text, ", ", state.skipped_messages(), " of ",
                    state.messages() + state.skipped_messages(), " messages not sent");
  }
  if (state.divergence_guards() > 0) {
    absl::StrAppend(&text, ", steps shortened ", state.divergence_guards(), " times");
  }
  return text;
}

std::string convex_json(const std::optional<v1::ConvexState>& state) {
  if (!state.has_value()) {
    return "null";
  }
  return absl::StrCat(
      "{\"gradient_norm\": ", json_number(state->gradient_norm()),
      ", \"similarity\": ", state->similarity() > 0 ? json_number(state->similarity()) : "null",
      ", \"messages\": ", state->messages(), ", \"skipped_messages\": ", state->skipped_messages(),
      ", \"subproblem_steps\": ", state->subproblem_steps(),
      ", \"divergence_guards\": ", state->divergence_guards(),
      ", \"converged\": ", state->converged() ? "true" : "false", ", \"anchor\": ", state->anchor(),
      "}");
}

}  // namespace laconic::cli
