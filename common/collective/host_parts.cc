#include "common/collective/host_parts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/compress/squared_norm.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

size_t at(int index) {
  return static_cast<size_t>(index);
}

// Floats travel as they lie in memory; every machine this builds on is little-endian.
Payload to_payload(std::span<const float> values) {
  const auto bytes = std::make_shared<core::ByteBuffer>(values.size_bytes());
  if (!values.empty()) {
    std::memcpy(bytes->data(), values.data(), values.size_bytes());
  }
  return Payload(bytes);
}
void copy_floats(std::span<const uint8_t> bytes, std::span<float> out) {
  if (!out.empty()) {
    std::memcpy(out.data(), bytes.data(), out.size_bytes());
  }
}
void add_floats(std::span<const uint8_t> bytes, std::span<float> sum) {
  for (size_t i = 0; i < sum.size(); ++i) {
    float value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof(float));
    sum[i] += value;
  }
}
template <typename Float>
std::span<Float> tile_of(std::span<Float> part, int tile) {
  const auto elements = static_cast<int64_t>(part.size());
  return part.subspan(static_cast<size_t>(float_tile_begin(tile)),
                      static_cast<size_t>(float_tile_elements(elements, tile)));
}

double sum_of(const std::vector<std::unique_ptr<compress::Feedback>>& stage) {
  double sum = 0;
  for (const auto& feedback : stage) {
    if (feedback != nullptr) {
      sum += feedback->owed_sum();
    }
  }
  return sum;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostParts>> HostParts::make(const ScheduledMeanOptions& options,
                                                           const ScheduledWork& work) {
  std::unique_ptr<HostParts> made(new HostParts(options, work));
  LACONIC_RETURN_IF_ERROR(made->make_codecs(options, work));
  made->meets_all_of_v_ = made->meets_all_of_v(work.list);
  return made;
}

HostParts::HostParts(const ScheduledMeanOptions& options, const ScheduledWork& work)
    : elements_(options.layout.elements()),
      divisor_(static_cast<float>(options.divisor > 0 ? options.divisor : options.world_size)),
      ranks_(options.world_size),
      parts_(work.parts),
      summed_(parts_.size()) {
  int64_t largest = 0;
  for (const core::Part& part : parts_) {
    largest = std::max(largest, part.elements);
  }
  sum_.resize(static_cast<size_t>(largest));
}

absl::Status HostParts::make_codecs(const ScheduledMeanOptions& options,
                                    const ScheduledWork& work) {
  codecs_.resize(parts_.size());
  stage_1_.resize(parts_.size());
  stage_2_.resize(parts_.size());
  if (options.codec.kind == core::CodecKind::kNone &&
      options.schedule != core::Schedule::kAllGather) {
    return absl::OkStatus();
  }
  const EncodedParts encoded = encoded_parts(work.list, options.rank);
  for (size_t part = 0; part < parts_.size(); ++part) {
    LACONIC_ASSIGN_OR_RETURN(codecs_[part],
                             compress::make_codec(options.codec, parts_[part].layout));
    const auto feedback = [&] {
      return compress::make_error_feedback(*codecs_[part], options.error_feedback,
                                           options.residual_decay, options.half_residuals);
    };
    stage_1_[part] = encoded.own[part] ? feedback() : nullptr;
    stage_2_[part] = encoded.results[part] ? feedback() : nullptr;
  }
  return absl::OkStatus();
}

bool HostParts::meets_all_of_v(const StepList& list) const {
  for (const Step& step : list.steps) {
    const auto is_float = [](const Message& message) { return message.form == Form::kFloat32; };
    if (std::any_of(step.sends.begin(), step.sends.end(), is_float) ||
        std::any_of(step.receives.begin(), step.receives.end(), is_float)) {
      return false;  // Sums of several ranks are encoded here.
    }
  }
  int64_t met = 0;
  for (size_t part = 0; part < parts_.size(); ++part) {
    const bool once = stage_1_[part] != nullptr || stage_2_[part] != nullptr;
    met += once ? parts_[part].elements : 0;
  }
  return met == elements_;
}

void HostParts::begin(std::span<const float> v, std::span<float> mean) {
  v_ = v;
  mean_ = mean;
  squares_ = 0;
  summed_.assign(parts_.size(), false);
}

void HostParts::end(bool ok) {
  if (!ok) {
    rollback();
  } else if (!meets_all_of_v_) {
    squares_ = compress::squared_norm(v_);
  }
  v_ = {};
}

Expected HostParts::expected(int part) const {
  const compress::Codec& codec = *codecs_[at(part)];
  return {codec.payload_bytes_max(), codec.fixed_size()};
}

absl::StatusOr<Payload> HostParts::encode(int part, uint64_t seed) {
  LACONIC_ASSIGN_OR_RETURN(const std::shared_ptr<const core::ByteBuffer> encoded,
                           stage_1_[at(part)]->encode(values_of(part), seed));
  return Payload(encoded);
}

absl::StatusOr<Payload> HostParts::float_tile(int part, int tile) {
  return to_payload(tile_of(values_of(part), tile));
}

Added HostParts::add(int part, std::span<const Term> terms) {
  // Values that lie in mean_ are one of the terms, so the sum cannot grow there.
  const bool apart = summed_[at(part)];
  const std::span<float> mean = mean_of(part);
  const std::span<float> sum = apart ? std::span<float>(sum_).first(mean.size()) : mean;
  for (size_t i = 0; i < terms.size(); ++i) {
    absl::Status status = add_term(part, terms[i], /*first=*/i == 0, sum);
    if (!status.ok()) {
      return {std::move(status), terms[i].origin};
    }
  }
  if (apart) {
    std::copy(sum.begin(), sum.end(), mean.begin());
  }
  summed_[at(part)] = true;
  return {};
}

absl::Status HostParts::add_term(int part, const Term& term, bool first, std::span<float> sum) {
  if (term.tiles.empty()) {
    const std::span<const float> values = values_of(part);
    squares_ += meets_all_of_v_ ? compress::squared_norm(values) : 0;
    if (first) {
      std::copy(values.begin(), values.end(), sum.begin());
    } else {
      std::transform(sum.begin(), sum.end(), values.begin(), sum.begin(), std::plus<float>());
    }
    return absl::OkStatus();
  }
  if (term.form == Form::kFloat32) {
    size_t begin = 0;
    for (const Payload& tile : term.tiles) {
      const std::span<float> out = sum.subspan(begin, tile.size / sizeof(float));
      first ? copy_floats(tile.bytes(), out) : add_floats(tile.bytes(), out);
      begin += out.size();
    }
    return absl::OkStatus();
  }
  const std::span<const uint8_t> bytes = term.tiles.front().bytes();
  const compress::Codec& codec = *codecs_[at(part)];
  return first ? codec.decode(bytes, sum) : codec.decode_add(bytes, 1.0F, sum);
}

absl::Status HostParts::divide(int part) {
  const std::span<const float> sum = values_of(part);
  const std::span<float> mean = mean_of(part);
  std::transform(sum.begin(), sum.end(), mean.begin(), [this](float s) { return s / divisor_; });
  summed_[at(part)] = true;
  return absl::OkStatus();
}

absl::StatusOr<Payload> HostParts::encode_result(int part, uint64_t seed) {
  const std::span<float> mean = mean_of(part);
  LACONIC_ASSIGN_OR_RETURN(const std::shared_ptr<const core::ByteBuffer> encoded,
                           stage_2_[at(part)]->encode(mean, seed));
  LACONIC_RETURN_IF_ERROR(codecs_[at(part)]->decode(encoded->bytes(), mean));
  return Payload(encoded);
}

absl::StatusOr<Payload> HostParts::float_result(int part) {
  return to_payload(mean_of(part));
}

absl::Status HostParts::take_result(int part, const Payload& payload) {
  return codecs_[at(part)]->decode(payload.bytes(), mean_of(part));
}

absl::Status HostParts::take_result_tile(int part, int tile, const Payload& payload) {
  copy_floats(payload.bytes(), tile_of(mean_of(part), tile));
  return absl::OkStatus();
}

absl::StatusOr<compress::FeedbackNorms> HostParts::commit() {
  double input = squares_;
  double residual = 0;
  double owed = 0;
  double missed = 0;
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& feedback : *stage) {
      if (feedback == nullptr) {
        continue;
      }
      LACONIC_ASSIGN_OR_RETURN(const compress::FeedbackNorms norms, feedback->commit());
      input += stage == &stage_1_ && meets_all_of_v_ ? norms.input * norms.input : 0;
      residual += norms.residual * norms.residual;
      owed += norms.owed * norms.owed;
      missed += norms.compression_error_ratio * norms.owed * norms.owed;
    }
  }
  return compress::FeedbackNorms{.input = std::sqrt(input),
                                 .residual = std::sqrt(residual),
                                 .compression_error_ratio = owed > 0 ? missed / owed : 0,
                                 .owed = std::sqrt(owed)};
}

void HostParts::rollback() {
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& feedback : *stage) {
      if (feedback != nullptr) {
        feedback->rollback();
      }
    }
  }
}

void HostParts::take_owed(std::span<float> sum) {
  for (size_t part = 0; part < parts_.size(); ++part) {
    const auto begin = static_cast<size_t>(parts_[part].begin);
    const std::span<float> stretch = sum.subspan(begin, static_cast<size_t>(parts_[part].elements));
    if (stage_1_[part] != nullptr) {
      stage_1_[part]->take_owed(1.0F, stretch);
    }
    if (stage_2_[part] != nullptr) {
      stage_2_[part]->take_owed(static_cast<float>(ranks_), stretch);
    }
  }
}

void HostParts::save(core::StateWriter& writer) const {
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& feedback : *stage) {
      if (feedback != nullptr) {
        feedback->save(writer);
      }
    }
  }
}

absl::Status HostParts::restore(core::StateReader& reader) {
  rollback();
  absl::Status status;
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& feedback : *stage) {
      status = status.ok() && feedback != nullptr ? feedback->restore(reader) : status;
    }
  }
  return status;
}

double HostParts::owed_stage_1() const {
  return sum_of(stage_1_);
}
double HostParts::owed_stage_2() const {
  return sum_of(stage_2_);
}

std::span<float> HostParts::mean_of(int part) {
  const core::Part& stretch = parts_[at(part)];
  return mean_.subspan(static_cast<size_t>(stretch.begin), static_cast<size_t>(stretch.elements));
}

std::span<const float> HostParts::values_of(int part) {
  const core::Part& stretch = parts_[at(part)];
  return summed_[at(part)] ? std::span<const float>(mean_of(part))
                           : v_.subspan(static_cast<size_t>(stretch.begin),
                                        static_cast<size_t>(stretch.elements));
}

}  // namespace laconic::collective
