// What an auto of the job chose, kept in the run's checkpoints: a run that goes on goes on by the
// same method, codec and schedule, whatever the links are like by then.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/core/exchange_spec.h"
#include "worker/trainer/exchange_choice.h"

namespace laconic::trainer {

// Empty where `asked` leaves nothing open.
std::vector<uint8_t> save_choice(const core::ExchangeSpec& asked, const ExchangeChoice& choice);

// The choice again. bytes: of save_choice() for an equal `asked`, not empty.
// Errors: DataLoss for bytes that are no such choice.
absl::StatusOr<ExchangeChoice> restore_choice(const core::ExchangeSpec& asked,
                                              std::span<const uint8_t> bytes);

}  // namespace laconic::trainer
