#include "common/collective/shared_index_mean.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/positions.h"
#include "common/compress/squared_norm.h"
#include "common/core/byte_buffer.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

using core::Agreement;

// An energy above it counts as much as this: sums over 65,535 ranks stay finite.
constexpr double kEnergyMax = 1e33;

absl::Status check_options(const SharedIndexOptions& options) {
  constexpr double kDensityMax = 0.5;
  constexpr int64_t kBlockMin = 16;
  constexpr int64_t kBlockMax = 65536;
  const core::SharedIndexSpec& spec = options.spec;
  if (options.elements < 1 || options.elements > core::kCodecElementsMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "shared index: ", options.elements, " elements, allowed: 1..", core::kCodecElementsMax));
  }
  if (!(spec.density > 0 && spec.density <= kDensityMax)) {
    return absl::InvalidArgumentError(absl::StrCat("shared index: density is ", spec.density,
                                                   ", allowed: above 0, at most ", kDensityMax));
  }
  if (spec.value_bits != 32 && spec.value_bits != 8 && spec.value_bits != 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("shared index: value bits is ", spec.value_bits, ", allowed: 32, 8, 4"));
  }
  if (spec.block < kBlockMin || spec.block > kBlockMax ||
      !std::has_single_bit(static_cast<uint64_t>(spec.block))) {
    return absl::InvalidArgumentError(absl::StrCat("shared index: block is ", spec.block,
                                                   ", allowed: a power of two in ", kBlockMin, "..",
                                                   kBlockMax));
  }
  const bool ring = options.schedule == core::Schedule::kRing && spec.value_bits == 32;
  if (options.schedule != core::Schedule::kSharded && !ring) {
    return absl::InvalidArgumentError(
        absl::StrCat("shared index: schedule ", core::schedule_name(options.schedule), " with ",
                     spec.value_bits, " bits, allowed: sharded, or ring with 32 bits"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedIndexMean>> SharedIndexMean::make(
    const SharedIndexOptions& options) {
  LACONIC_RETURN_IF_ERROR(check_options(options));
  std::unique_ptr<SharedIndexMean> made(new SharedIndexMean(options));
  ScheduledMeanOptions inner{
      .rank = options.rank,
      .world_size = options.world_size,
      .schedule = options.schedule,
      .codec = core::shared_value_codec(options.spec),
      .layout = core::flat_layout(core::shared_values(options.spec, options.elements)),
      .error_feedback = options.error_feedback};
  if (options.spec.value_bits != 32 || options.schedule == core::Schedule::kRing) {
    inner.error_feedback = options.error_feedback && options.spec.value_bits != 32;
    LACONIC_ASSIGN_OR_RETURN(made->value_mean_, ScheduledMean::make(inner));
  }
  if (options.spec.agreement == Agreement::kSketch) {
    inner.schedule = core::Schedule::kSharded;
    inner.codec = core::sketch_codec();
    inner.layout = core::flat_layout(core::sketch_blocks(options.spec, options.elements));
    inner.error_feedback = false;
    LACONIC_ASSIGN_OR_RETURN(made->sketch_mean_, ScheduledMean::make(inner));
  }
  return made;
}

SharedIndexMean::SharedIndexMean(const SharedIndexOptions& options)
    : rank_(options.rank),
      world_size_(options.world_size),
      spec_(options.spec),
      error_feedback_(options.error_feedback),
      decay_(static_cast<float>(options.residual_decay)),
      owed_(static_cast<size_t>(options.elements)),
      values_(static_cast<size_t>(core::shared_values(options.spec, options.elements))) {}

absl::Status SharedIndexMean::run(Communicator& communicator, std::span<const float> v,
                                  const OpTag& tag) {
  if (open_) {
    return absl::FailedPreconditionError(
        "shared index: an exchange is open; call commit() or rollback() first");
  }
  if (communicator.rank() != rank_ || communicator.world_size() != world_size_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "shared index: made for rank ", rank_, " of ", world_size_, ", the communicator is rank ",
        communicator.rank(), " of ", communicator.world_size()));
  }
  LACONIC_RETURN_IF_ERROR(take(v));
  open_ = true;
  absl::Status status = exchange(communicator, tag);
  if (!status.ok()) {
    rollback();
  }
  return status;
}

absl::Status SharedIndexMean::take(std::span<const float> v) {
  LACONIC_RETURN_IF_ERROR(compress::check_input(v, static_cast<int64_t>(owed_.size())));
  if (!rolled_back_) {
    for (size_t i = 0; i < owed_.size(); ++i) {
      owed_[i] = decay_ * owed_[i] + v[i];
    }
    rolled_back_ = true;  // Until a commit: an error below must not add v twice.
  }
  input_norm_ = std::sqrt(compress::squared_norm(v));
  return compress::check_input(owed_, static_cast<int64_t>(owed_.size()));
}

absl::Status SharedIndexMean::exchange(Communicator& communicator, const OpTag& tag) {
  LACONIC_RETURN_IF_ERROR(spec_.agreement == Agreement::kSketch
                              ? agree_by_sketch(communicator, tag)
                              : agree_by_leader(communicator, tag));
  std::fill(values_.begin(), values_.end(), 0.0F);
  for (size_t j = 0; j < positions_.size(); ++j) {
    values_[j] = owed_[positions_[j]];
  }
  if (value_mean_ == nullptr) {
    return communicator.all_reduce_mean(values_, tag);
  }
  LACONIC_RETURN_IF_ERROR(value_mean_->run(communicator, values_, tag));
  std::copy(value_mean_->mean().begin(), value_mean_->mean().end(), values_.begin());
  return absl::OkStatus();
}

absl::Status SharedIndexMean::agree_by_leader(Communicator& communicator, const OpTag& tag) {
  const auto elements = static_cast<int64_t>(owed_.size());
  const int leader = static_cast<int>(tag.round % static_cast<uint64_t>(world_size_));
  const int64_t bytes_max = core::leader_bytes_max(spec_, elements);
  Payload frame;
  if (rank_ == leader) {
    selector_.select_exact({.a = owed_}, static_cast<int64_t>(values_.size()));
    const auto bytes = std::make_shared<core::ByteBuffer>(static_cast<size_t>(bytes_max));
    bytes->resize(compress::encode_positions(selector_.positions(), elements, bytes->bytes()));
    frame = Payload(bytes);
  }
  LACONIC_ASSIGN_OR_RETURN(frame, communicator.broadcast(leader, frame, bytes_max, tag));
  if (absl::Status status = take_positions(frame.bytes()); !status.ok()) {
    return communicator.channel().blame(
        leader, absl::Status(status.code(),
                             absl::StrCat("positions from rank ", leader, ": ", status.message())));
  }
  return absl::OkStatus();
}

absl::Status SharedIndexMean::take_positions(std::span<const uint8_t> frame) {
  const auto elements = static_cast<int64_t>(owed_.size());
  const auto due = static_cast<int64_t>(values_.size());
  LACONIC_ASSIGN_OR_RETURN(const compress::PositionSection section,
                           compress::measure_positions(frame, elements, due));
  if (section.kept != due || section.bytes != frame.size()) {
    return absl::DataLossError(absl::StrCat(section.kept, " in ", section.bytes, " bytes of ",
                                            frame.size(), ", due are ", due));
  }
  positions_.resize(values_.size());
  return compress::decode_positions(frame, elements, positions_);
}

absl::Status SharedIndexMean::agree_by_sketch(Communicator& communicator, const OpTag& tag) {
  const auto block = static_cast<size_t>(spec_.block);
  std::vector<float> energies;
  for (size_t begin = 0; begin < owed_.size(); begin += block) {
    const auto stretch =
        std::span<const float>(owed_).subspan(begin, std::min(block, owed_.size() - begin));
    energies.push_back(static_cast<float>(std::min(compress::squared_norm(stretch), kEnergyMax)));
  }
  LACONIC_RETURN_IF_ERROR(sketch_mean_->run(communicator, energies, tag));
  // Keeps nothing, so a failure later in this exchange has nothing to restore.
  LACONIC_RETURN_IF_ERROR(sketch_mean_->commit().status());
  take_blocks(sketch_mean_->mean());
  return absl::OkStatus();
}

void SharedIndexMean::take_blocks(std::span<const float> energies) {
  const auto elements = static_cast<int64_t>(owed_.size());
  positions_.clear();
  selector_.select_exact({.a = energies}, core::sketch_blocks_sent(spec_, elements));
  for (const uint32_t block : selector_.positions()) {
    const int64_t begin = block * spec_.block;
    for (int64_t at = begin; at < std::min(begin + spec_.block, elements); ++at) {
      positions_.push_back(static_cast<uint32_t>(at));
    }
  }
}

void SharedIndexMean::write_mean(std::span<float> out) const {
  std::fill(out.begin(), out.end(), 0.0F);
  for (size_t j = 0; j < positions_.size(); ++j) {
    out[positions_[j]] = values_[j];
  }
}

absl::StatusOr<compress::FeedbackNorms> SharedIndexMean::commit() {
  if (!open_) {
    return compress::FeedbackNorms{};
  }
  open_ = false;
  rolled_back_ = false;
  const double owed = compress::squared_norm(owed_);
  std::vector<float> lost(values_.size());
  if (value_mean_ != nullptr) {
    LACONIC_RETURN_IF_ERROR(value_mean_->commit().status());
    value_mean_->take_owed(lost);
  }
  for (size_t j = 0; j < positions_.size(); ++j) {
    owed_[positions_[j]] = lost[j];
  }
  const double missed = compress::squared_norm(owed_);
  if (!error_feedback_) {
    std::fill(owed_.begin(), owed_.end(), 0.0F);
  }
  return compress::FeedbackNorms{.input = input_norm_,
                                 .residual = error_feedback_ ? std::sqrt(missed) : 0,
                                 .compression_error_ratio = owed > 0 ? missed / owed : 0,
                                 .owed = std::sqrt(owed)};
}

void SharedIndexMean::save(core::StateWriter& writer) const {
  writer.integer(rolled_back_ ? 1 : 0);
  writer.floats(owed_);
}

absl::Status SharedIndexMean::restore(core::StateReader& reader) {
  rollback();
  LACONIC_ASSIGN_OR_RETURN(const int64_t rolled_back, reader.integer("rolled back", 0, 1));
  rolled_back_ = rolled_back == 1;
  return reader.floats(owed_);
}

void SharedIndexMean::rollback() {
  open_ = false;
  if (value_mean_ != nullptr) {
    // Its residual is of this support, and a holds it already.
    value_mean_->rollback();
    std::vector<float> forgotten(values_.size());
    value_mean_->take_owed(forgotten);
  }
}

}  // namespace laconic::collective
