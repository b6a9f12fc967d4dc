#include "common/sync/power_sgd.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/compress/low_rank_math.h"
#include "common/compress/squared_norm.h"
#include "common/core/method_sizes.h"
#include "common/core/status_macros.h"

namespace laconic::sync {
namespace {

compress::Matrix matrix(std::span<const float> flat, size_t begin, size_t rows, size_t columns) {
  return {.values = flat.subspan(begin, rows * columns), .rows = rows, .columns = columns};
}

// Room for a sum of r products whose first factor is at most 1.
double factor_most(size_t r) {
  return static_cast<double>(std::numeric_limits<float>::max()) / (2.0 * static_cast<double>(r));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PowerSgd>> PowerSgd::make(std::unique_ptr<MeanExchange> exchange,
                                                         const core::ExchangeSpec& spec,
                                                         const core::Layout& layout) {
  constexpr int32_t kRankMax = 256;
  if (spec.power_sgd.rank < 1 || spec.power_sgd.rank > kRankMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("power_sgd: rank is ", spec.power_sgd.rank, "; allowed: 1..", kRankMax));
  }
  if (spec.power_sgd.dense_steps < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "power_sgd: dense_steps is ", spec.power_sgd.dense_steps, "; allowed: at least 0"));
  }
  LACONIC_RETURN_IF_ERROR(check_own_codec("power_sgd", spec, core::Schedule::kSharded));
  return std::unique_ptr<PowerSgd>(new PowerSgd(std::move(exchange), spec, layout));
}

PowerSgd::PowerSgd(std::unique_ptr<MeanExchange> exchange, const core::ExchangeSpec& spec,
                   const core::Layout& layout)
    : exchange_(std::move(exchange)),
      rank_(static_cast<size_t>(spec.power_sgd.rank)),
      dense_steps_(spec.power_sgd.dense_steps),
      residual_(static_cast<size_t>(exchange_->elements())),
      owed_(residual_.size()) {
  size_t begin = 0;
  size_t second = 0;
  for (const core::TensorShape& shape : layout.tensors) {
    const bool factored = core::is_power_factored(spec.power_sgd, shape);
    const auto rows = static_cast<size_t>(shape.rows);
    const auto columns = static_cast<size_t>(shape.columns);
    tensors_.push_back({.rows = rows,
                        .columns = columns,
                        .factored = factored,
                        .begin = begin,
                        .in_first = first_size_,
                        .in_second = second});
    first_size_ += factored ? rows * rank_ : rows * columns;
    second += factored ? columns * rank_ : 0;
    begin += rows * columns;
  }
  start_.resize(second);
}

absl::Status PowerSgd::begin(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  return exchange_->share_from_rank_0(view.parameters);
}

absl::Status PowerSgd::reduce_gradients(ModelView view) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.gradients, "the gradients", exchange_->rank(), step_ + 1));
  if (step_ < dense_steps_) {
    const double input = std::sqrt(compress::squared_norm(view.gradients));
    LACONIC_RETURN_IF_ERROR(exchange_->mean_of(view.gradients));
    exchange_->end_round({.reason = RoundReason::kDenseWarmUp, .senders = exchange_->world_size()},
                         {.input = input});
  } else {
    LACONIC_RETURN_IF_ERROR(round(view.gradients));
  }
  ++step_;
  return absl::OkStatus();
}

std::vector<float> PowerSgd::first_floats(std::span<const float> owed) {
  std::vector<float> floats(first_size_);
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const Tensor& tensor = tensors_[t];
    const compress::Matrix m = matrix(owed, tensor.begin, tensor.rows, tensor.columns);
    if (!tensor.factored) {
      std::copy(m.values.begin(), m.values.end(),
                floats.begin() + static_cast<std::ptrdiff_t>(tensor.in_first));
      continue;
    }
    // The same numbers on every rank and at every retry: nothing to roll back.
    const auto q = std::span(start_).subspan(tensor.in_second, tensor.columns * rank_);
    compress::refill(q, rank_, t);
    compress::round_to_float(compress::times(m, q, rank_), std::numeric_limits<float>::max(),
                             std::span(floats).subspan(tensor.in_first, tensor.rows * rank_));
  }
  return floats;
}

std::vector<float> PowerSgd::second_floats(std::span<const float> owed,
                                           std::span<float> first) const {
  std::vector<float> floats(start_.size());
  for (const Tensor& tensor : tensors_) {
    if (!tensor.factored) {
      continue;
    }
    const auto p = first.subspan(tensor.in_first, tensor.rows * rank_);
    std::vector<double> directions(p.begin(), p.end());
    compress::orthonormalise(directions, rank_);
    compress::round_to_float(directions, 1.0, p);
    const compress::Matrix m = matrix(owed, tensor.begin, tensor.rows, tensor.columns);
    compress::round_to_float(compress::transposed_times(m, p, rank_), factor_most(rank_),
                             std::span(floats).subspan(tensor.in_second, tensor.columns * rank_));
  }
  return floats;
}

void PowerSgd::decode(std::span<const float> first, std::span<const float> second,
                      std::span<float> out) const {
  for (const Tensor& tensor : tensors_) {
    if (tensor.factored) {
      compress::put_product(first.subspan(tensor.in_first, tensor.rows * rank_),
                            second.subspan(tensor.in_second, tensor.columns * rank_), rank_,
                            out.data() + tensor.begin);
    } else {
      const auto mean = first.subspan(tensor.in_first, tensor.rows * tensor.columns);
      std::copy(mean.begin(), mean.end(), out.begin() + static_cast<std::ptrdiff_t>(tensor.begin));
    }
  }
}

absl::Status PowerSgd::round(std::span<float> gradients) {
  double seconds = 0;
  std::vector<float> first;
  std::vector<float> second;
  {
    const Stopwatch watch(seconds);
    std::transform(gradients.begin(), gradients.end(), residual_.begin(), owed_.begin(),
                   std::plus<>());
    first = first_floats(owed_);
  }
  LACONIC_RETURN_IF_ERROR(exchange_->mean_of(first));
  {
    const Stopwatch watch(seconds);
    second = second_floats(owed_, first);
  }
  LACONIC_RETURN_IF_ERROR(exchange_->mean_of(second));
  exchange_->add_compress_seconds(seconds);

  double decoding = 0;
  const double input = std::sqrt(compress::squared_norm(gradients));
  const double owed = compress::squared_norm(owed_);
  {
    const Stopwatch watch(decoding);
    decode(first, second, gradients);
    for (const Tensor& tensor : tensors_) {
      for (size_t i = tensor.begin; i < tensor.begin + tensor.rows * tensor.columns; ++i) {
        residual_[i] = tensor.factored ? owed_[i] - gradients[i] : 0.0F;
      }
    }
    start_ = std::move(second);
  }
  exchange_->add_decompress_seconds(decoding);
  const double missed = compress::squared_norm(residual_);
  exchange_->end_round({.reason = RoundReason::kEveryRound, .senders = exchange_->world_size()},
                       {.input = input,
                        .residual = std::sqrt(missed),
                        .compression_error_ratio = owed > 0 ? missed / owed : 0,
                        .owed = std::sqrt(owed)});
  return absl::OkStatus();
}

absl::Status PowerSgd::end_step(ModelView view, bool /*last*/) {
  LACONIC_RETURN_IF_ERROR(check_view(view, exchange_->elements()));
  LACONIC_RETURN_IF_ERROR(
      check_finite(view.parameters, "the parameters", exchange_->rank(), step_));
  exchange_->take_digest(view.parameters);
  return absl::OkStatus();
}

absl::Status PowerSgd::save_fields(core::StateWriter& writer) const {
  writer.text("power_sgd");
  writer.integer(static_cast<int64_t>(rank_));
  writer.integer(step_);
  writer.floats(residual_);
  writer.floats(start_);
  exchange_->save(writer);
  return absl::OkStatus();
}

absl::Status PowerSgd::restore_fields(core::StateReader& reader) {
  LACONIC_RETURN_IF_ERROR(reader.expect_text("method", "power_sgd"));
  const auto own_rank = static_cast<int64_t>(rank_);
  LACONIC_RETURN_IF_ERROR(reader.integer("rank", own_rank, own_rank).status());
  LACONIC_ASSIGN_OR_RETURN(step_, reader.integer("step", 0, kStepsMax));
  LACONIC_RETURN_IF_ERROR(reader.floats(residual_));
  LACONIC_RETURN_IF_ERROR(reader.floats(start_));
  return exchange_->restore(reader);
}

}  // namespace laconic::sync
