#include "common/sync/sync_method.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/sync/dense.h"
#include "common/sync/local.h"
#include "common/sync/mean_exchange.h"

namespace laconic::sync {
namespace {

absl::Status check_local(const core::ExchangeSpec& spec) {
  if (spec.inner_steps < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("inner_steps is ", spec.inner_steps, "; allowed: at least 1"));
  }
  if (!(spec.outer_rate > 0 && spec.outer_rate <= 10)) {
    return absl::InvalidArgumentError(
        absl::StrCat("outer_rate is ", spec.outer_rate, "; allowed: above 0, at most 10"));
  }
  if (!(spec.outer_momentum >= 0 && spec.outer_momentum < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("outer_momentum is ", spec.outer_momentum, "; allowed: 0 to below 1"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SyncMethod>> make_sync_method(
    const core::ExchangeSpec& spec, const core::Layout& layout,
    collective::Communicator& communicator) {
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<MeanExchange> exchange,
                           MeanExchange::make(spec, layout, communicator));
  switch (spec.method) {
    case core::Method::kDense:
      return std::make_unique<Dense>(std::move(exchange));
    case core::Method::kLocal:
      LACONIC_RETURN_IF_ERROR(check_local(spec));
      return std::make_unique<Local>(std::move(exchange), spec);
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown method ", static_cast<int>(spec.method)));
}

}  // namespace laconic::sync
