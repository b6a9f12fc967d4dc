#include "tests/testing/block_emulator.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/random.h"
#include "common/core/status_macros.h"
#include "tests/testing/fiber.h"

namespace laconic::testing {
namespace {

constexpr uint32_t kWarp = 32;

// What a thread waits for.
enum class Wait : uint8_t { kNothing, kBallot, kShuffle, kWarpSync, kBlockSync, kGridSync, kEnd };

const char* name_of(Wait wait) {
  switch (wait) {
    case Wait::kNothing:
      return "nothing";
    case Wait::kBallot:
      return "ballot";
    case Wait::kShuffle:
      return "shuffle";
    case Wait::kWarpSync:
      return "warp_sync";
    case Wait::kBlockSync:
      return "sync";
    case Wait::kGridSync:
      return "grid_sync";
    case Wait::kEnd:
      return "its end";
  }
  return "nothing";
}

bool of_warp(Wait wait) {
  return wait == Wait::kBallot || wait == Wait::kShuffle || wait == Wait::kWarpSync;
}

struct Thread {
  std::unique_ptr<Fiber> fiber;
  Wait wait = Wait::kNothing;
  std::source_location site;
  uint32_t value = 0;
  uint32_t lane = 0;  // of a shuffle: whose value is wanted
  uint32_t result = 0;
};

bool same_place(const Thread& a, const Thread& b) {
  return a.wait == b.wait &&
         (a.wait == Wait::kEnd ||
          (a.site.line() == b.site.line() && a.site.column() == b.site.column() &&
           std::strcmp(a.site.file_name(), b.site.file_name()) == 0));
}

std::string describe(const Thread& thread) {
  return thread.wait == Wait::kEnd ? "has returned"
                                   : absl::StrCat("is at ", name_of(thread.wait), ", ",
                                                  thread.site.file_name(), ":", thread.site.line());
}

}  // namespace

class BlockEmulator {
 public:
  BlockEmulator(const EmulatedLaunch& launch, const EmulatedKernel& kernel)
      : launch_(launch), kernel_(kernel), random_(1) {}

  absl::Status run() {
    const uint32_t at_once = launch_.cooperative ? launch_.blocks : 1;
    for (uint32_t first = 0; first < launch_.blocks; first += at_once) {
      start_blocks(first, at_once);
      LACONIC_RETURN_IF_ERROR(finish_blocks());
    }
    return absl::OkStatus();
  }

  // Called by the running thread: waits and returns what it gets.
  uint32_t wait(Wait what, uint32_t value, uint32_t lane, std::source_location site) {
    Thread& self = *running_;
    self.wait = what;
    self.site = site;
    self.value = value;
    self.lane = lane;
    self.fiber->pause();
    return self.result;
  }

  const EmulatedLaunch& launch() const { return launch_; }

 private:
  void start_blocks(uint32_t first, uint32_t count) {
    first_block_ = first;
    threads_.resize(size_t{count} * launch_.threads);
    shared_.clear();
    for (uint32_t b = 0; b < count; ++b) {
      shared_.emplace_back(launch_.shared_bytes, uint8_t{0xA5});
      for (uint32_t t = 0; t < launch_.threads; ++t) {
        Thread& thread = threads_[size_t{b} * launch_.threads + t];
        if (thread.fiber == nullptr) {
          thread.fiber = std::make_unique<Fiber>();
        }
        thread.wait = Wait::kNothing;
        thread.fiber->start([this, &thread, b, t] {
          EmulatedCta cta(*this, first_block_ + b, t);
          kernel_(cta, shared_[b].data());
          thread.wait = Wait::kEnd;
        });
      }
    }
  }

  std::span<Thread> block(size_t b) {
    return std::span(threads_).subspan(b * launch_.threads, launch_.threads);
  }

  // Runs blocks to the end, from grid barrier to grid barrier.
  absl::Status finish_blocks() {
    while (true) {
      for (const uint32_t b : ordered(static_cast<uint32_t>(shared_.size()))) {
        LACONIC_RETURN_IF_ERROR(run_block(block(b)));
      }
      LACONIC_RETURN_IF_ERROR(check_together(threads_, "the grid"));
      if (threads_.front().wait == Wait::kEnd) {
        return absl::OkStatus();
      }
      if (!launch_.cooperative) {
        return absl::FailedPreconditionError("grid_sync in a launch that is not cooperative");
      }
      release(threads_);
    }
  }

  // To its end or to a grid barrier.
  absl::Status run_block(std::span<Thread> threads) {
    while (true) {
      for (const uint32_t warp : ordered(launch_.threads / kWarp)) {
        LACONIC_RETURN_IF_ERROR(run_warp(threads.subspan(size_t{warp} * kWarp, kWarp)));
      }
      LACONIC_RETURN_IF_ERROR(check_together(threads, "the block"));
      if (threads.front().wait != Wait::kBlockSync) {
        return absl::OkStatus();
      }
      release(threads);
    }
  }

  // To its end or to a barrier of more than the warp.
  absl::Status run_warp(std::span<Thread> lanes) {
    while (true) {
      for (const uint32_t lane : ordered(kWarp)) {
        if (lanes[lane].wait == Wait::kNothing) {
          running_ = &lanes[lane];
          running_->fiber->resume();
        }
      }
      const bool meet = std::any_of(lanes.begin(), lanes.end(),
                                    [](const Thread& lane) { return of_warp(lane.wait); });
      if (!meet) {
        return absl::OkStatus();
      }
      LACONIC_RETURN_IF_ERROR(check_together(lanes, "the warp"));
      exchange(lanes);
      release(lanes);
    }
  }

  static void exchange(std::span<Thread> lanes) {
    uint32_t ballot = 0;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      ballot |= (lanes[lane].value != 0 ? 1U : 0U) << lane;
    }
    for (Thread& lane : lanes) {
      lane.result = lane.wait == Wait::kBallot ? ballot : lanes[lane.lane % kWarp].value;
    }
  }

  static absl::Status check_together(std::span<const Thread> threads, const char* of_what) {
    const auto other = std::find_if(threads.begin(), threads.end(), [&](const Thread& thread) {
      return !same_place(thread, threads.front());
    });
    if (other == threads.end()) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat("threads of ", of_what, " part: thread 0 ", describe(threads.front()),
                     ", thread ", other - threads.begin(), " ", describe(*other)));
  }

  static void release(std::span<Thread> threads) {
    for (Thread& thread : threads) {
      thread.wait = Wait::kNothing;
    }
  }

  std::vector<uint32_t> ordered(uint32_t count) {
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0U);
    if (launch_.order == ThreadOrder::kBackward) {
      std::reverse(order.begin(), order.end());
    }
    if (launch_.order == ThreadOrder::kShuffled) {
      for (uint32_t i = count; i > 1; --i) {
        std::swap(order[i - 1], order[random_.below(i)]);
      }
    }
    return order;
  }

  const EmulatedLaunch launch_;
  const EmulatedKernel& kernel_;
  core::Random random_;
  uint32_t first_block_ = 0;
  std::vector<Thread> threads_;               // of the blocks that run, block after block
  std::vector<std::vector<uint8_t>> shared_;  // of each block
  Thread* running_ = nullptr;
};

uint32_t EmulatedCta::threads() const {
  return emulator_.launch().threads;
}
uint32_t EmulatedCta::blocks() const {
  return emulator_.launch().blocks;
}
void EmulatedCta::sync(Site site) const {
  emulator_.wait(Wait::kBlockSync, 0, 0, site);
}
void EmulatedCta::grid_sync(Site site) const {
  emulator_.wait(Wait::kGridSync, 0, 0, site);
}
void EmulatedCta::warp_sync(Site site) const {
  emulator_.wait(Wait::kWarpSync, 0, 0, site);
}
uint32_t EmulatedCta::ballot(bool value, Site site) const {
  return emulator_.wait(Wait::kBallot, value ? 1 : 0, 0, site);
}
uint32_t EmulatedCta::shuffle(uint32_t value, uint32_t lane, Site site) const {
  return emulator_.wait(Wait::kShuffle, value, lane, site);
}
uint32_t EmulatedCta::shuffle_xor(uint32_t value, uint32_t bits, Site site) const {
  return emulator_.wait(Wait::kShuffle, value, (thread_ % kWarp) ^ bits, site);
}
uint32_t EmulatedCta::atomic_add(uint32_t* at, uint32_t value) const {
  return std::exchange(*at, *at + value);
}
uint32_t EmulatedCta::atomic_or(uint32_t* at, uint32_t value) const {
  return std::exchange(*at, *at | value);
}
uint32_t EmulatedCta::atomic_max(uint32_t* at, uint32_t value) const {
  return std::exchange(*at, std::max(*at, value));
}
void EmulatedCta::atomic_min(uint64_t* at, uint64_t value) const {
  *at = std::min(*at, value);
}

absl::Status run_emulated(const EmulatedLaunch& launch, const EmulatedKernel& kernel) {
  return BlockEmulator(launch, kernel).run();
}

}  // namespace laconic::testing
