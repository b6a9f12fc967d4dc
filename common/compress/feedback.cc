#include "common/compress/feedback.h"

#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/compress/error_feedback.h"
#include "common/compress/half_feedback.h"
#include "common/core/status_macros.h"

namespace laconic::compress {

void save_state(const EncodeState& state, core::StateWriter& writer) {
  writer.floats(std::span(&state.threshold, 1));
  writer.integer(state.threshold_age);
  writer.floats(state.low_rank == nullptr ? std::span<const float>()
                                          : std::span<const float>(*state.low_rank));
}

absl::Status restore_state(core::StateReader& reader, int64_t elements, EncodeState& state) {
  EncodeState restored;
  LACONIC_RETURN_IF_ERROR(reader.floats(std::span(&restored.threshold, 1)));
  if (restored.threshold < 0) {
    return absl::DataLossError(absl::StrCat("state: threshold is ", restored.threshold));
  }
  LACONIC_ASSIGN_OR_RETURN(const int64_t age,
                           reader.integer("threshold age", 0, std::numeric_limits<int32_t>::max()));
  restored.threshold_age = static_cast<int32_t>(age);
  // Factors of a matrix are fewer than its elements, or it is not factored.
  const size_t factors = reader.next_length();
  if (factors > static_cast<size_t>(elements)) {
    return absl::DataLossError(
        absl::StrCat("state: ", factors, " factors of ", elements, " elements"));
  }
  if (factors > 0) {
    const auto low_rank = std::make_shared<std::vector<float>>(factors);
    LACONIC_RETURN_IF_ERROR(reader.floats(*low_rank));
    restored.low_rank = low_rank;
  } else {
    LACONIC_RETURN_IF_ERROR(reader.floats({}));
  }
  state = std::move(restored);
  return absl::OkStatus();
}

std::unique_ptr<Feedback> make_error_feedback(const Codec& codec, bool enabled, double decay,
                                              bool half) {
  if (enabled && half) {
    return std::make_unique<HalfFeedback>(codec, decay);
  }
  return std::make_unique<ErrorFeedback>(codec, enabled, decay);
}

}  // namespace laconic::compress
