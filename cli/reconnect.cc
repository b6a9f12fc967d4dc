#include "cli/reconnect.h"

namespace laconic::cli {

void Reconnect::heard() {
  ever_heard_ = true;
  away_since_.reset();
}

Reconnect::Step Reconnect::ended(const absl::Status& status, absl::Time now) {
  if (!ever_heard_ || !absl::IsUnavailable(status)) {
    return Step::kGiveUp;
  }
  if (!away_since_) {
    away_since_ = now;
    open_at_ = now + kPause;
    return Step::kAnnounce;
  }
  if (now - *away_since_ >= patience_) {
    return Step::kGiveUp;
  }
  if (now < open_at_) {
    return Step::kWait;
  }
  open_at_ = now + kPause;
  return Step::kOpen;
}

}  // namespace laconic::cli
