// A transport whose link breaks at a chosen message.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "common/collective/transport.h"

namespace laconic::testing {

// Fails at its n-th send or receive, counted together from 0, as if the link had broken.
class FailingTransport final : public collective::Transport {
 public:
  FailingTransport(std::unique_ptr<collective::Transport> real, int fails_at)
      : real_(std::move(real)), left_(fails_at) {}
  int rank() const override { return real_->rank(); }
  int world_size() const override { return real_->world_size(); }
  absl::Status send(int to_rank, collective::Frame frame, absl::Time deadline) override {
    ++calls_;
    if (left_-- == 0) {
      return absl::UnavailableError("injected");
    }
    return real_->send(to_rank, std::move(frame), deadline);
  }
  absl::StatusOr<collective::Frame> receive(int from_rank, absl::Time deadline) override {
    ++calls_;
    if (left_-- == 0) {
      return absl::UnavailableError("injected");
    }
    return real_->receive(from_rank, deadline);
  }
  absl::Status finish(absl::Time deadline) override { return real_->finish(deadline); }
  int lost_rank() const override { return real_->lost_rank(); }
  collective::ByteCounts bytes() const override { return real_->bytes(); }
  collective::ByteCounts peer_bytes(int rank) const override { return real_->peer_bytes(rank); }
  void abort(const absl::Status& reason) override { real_->abort(reason); }
  // Of send() and receive() so far.
  int calls() const { return calls_; }
  // A new link. fails_at: -1 for never.
  void replace(std::unique_ptr<collective::Transport> real, int fails_at) {
    real_ = std::move(real);
    left_ = fails_at;
  }

 private:
  std::unique_ptr<collective::Transport> real_;
  std::atomic<int> left_;
  std::atomic<int> calls_ = 0;
};

}  // namespace laconic::testing
