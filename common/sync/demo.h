// Method `demo`: decoupled momentum. Ranks exchange the largest components of their momenta, as
// signs.
//
//   g_i  gradient of rank i    m_i  its momentum, kept in the basis    b  momentum factor
//   T  basis: DCT-II of every block, orthonormal in both directions, or the identity
//   k  components kept of a whole block of C x C; smaller blocks in proportion, at least one
//   a  share of what was sent that leaves the momentum
//
//   m_i <- b m_i + T g_i
//   S_i = the k largest of every block, ties to the lower place, zeros never; sent: places, signs
//   m_i <- m_i - a (m_i on S_i)
//   q   = at every place the mean of the signs over the ranks that sent it, 0 where none did
//   every rank's gradient becomes T^-1 q, or its signs
//
// The momenta stay apart, so nothing but q is equal on all ranks; that is, bit for bit where their
// cos() is the same one. Signs go with SGD without momentum, which takes steps of one size.
// Source: Peng, Quesnelle, Kingma, "DeMo: Decoupled Momentum Optimization", arXiv 2411.19870v2,
// algorithm 1. There amplitudes are sent with 12 bytes a component; here signs, 1 bit, and places
// in the code of compress/positions.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "common/core/exchange_spec.h"
#include "common/core/layout.h"
#include "common/core/method_sizes.h"
#include "common/sync/mean_exchange.h"
#include "common/sync/sync_method.h"

namespace laconic::sync {

// T and T^-1 of blocks of one tensor's rows and columns. Pure.
class BlockTransform {
 public:
  // dct: else the identity.
  BlockTransform(const std::vector<core::DemoBlock>& blocks, bool dct);

  // Block after block, row after row within each: flat vector to components, and back.
  // flat, components: [d], apart. Cost: 2 d C multiplications in float32.
  void forward(std::span<const float> flat, std::span<float> components) const;
  void backward(std::span<const float> components, std::span<float> flat) const;

 private:
  using Cosines = std::vector<float>;  // [n x n]: row k is the k-th cosine

  const std::vector<core::DemoBlock>& blocks_;
  std::map<int32_t, Cosines> cosines_;             // of every side that occurs; none: the identity
  std::map<int32_t, Cosines> transposed_cosines_;  // likewise
};

// Owned by one thread. Memory: 4 d floats.
//
// A message: the position section of what is kept, then a bit for each, 1 for minus, the last byte
// filled up with zeros.
class Demo final : public SyncMethod {
 public:
  // exchange: without a codec.
  // Errors: InvalidArgument for a spec outside its ranges, a codec beside it, or more than 2^32
  // parameters.
  static absl::StatusOr<std::unique_ptr<Demo>> make(std::unique_ptr<MeanExchange> exchange,
                                                    const core::ExchangeSpec& spec,
                                                    const core::Layout& layout);

  absl::Status begin(ModelView view) override;
  // After an error gradients and momentum are unchanged.
  absl::Status reduce_gradients(ModelView view) override;
  absl::Status end_step(ModelView view, bool last) override;
  bool parameters_are_shared() const override { return true; }
  uint64_t digest() const override { return exchange_->digest(); }
  SyncStats stats() const override { return exchange_->stats(); }

 protected:
  absl::Status save_fields(core::StateWriter& writer) const override;
  absl::Status restore_fields(core::StateReader& reader) override;

 private:
  Demo(std::unique_ptr<MeanExchange> exchange, const core::DemoSpec& spec,
       const core::Layout& layout);

  absl::Status round(std::span<float> gradients);
  // Places of the largest of next_, ascending.
  std::vector<uint32_t> largest() const;
  // Adds up one rank's message. Errors: DataLoss.
  absl::Status add(std::span<const uint8_t> message);

  const std::unique_ptr<MeanExchange> exchange_;
  const core::DemoSpec spec_;
  const std::vector<core::DemoBlock> blocks_;
  const BlockTransform transform_;
  int64_t kept_max_ = 0;
  int64_t payload_bytes_max_ = 0;
  std::vector<float> momentum_;   // [d]: m after the last round
  std::vector<float> next_;       // [d]: m of the round under way
  std::vector<float> signs_;      // [d]: sum over the ranks, then q
  std::vector<float> senders_;    // [d]: ranks that sent the component
  std::vector<uint32_t> places_;  // of one message
  int64_t step_ = 0;              // Steps whose gradients were reduced.
};

}  // namespace laconic::sync
