// Small quadratic problems for tests of whole sync methods: rank i's loss is |x - t_i|^2 / 2.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/core/random.h"
#include "common/sync/sync_method.h"
#include "tests/collective/failing_transport.h"
#include "tests/collective/world.h"

namespace laconic::testing {

using Floats = std::vector<float>;

inline core::Layout small_layout() {
  return {{{"weight", 7, 43}, {"bias", 1, 7}}};  // 308 elements
}

// Parameters, target and descent of one rank. All state is plain, so a copy is a checkpoint.
struct SmallModel {
  explicit SmallModel(int rank) : target(308), parameters(308), gradients(308) {
    core::Random random(17, static_cast<uint64_t>(rank));
    for (float& value : target) {
      value = static_cast<float>(random.uniform() * 4 - 2);
    }
  }

  sync::ModelView view() { return {parameters, gradients}; }
  // One whole step of gradient descent. After an error the parameters are those before.
  absl::Status step(sync::SyncMethod& method, float rate, bool last = false) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      gradients[i] = parameters[i] - target[i];
    }
    if (absl::Status status = method.reduce_gradients(view()); !status.ok()) {
      return status;
    }
    const Floats before = parameters;
    for (size_t i = 0; i < parameters.size(); ++i) {
      parameters[i] -= rate * gradients[i];
    }
    absl::Status status = method.end_step(view(), last);
    if (!status.ok()) {
      parameters = before;
    }
    return status;
  }

  Floats target;
  Floats parameters;
  Floats gradients;
};

// P ranks in one process, each with a method over a link that may be made to fail.
class MethodWorld {
 public:
  MethodWorld(const core::ExchangeSpec& spec, int world_size,
              const core::Layout& layout = small_layout())
      : spec_(spec), layout_(layout), ranks_(static_cast<size_t>(world_size)) {
    connect(-1);
    for (Rank& rank : ranks_) {
      make(rank);
    }
    on_all_ranks(world_size, [&](int rank) {
      Rank& own = ranks_[static_cast<size_t>(rank)];
      if (own.method != nullptr) {
        EXPECT_OK(own.method->begin(own.model.view()));
      }
    });
  }

  // One step on every rank; how many of them failed. A rank that fails aborts all links.
  int step(float rate, bool last = false) {
    std::atomic<int> errors = 0;
    on_all_ranks(static_cast<int>(ranks_.size()), [&](int rank) {
      Rank& own = ranks_[static_cast<size_t>(rank)];
      if (!own.model.step(*own.method, rate, last).ok()) {
        ++errors;
        for (Rank& other : ranks_) {
          other.link->abort(absl::AbortedError("generation over"));
        }
      }
    });
    return errors;
  }

  // A new generation: new links, sequence numbers from the start. Every rank's link fails at its
  // message `fails_at`; -1: none does.
  void connect(int fails_at) {
    ++generation_;
    collective::InProcessNetwork network(static_cast<int>(ranks_.size()));
    for (size_t r = 0; r < ranks_.size(); ++r) {
      Rank& rank = ranks_[r];
      if (rank.link == nullptr) {
        rank.link =
            std::make_unique<FailingTransport>(network.endpoint(static_cast<int>(r)), fails_at);
        rank.model = SmallModel(static_cast<int>(r));
      } else {
        rank.link->replace(network.endpoint(static_cast<int>(r)), fails_at);
      }
      rank.communicator.emplace(*rank.link, generation_, kTestDeadline);
    }
  }

  // Every method is saved, destroyed, made anew and restored, in a new generation.
  void restart() {
    connect(-1);
    for (Rank& rank : ranks_) {
      const auto bytes = rank.method->save();
      ASSERT_OK(bytes.status());
      rank.method.reset();
      make(rank);
      ASSERT_OK(rank.method->restore(*bytes));
    }
  }

  sync::SyncMethod& method(size_t rank) { return *ranks_[rank].method; }
  collective::ByteCounts bytes(size_t rank) const { return ranks_[rank].link->bytes(); }
  SmallModel& model(size_t rank) { return ranks_[rank].model; }
  size_t size() const { return ranks_.size(); }
  void expect_equal_parameters() const {
    for (const Rank& rank : ranks_) {
      EXPECT_TRUE(rank.model.parameters == ranks_[0].model.parameters);
      EXPECT_EQ(rank.method->digest(), ranks_[0].method->digest());
    }
  }
  // From the mean of the targets.
  double distance_from_best() const {
    double squares = 0;
    for (size_t i = 0; i < ranks_[0].model.parameters.size(); ++i) {
      double best = 0;
      for (const Rank& rank : ranks_) {
        best += static_cast<double>(rank.model.target[i]) / static_cast<double>(ranks_.size());
      }
      const double off = static_cast<double>(ranks_[0].model.parameters[i]) - best;
      squares += off * off;
    }
    return std::sqrt(squares);
  }

 private:
  struct Rank {
    std::unique_ptr<FailingTransport> link;
    std::optional<collective::Communicator> communicator;
    std::unique_ptr<sync::SyncMethod> method;
    SmallModel model{0};
  };

  void make(Rank& rank) {
    auto made = sync::make_sync_method(spec_, layout_, *rank.communicator);
    EXPECT_OK(made.status());
    if (made.ok()) {
      rank.method = *std::move(made);
    }
  }

  const core::ExchangeSpec spec_;
  const core::Layout layout_;
  uint64_t generation_ = 0;
  std::vector<Rank> ranks_;
};

// Every method whose state can be saved, in its main forms.
struct MethodCase {
  std::string name;
  core::ExchangeSpec spec;
};
inline void PrintTo(const MethodCase& method, std::ostream* out) {
  *out << method.name;
}
inline std::string method_name(const ::testing::TestParamInfo<MethodCase>& info) {
  return info.param.name;
}

// Local, whole and in fragments.
inline void add_local_cases(std::vector<MethodCase>& cases) {
  core::ExchangeSpec local;
  local.method = core::Method::kLocal;
  local.codec = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
  local.schedule = core::Schedule::kAllGather;
  local.error_feedback = true;
  local.rounds.inner_steps = 2;
  cases.push_back({"LocalSign", local});
  core::ExchangeSpec shifted = local;
  shifted.shift = 0.5;
  cases.push_back({"LocalShift", shifted});
  core::ExchangeSpec following = local;
  following.inner_steps_max = 4;
  cases.push_back({"LocalFollowsSimilarity", following});
  local.fragments = {.count = 2, .delay_steps = 0, .keep = 0.5};
  cases.push_back({"StreamingSign", local});
}

inline std::vector<MethodCase> method_cases() {
  constexpr core::CodecSpec kInt4 = {.kind = core::CodecKind::kQuantize, .bits = 4, .block = 64};
  constexpr core::CodecSpec kSign = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
  constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 4, .density = 0.1};
  constexpr core::CodecSpec kLowRank = {.kind = core::CodecKind::kLowRank, .factors = 2};
  const auto fed = [](core::CodecSpec codec, core::Schedule schedule) {
    core::ExchangeSpec spec;
    spec.codec = codec;
    spec.schedule = schedule;
    spec.error_feedback = codec.lossy();
    return spec;
  };
  const auto ef21 = [&](core::CodecSpec codec) {
    core::ExchangeSpec spec = fed(codec, core::Schedule::kAllGather);
    spec.feedback = core::FeedbackForm::kEf21;
    return spec;
  };
  const auto lazy = [&](core::CodecSpec codec, core::LazySpec rule) {
    core::ExchangeSpec spec = ef21(codec);
    spec.method = core::Method::kLazy;
    spec.lazy = rule;
    if (rule.silence == core::Silence::kCarry) {
      spec.feedback = core::FeedbackForm::kResidual;
    }
    return spec;
  };
  std::vector<MethodCase> cases = {
      {"DenseFloat32", fed({}, core::Schedule::kAuto)},
      {"DenseSign", fed(kSign, core::Schedule::kAllGather)},
      {"DenseTopKSharded", fed(kTopK, core::Schedule::kSharded)},
      {"DenseLowRank", fed(kLowRank, core::Schedule::kAllGather)},
      {"DenseEf21", ef21(kTopK)},
      {"LazyFloat32", lazy({}, {.threshold = 3})},
      {"LazyInt4Momentum", lazy(kInt4, {.threshold = 3, .age_max = 3, .momentum = 0.5})},
      {"LazySignDrift", lazy(kSign, {.threshold = 1, .age_max = 3, .inner_steps = 2})},
      {"LazyLowRank", lazy(kLowRank, {.threshold = 2})},
      {"LazyCarrySign", lazy(kSign, {.silence = core::Silence::kCarry, .threshold = 1.5})},
      {"LazyCarryDrift",
       lazy(kTopK, {.silence = core::Silence::kCarry, .threshold = 1.5, .inner_steps = 2})},
      {"LazyLaq", lazy(kInt4, {.rule = core::LazyRule::kLaq, .threshold = 0.8, .age_max = 5})}};
  add_local_cases(cases);
  core::ExchangeSpec momentum = ef21(kTopK);
  momentum.method = core::Method::kEf21;
  momentum.ef21_momentum = 0.5;
  cases.push_back({"Ef21Momentum", momentum});
  core::ExchangeSpec power_sgd;
  power_sgd.method = core::Method::kPowerSgd;
  power_sgd.power_sgd = {.rank = 2, .dense_steps = 2};
  cases.push_back({"PowerSgd", power_sgd});
  power_sgd.power_sgd.dense_steps = 0;
  cases.push_back({"PowerSgdAtOnce", power_sgd});
  core::ExchangeSpec demo;
  demo.method = core::Method::kDemo;
  demo.demo = {.momentum = 0.9, .chunk = 16, .kept = 8};
  cases.push_back({"Demo", demo});
  demo.demo.dct = false;
  demo.demo.sign = false;
  cases.push_back({"DemoIdentity", demo});
  core::ExchangeSpec half = fed(kSign, core::Schedule::kStar);
  half.half_residuals = true;
  cases.push_back({"DenseSignHalfStar", half});
  core::ExchangeSpec shared;
  shared.shared_index = core::SharedIndexSpec{.density = 0.1, .value_bits = 8};
  shared.error_feedback = true;
  cases.push_back({"DenseSharedIndex", shared});
  return cases;
}

}  // namespace laconic::testing
