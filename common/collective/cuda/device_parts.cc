#include "common/collective/cuda/device_parts.h"

#include <algorithm>
#include <utility>

#include "common/core/status_macros.h"

namespace laconic::collective::cuda {
namespace {

constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));

size_t at(int index) {
  return static_cast<size_t>(index);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceParts>> DeviceParts::make(const ScheduledMeanOptions& options,
                                                               const ScheduledWork& work,
                                                               const DevicePlace& place) {
  if (options.half_residuals) {
    return absl::UnimplementedError(
        "residuals in bfloat16 on a device; use residuals in float32, or the CPU");
  }
  std::unique_ptr<DeviceParts> made(new DeviceParts(options, work, place));
  if (options.codec.kind != core::CodecKind::kNone) {
    LACONIC_RETURN_IF_ERROR(made->make_codecs(options, encoded_parts(work.list, options.rank)));
  }
  LACONIC_RETURN_IF_ERROR(made->make_room(options.world_size));
  return made;
}

DeviceParts::DeviceParts(const ScheduledMeanOptions& options, const ScheduledWork& work,
                         const DevicePlace& place)
    : place_(place),
      divisor_(static_cast<float>(options.divisor > 0 ? options.divisor : options.world_size)),
      parts_(work.parts),
      codecs_(parts_.size()),
      stage_1_(parts_.size()),
      stage_2_(parts_.size()),
      summed_(parts_.size()) {}

absl::Status DeviceParts::make_codecs(const ScheduledMeanOptions& options,
                                      const EncodedParts& encoded) {
  for (size_t part = 0; part < parts_.size(); ++part) {
    LACONIC_ASSIGN_OR_RETURN(
        codecs_[part],
        compress::cuda::make_device_codec(options.codec, parts_[part].layout, *place_.machine));
    const auto make_encoder = [&](std::unique_ptr<DeviceEncoder>& encoder) -> absl::Status {
      LACONIC_ASSIGN_OR_RETURN(encoder,
                               DeviceEncoder::make(*codecs_[part], place_, options.error_feedback,
                                                   options.residual_decay));
      return absl::OkStatus();
    };
    if (encoded.own[part]) {
      LACONIC_RETURN_IF_ERROR(make_encoder(stage_1_[part]));
    }
    if (encoded.results[part]) {
      LACONIC_RETURN_IF_ERROR(make_encoder(stage_2_[part]));
    }
  }
  return absl::OkStatus();
}

absl::Status DeviceParts::make_room(int terms) {
  int64_t longest = 0;
  int64_t capacity = 0;
  for (size_t part = 0; part < parts_.size(); ++part) {
    longest = std::max(longest, parts_[part].elements);
    capacity = std::max(capacity, codecs_[part] == nullptr ? 0 : codecs_[part]->capacity_bytes());
  }
  if (capacity > 0) {
    LACONIC_ASSIGN_OR_RETURN(PayloadStage stage, PayloadStage::make(place_, terms, capacity));
    stage_.emplace(std::move(stage));
  }
  const auto bytes = static_cast<size_t>(std::max<int64_t>(1, longest) * kFloatBytes);
  LACONIC_ASSIGN_OR_RETURN(sum_, DeviceMemory::make(*place_.machine, bytes));
  LACONIC_ASSIGN_OR_RETURN(term_, DeviceMemory::make(*place_.machine, bytes));
  LACONIC_ASSIGN_OR_RETURN(own_fault_, DeviceMemory::make(*place_.machine, sizeof(uint64_t)));
  return place_.machine->fill(own_fault_.as<void>(), 0xFF, own_fault_.bytes(), place_.stream);
}

void DeviceParts::begin(const float* v, float* mean) {
  v_ = v;
  mean_ = mean;
  summed_.assign(parts_.size(), false);
}

absl::Status DeviceParts::commit() {
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& encoder : *stage) {
      if (encoder != nullptr) {
        LACONIC_RETURN_IF_ERROR(encoder->commit());
      }
    }
  }
  return absl::OkStatus();
}

void DeviceParts::rollback() {
  for (const auto* stage : {&stage_1_, &stage_2_}) {
    for (const auto& encoder : *stage) {
      if (encoder != nullptr) {
        encoder->rollback();
      }
    }
  }
}

Expected DeviceParts::expected(int part) const {
  const DeviceCodec& codec = *codecs_[at(part)];
  return {codec.payload_bytes_max(), codec.fixed_size()};
}

absl::StatusOr<Payload> DeviceParts::encode(int part, uint64_t /*seed*/) {
  LACONIC_RETURN_IF_ERROR(stage_1_[at(part)]->encode(values_of(part)));
  return stage_1_[at(part)]->download();
}

absl::StatusOr<Payload> DeviceParts::float_tile(int part, int tile) {
  return download_floats(values_of(part) + float_tile_begin(tile),
                         float_tile_elements(elements(part), tile));
}

// One decode() for terms that are neighbours, so the sum is read and written once for all of them.
Added DeviceParts::add(int part, std::span<const Term> terms) {
  std::vector<std::span<const uint8_t>> encoded;
  std::vector<int> origins;
  for (const Term& term : terms) {
    if (term.form == Form::kEncoded) {
      encoded.push_back(term.tiles.front().bytes());
      origins.push_back(term.origin);
    }
  }
  if (!encoded.empty()) {
    absl::Status status = stage_->upload(encoded, codecs_[at(part)]->capacity_bytes());
    if (!status.ok()) {
      return {std::move(status)};
    }
  }
  // Values that lie in mean_ are one of the terms, so the sum cannot grow there.
  const bool apart = summed_[at(part)];
  Sum sum = {.part = part, .at = apart ? sum_.as<float>() : mean_of(part)};
  int staged = 0;
  for (size_t i = 0; i < terms.size();) {
    size_t end = i;
    while (end < terms.size() && terms[end].form == Form::kEncoded) {
      ++end;
    }
    const auto run = static_cast<int>(end - i);
    absl::Status status = run > 0 ? add_encoded(sum, staged, run) : add_floats(sum, terms[i]);
    if (!status.ok()) {
      const int failed = run > 0 ? stage_->failed() : -1;
      return {std::move(status), failed < 0 ? -1 : origins[at(failed)]};
    }
    staged += run;
    i = run > 0 ? end : i + 1;
  }
  summed_[at(part)] = true;
  return {apart ? place_.machine->copy_on_device(mean_of(part), sum.at,
                                                 static_cast<size_t>(elements(part) * kFloatBytes),
                                                 place_.stream)
                : absl::OkStatus()};
}

absl::Status DeviceParts::add_encoded(Sum& sum, int staged, int count) {
  DeviceCodec& codec = *codecs_[at(sum.part)];
  LACONIC_RETURN_IF_ERROR(codec.decode({.payloads = stage_->payloads(staged),
                                        .stride_bytes = codec.capacity_bytes(),
                                        .payload_bytes = stage_->sizes(staged),
                                        .count = count,
                                        .add = !sum.first,
                                        .out = sum.at,
                                        .fault = stage_->fault(staged)},
                                       place_.stream));
  sum.first = false;
  return stage_->check(staged);
}

absl::Status DeviceParts::add_floats(Sum& sum, const Term& term) {
  if (term.tiles.empty()) {
    return add_vector(sum, values_of(sum.part));
  }
  float* to = term_.as<float>();
  for (const Payload& tile : term.tiles) {
    LACONIC_RETURN_IF_ERROR(upload_floats(tile, to));
    to += tile.size / sizeof(float);
  }
  return add_vector(sum, term_.as<float>());
}

absl::Status DeviceParts::add_vector(Sum& sum, const float* values) {
  const int64_t count = elements(sum.part);
  const bool first = std::exchange(sum.first, false);
  if (count == 0) {
    return absl::OkStatus();
  }
  if (first) {
    return place_.machine->copy_on_device(sum.at, values, static_cast<size_t>(count * kFloatBytes),
                                          place_.stream);
  }
  return place_.machine->run(
      compress::cuda::CombineArgs{.count = count, .x = sum.at, .y = values, .out = sum.at},
      place_.stream);
}

absl::Status DeviceParts::divide(int part) {
  if (elements(part) > 0) {
    LACONIC_RETURN_IF_ERROR(place_.machine->run(compress::cuda::CombineArgs{.count = elements(part),
                                                                            .x = values_of(part),
                                                                            .divisor = divisor_,
                                                                            .out = mean_of(part)},
                                                place_.stream));
  }
  summed_[at(part)] = true;
  return absl::OkStatus();
}

absl::StatusOr<Payload> DeviceParts::encode_result(int part, uint64_t /*seed*/) {
  DeviceEncoder& encoder = *stage_2_[at(part)];
  LACONIC_RETURN_IF_ERROR(encoder.encode(mean_of(part)));
  LACONIC_ASSIGN_OR_RETURN(Payload payload, encoder.download());
  // That our own bytes decode is checked where error feedback takes them away.
  LACONIC_RETURN_IF_ERROR(codecs_[at(part)]->decode(
      {.payloads = encoder.payload(), .out = mean_of(part), .fault = own_fault_.as<uint64_t>()},
      place_.stream));
  return payload;
}

absl::StatusOr<Payload> DeviceParts::float_result(int part) {
  return download_floats(mean_of(part), elements(part));
}

absl::Status DeviceParts::take_result(int part, const Payload& payload) {
  DeviceCodec& codec = *codecs_[at(part)];
  const std::span<const uint8_t> bytes = payload.bytes();
  LACONIC_RETURN_IF_ERROR(stage_->upload({&bytes, 1}, codec.capacity_bytes()));
  LACONIC_RETURN_IF_ERROR(codec.decode({.payloads = stage_->payloads(0),
                                        .payload_bytes = stage_->sizes(0),
                                        .out = mean_of(part),
                                        .fault = stage_->fault(0)},
                                       place_.stream));
  return stage_->check(0);
}

absl::Status DeviceParts::take_result_tile(int part, int tile, const Payload& payload) {
  return upload_floats(payload, mean_of(part) + float_tile_begin(tile));
}

absl::StatusOr<Payload> DeviceParts::download_floats(const float* from, int64_t count) {
  const auto bytes = static_cast<size_t>(count * kFloatBytes);
  const auto buffer = std::make_shared<core::ByteBuffer>(bytes);
  if (bytes > 0) {
    LACONIC_RETURN_IF_ERROR(
        place_.machine->copy_to_host(buffer->data(), from, bytes, place_.stream));
  }
  return Payload(std::shared_ptr<const core::ByteBuffer>(buffer));
}

absl::Status DeviceParts::upload_floats(const Payload& payload, float* to) {
  return payload.size == 0
             ? absl::OkStatus()
             : place_.machine->copy_to_device(to, payload.data, payload.size, place_.stream);
}

float* DeviceParts::mean_of(int part) const {
  return mean_ + parts_[at(part)].begin;
}

const float* DeviceParts::values_of(int part) const {
  return summed_[at(part)] ? mean_of(part) : v_ + parts_[at(part)].begin;
}

}  // namespace laconic::collective::cuda
