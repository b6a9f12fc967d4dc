#include "common/compress/feedback.h"

#include "common/compress/error_feedback.h"
#include "common/compress/half_feedback.h"

namespace laconic::compress {

std::unique_ptr<Feedback> make_error_feedback(const Codec& codec, bool enabled, double decay,
                                              bool half) {
  if (enabled && half) {
    return std::make_unique<HalfFeedback>(codec, decay);
  }
  return std::make_unique<ErrorFeedback>(codec, enabled, decay);
}

}  // namespace laconic::compress
