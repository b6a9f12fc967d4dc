#include "cli/similarity_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/json.h"
#include "common/wire/reporter.h"

namespace laconic::cli {

std::vector<v1::SimilarityState> similarity_of(const v1::Job& job) {
  if (job.ranks().empty()) {
    return {};
  }
  const v1::Rank& first = wire::reporter(job);
  if (first.has_finished()) {
    return {first.finished().similarity().begin(), first.finished().similarity().end()};
  }
  return first.progress().has_similarity()
             ? std::vector<v1::SimilarityState>{first.progress().similarity()}
             : std::vector<v1::SimilarityState>();
}

std::string similarity_text(const v1::SimilarityState& state) {
  std::string text = absl::StrFormat("delta %.3g, L %.3g", state.delta_rms(), state.smoothness());
  if (state.smoothness() > 0) {
    absl::StrAppendFormat(&text, " (%.0f %%)", 100 * state.delta_rms() / state.smoothness());
  }
  return text;
}

std::string similarity_json(const std::vector<v1::SimilarityState>& states) {
  const auto number = [](std::string* out, double value) { *out += json_number(value); };
  const auto append = [&](std::string* out, const v1::SimilarityState& state) {
    absl::StrAppend(out, "{\"step\": ", state.step(),
                    ", \"delta_rms\": ", json_number(state.delta_rms()),
                    ", \"smoothness\": ", json_number(state.smoothness()), ", \"deltas\": [",
                    absl::StrJoin(state.deltas(), ", ", number),
                    "], \"inner_steps\": ", state.inner_steps(), "}");
  };
  return states.empty()
             ? "[]"
             : absl::StrCat("[\n    ", absl::StrJoin(states, ",\n    ", append), "\n  ]");
}

}  // namespace laconic::cli
