#include "common/sync/demo.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/input_check.h"
#include "common/compress/positions.h"
#include "common/compress/squared_norm.h"
#include "common/core/bits.h"
#include "common/core/byte_buffer.h"
#include "common/core/payload_size.h"
#include "common/core/status_macros.h"

namespace laconic::sync {
namespace {

// Row k: sqrt(2 / n) cos(pi (2 j + 1) k / 2 n), row 0 over sqrt(2): orthonormal DCT-II.
std::vector<float> cosine_rows(int32_t n, bool transposed) {
  const auto size = static_cast<size_t>(n);
  std::vector<float> rows(size * size);
  for (size_t k = 0; k < size; ++k) {
    const double scale = std::sqrt((k == 0 ? 1.0 : 2.0) / n);
    for (size_t j = 0; j < size; ++j) {
      const double angle =
          std::numbers::pi * static_cast<double>((2 * j + 1) * k) / (2.0 * static_cast<double>(n));
      rows[transposed ? j * size + k : k * size + j] = static_cast<float>(scale * std::cos(angle));
    }
  }
  return rows;
}

// out = a b, in the order of the inner index. a: [n x m], b: [m x p], out: [n x p].
void multiply(std::span<const float> a, std::span<const float> b, size_t inner,
              std::span<float> out) {
  const size_t rows = a.size() / inner;
  const size_t columns = b.size() / inner;
  std::fill(out.begin(), out.end(), 0.0F);
  for (size_t i = 0; i < rows; ++i) {
    float* const to = out.data() + i * columns;
    for (size_t k = 0; k < inner; ++k) {
      const float factor = a[i * inner + k];
      const float* const from = b.data() + k * columns;
      for (size_t j = 0; j < columns; ++j) {
        to[j] += factor * from[j];
      }
    }
  }
}

absl::Status check_spec(const core::DemoSpec& spec) {
  if (!(spec.momentum >= 0 && spec.momentum < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("demo: momentum is ", spec.momentum, "; allowed: 0 to below 1"));
  }
  if (spec.chunk < 4 || spec.chunk > 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("demo: chunk is ", spec.chunk, "; allowed: 4..64"));
  }
  if (spec.kept < 1 || spec.kept > spec.chunk * spec.chunk / 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("demo: kept is ", spec.kept, "; allowed: 1..", spec.chunk * spec.chunk / 4));
  }
  if (!(spec.taken > 0 && spec.taken <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("demo: taken is ", spec.taken, "; allowed: above 0, at most 1"));
  }
  return absl::OkStatus();
}

int64_t kept_of(const std::vector<core::DemoBlock>& blocks) {
  int64_t kept = 0;
  for (const core::DemoBlock& block : blocks) {
    kept += block.kept;
  }
  return kept;
}

}  // namespace

BlockTransform::BlockTransform(const std::vector<core::DemoBlock>& blocks, bool dct)
    : blocks_(blocks) {
  for (const core::DemoBlock& block : blocks) {
    for (const int32_t side : {block.rows, block.columns}) {
      if (dct && !cosines_.contains(side)) {
        cosines_[side] = cosine_rows(side, /*transposed=*/false);
        transposed_cosines_[side] = cosine_rows(side, /*transposed=*/true);
      }
    }
  }
}

void BlockTransform::forward(std::span<const float> flat, std::span<float> components) const {
  std::vector<float> block_values;
  std::vector<float> half;
  size_t at = 0;
  for (const core::DemoBlock& block : blocks_) {
    const auto rows = static_cast<size_t>(block.rows);
    const auto columns = static_cast<size_t>(block.columns);
    block_values.resize(rows * columns);
    half.resize(rows * columns);
    for (size_t i = 0; i < rows; ++i) {
      const auto row = flat.subspan(
          static_cast<size_t>(block.begin) + i * static_cast<size_t>(block.stride), columns);
      std::copy(row.begin(), row.end(),
                block_values.begin() + static_cast<std::ptrdiff_t>(i * columns));
    }
    const auto out = components.subspan(at, rows * columns);
    at += rows * columns;
    if (cosines_.empty()) {
      std::copy(block_values.begin(), block_values.end(), out.begin());
      continue;
    }
    multiply(block_values, transposed_cosines_.at(block.columns), columns, half);
    multiply(cosines_.at(block.rows), half, rows, out);
  }
}

void BlockTransform::backward(std::span<const float> components, std::span<float> flat) const {
  std::vector<float> block_values;
  std::vector<float> half;
  size_t at = 0;
  for (const core::DemoBlock& block : blocks_) {
    const auto rows = static_cast<size_t>(block.rows);
    const auto columns = static_cast<size_t>(block.columns);
    const auto in = components.subspan(at, rows * columns);
    at += rows * columns;
    block_values.assign(in.begin(), in.end());
    if (!cosines_.empty()) {
      half.resize(rows * columns);
      multiply(in, cosines_.at(block.columns), columns, half);
      multiply(transposed_cosines_.at(block.rows), half, rows, block_values);
    }
    for (size_t i = 0; i < rows; ++i) {
      const auto row = std::span(block_values).subspan(i * columns, columns);
      std::copy(row.begin(), row.end(),
                flat.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(block.begin) +
                                                           i * static_cast<size_t>(block.stride)));
    }
  }
}

absl::StatusOr<std::unique_ptr<Demo>> Demo::make(std::unique_ptr<MeanExchange> exchange,
                                                 const core::ExchangeSpec& spec,
                                                 const core::Layout& layout) {
  LACONIC_RETURN_IF_ERROR(check_spec(spec.demo));
  LACONIC_RETURN_IF_ERROR(check_own_codec("demo", spec, core::Schedule::kAllGather));
  if (layout.elements() > core::kCodecElementsMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "demo: ", layout.elements(), " parameters; allowed: at most ", core::kCodecElementsMax));
  }
  return std::unique_ptr<Demo>(new Demo(std::move(exchange), spec.demo, layout));
}

Demo::Demo(std::unique_ptr<MeanExchange> exchange, const core::DemoSpec& spec,
           const core::Layout& layout)
    : exchange_(std::move(exchange)),
      spec_(spec),
      blocks_(core::demo_blocks(spec, layout)),
      transform_(blocks_, spec.dct),
      kept_max_(kept_of(blocks_)),
      payload_bytes_max_(core::demo_payload_bytes_max(spec, layout)),
      momentum_(static_cast<size_t>(layout.elements())),
      next_(momentum_.size()),
      signs_(momentum_.size()),
      senders_(momentum_.size()) {}

absl::Status Demo::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  return exchange_->share_from_rank_0(view.parameters);
}

std::vector<uint32_t> Demo::largest() const {
  std::vector<uint32_t> kept;
  kept.reserve(static_cast<size_t>(kept_max_));
  std::vector<uint32_t> order;
  uint32_t begin = 0;
  for (const core::DemoBlock& block : blocks_) {
    const auto size = static_cast<uint32_t>(block.rows * block.columns);
    order.resize(size);
    for (uint32_t i = 0; i < size; ++i) {
      order[i] = begin + i;
    }
    const auto end = order.begin() + block.kept;
    std::nth_element(order.begin(), end - 1, order.end(), [&](uint32_t a, uint32_t b) {
      const float left = std::fabs(next_[a]);
      const float right = std::fabs(next_[b]);
      return left > right || (left == right && a < b);
    });
    std::sort(order.begin(), end);
    std::copy_if(order.begin(), end, std::back_inserter(kept),
                 [&](uint32_t place) { return next_[place] != 0; });
    begin += size;
  }
  return kept;
}

absl::Status Demo::add(std::span<const uint8_t> message) {
  LACONIC_ASSIGN_OR_RETURN(
      const compress::PositionSection section,
      compress::measure_positions(message, static_cast<int64_t>(signs_.size()), kept_max_));
  const int64_t sign_bytes = core::bytes_for_bits(section.kept);
  if (message.size() != section.bytes + static_cast<size_t>(sign_bytes)) {
    return absl::DataLossError(absl::StrCat("demo: ", message.size(), " bytes, ", section.kept,
                                            " signs need ", section.bytes, " and ", sign_bytes));
  }
  places_.resize(static_cast<size_t>(section.kept));
  LACONIC_RETURN_IF_ERROR(compress::decode_positions(message.first(section.bytes),
                                                     static_cast<int64_t>(signs_.size()), places_));
  const auto bits = message.subspan(section.bytes);
  if (section.kept % 8 != 0 && (bits.back() >> (section.kept % 8)) != 0) {
    return absl::DataLossError("demo: bits behind the last sign are set");
  }
  for (size_t j = 0; j < places_.size(); ++j) {
    const bool minus = ((bits[j / 8] >> (j % 8)) & 1) != 0;
    signs_[places_[j]] += minus ? -1.0F : 1.0F;
    senders_[places_[j]] += 1.0F;
  }
  return absl::OkStatus();
}

absl::Status Demo::round(std::span<float> gradients) {
  double seconds = 0;
  std::vector<uint32_t> kept;
  const auto message = std::make_shared<core::ByteBuffer>();
  {
    const Stopwatch watch(seconds);
    transform_.forward(gradients, next_);
    const auto factor = static_cast<float>(spec_.momentum);
    for (size_t i = 0; i < next_.size(); ++i) {
      next_[i] = factor * momentum_[i] + next_[i];
    }
    kept = largest();
    message->resize(static_cast<size_t>(payload_bytes_max_));
    const size_t bytes =
        compress::encode_positions(kept, static_cast<int64_t>(next_.size()), message->bytes());
    message->resize(bytes +
                    static_cast<size_t>(core::bytes_for_bits(static_cast<int64_t>(kept.size()))));
    const auto bits = message->bytes().subspan(bytes);
    std::fill(bits.begin(), bits.end(), uint8_t{0});
    for (size_t j = 0; j < kept.size(); ++j) {
      bits[j / 8] = static_cast<uint8_t>(bits[j / 8] | ((next_[kept[j]] < 0 ? 1 : 0) << (j % 8)));
    }
  }
  exchange_->add_compress_seconds(seconds);
  LACONIC_ASSIGN_OR_RETURN(const std::vector<collective::Payload> messages,
                           exchange_->gather(collective::Payload(message), payload_bytes_max_));
  double decoding = 0;
  const double input = std::sqrt(compress::squared_norm(gradients));
  const double owed = compress::squared_norm(next_);
  {
    const Stopwatch watch(decoding);
    std::fill(signs_.begin(), signs_.end(), 0.0F);
    std::fill(senders_.begin(), senders_.end(), 0.0F);
    for (size_t rank = 0; rank < messages.size(); ++rank) {
      if (const absl::Status status = add(messages[rank].bytes()); !status.ok()) {
        return compress::payload_error(rank, status);
      }
    }
    for (size_t i = 0; i < signs_.size(); ++i) {
      signs_[i] = senders_[i] > 0 ? signs_[i] / senders_[i] : 0.0F;
    }
    transform_.backward(signs_, gradients);
    for (size_t i = 0; spec_.sign && i < gradients.size(); ++i) {
      gradients[i] = static_cast<float>((gradients[i] > 0 ? 1 : 0) - (gradients[i] < 0 ? 1 : 0));
    }
    for (const uint32_t place : kept) {
      next_[place] -= static_cast<float>(spec_.taken) * next_[place];
    }
    std::swap(momentum_, next_);
  }
  exchange_->add_decompress_seconds(decoding);
  const double left = compress::squared_norm(momentum_);
  exchange_->end_round({.reason = RoundReason::kEveryRound, .senders = exchange_->world_size()},
                       {.input = input,
                        .residual = std::sqrt(left),
                        .compression_error_ratio = owed > 0 ? left / owed : 0,
                        .owed = std::sqrt(owed)});
  return absl::OkStatus();
}

absl::Status Demo::reduce_gradients(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.gradients, "the gradients", exchange_->rank(), step_ + 1));
  LACONIC_RETURN_IF_ERROR(round(view.gradients));
  ++step_;
  return absl::OkStatus();
}

absl::Status Demo::end_step(ModelView view, bool /*last*/) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.parameters, "the parameters", exchange_->rank(), step_));
  exchange_->take_digest(view.parameters);
  return absl::OkStatus();
}

absl::Status Demo::save_fields(core::StateWriter& writer) const {
  writer.text(spec_.dct ? "demo, DCT" : "demo, identity");
  writer.integer(spec_.chunk);
  writer.integer(step_);
  writer.floats(momentum_);
  exchange_->save(writer);
  return absl::OkStatus();
}

absl::Status Demo::restore_fields(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", spec_.dct ? "demo, DCT" : "demo, identity"));
  // Another side means other components.
  LACONIC_RETURN_IF_ERROR(reader.integer("chunk", spec_.chunk, spec_.chunk).status());
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  LACONIC_RETURN_IF_ERROR(reader.floats(momentum_));
  return exchange_->restore(reader);
}

}  // namespace laconic::sync
