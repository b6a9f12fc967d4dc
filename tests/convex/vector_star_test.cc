#include "common/convex/vector_star.h"

#include <cmath>
#include <numeric>

#include "common/convex/method.h"
#include "common/core/random.h"
#include "common/core/vector_math.h"
#include "tests/collective/world.h"

namespace laconic::convex {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;

constexpr int64_t kD = 40;

std::unique_ptr<compress::Codec> codec(const core::CodecSpec& spec) {
  auto made = compress::make_codec(spec, {{{"x", 1, kD}}});
  EXPECT_OK(made.status());
  return *std::move(made);
}

std::vector<double> numbers(uint64_t seed) {
  core::Random random(seed);
  std::vector<double> values(kD);
  for (double& value : values) {
    value = static_cast<float>(random.uniform() - 0.5);  // A float32: sent exactly.
  }
  return values;
}

void on_all_stars(int world_size, const std::function<void(VectorStar&)>& body) {
  const Transports transports = WorldKind{false, world_size}.make(1);
  on_all_ranks(world_size, [&](int rank) {
    collective::Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    VectorStar star(communicator, 0, kD);
    body(star);
  });
}

TEST(VectorStarTest, SumIsOverTheOthersInRankOrder) {
  const auto float32 = codec({});
  for (const int world_size : {1, 2, 3, 7}) {
    on_all_stars(world_size, [&](VectorStar& star) {
      const std::vector<double> own = numbers(static_cast<uint64_t>(star.rank()));
      std::vector<double> sum(kD, 99);
      ASSERT_OK(star.gather_sum(*float32, {.v = own}, sum));
      if (star.is_anchor()) {
        std::vector<double> expected(kD);
        for (int rank = 1; rank < world_size; ++rank) {
          core::add_scaled(1, numbers(static_cast<uint64_t>(rank)), expected);
        }
        EXPECT_EQ(sum, expected);
      } else {
        EXPECT_EQ(star.traffic().up_bytes, 4 * kD);
      }
    });
  }
}

TEST(VectorStarTest, AllHoldTheDecodedBroadcast) {
  const auto four_bits = codec({.kind = core::CodecKind::kQuantize, .bits = 4, .block = 256});
  std::vector<std::vector<double>> held(3);
  std::vector<uint64_t> digests(3);
  on_all_stars(3, [&](VectorStar& star) {
    std::vector<double> v = numbers(static_cast<uint64_t>(star.rank()));
    ASSERT_OK(star.broadcast(*four_bits, 1, v));
    const auto rank = static_cast<size_t>(star.rank());
    held[rank] = v;
    digests[rank] = star.digest();
  });
  EXPECT_NE(held[0], numbers(0));  // The anchor too: what was lost is lost for it.
  EXPECT_EQ(held[0], held[1]);
  EXPECT_EQ(held[0], held[2]);
  EXPECT_EQ(digests[0], digests[2]);
}

// T5 of the reference: sum of the messages + residual = sum of what was to be said.
TEST(VectorStarTest, MessagesAndResidualTelescope) {
  const auto top = codec({.kind = core::CodecKind::kTopK, .bits = 32, .density = 0.1});
  on_all_stars(2, [&](VectorStar& star) {
    std::vector<double> residual(kD);
    std::vector<double> sent(kD);
    std::vector<double> said(kD);
    std::vector<double> wanted(kD);
    std::vector<double> sum(kD);
    for (uint64_t round = 0; round < 30; ++round) {
      const std::vector<double> v = numbers(round);
      ASSERT_OK(star.gather_sum(*top, {.v = v, .residual = residual, .sent = sent}, sum));
      core::add_scaled(1, v, wanted);
      core::add_scaled(1, sent, said);
    }
    if (!star.is_anchor()) {
      EXPECT_GT(core::norm(residual), 0.1);  // Something was left to be told.
      core::add_scaled(1, residual, said);
      EXPECT_LE(core::distance(said, wanted), 1e-12);
    }
  });
}

TEST(VectorStarTest, SilentWorkerSendsNoBytesAndKeepsAllAsResidual) {
  const auto float32 = codec({});
  on_all_stars(2, [&](VectorStar& star) {
    const std::vector<double> v = numbers(3);
    std::vector<double> residual(kD);
    std::vector<double> sum(kD, 99);
    ASSERT_OK(star.gather_sum(
        *float32, {.v = v, .residual = residual, .silent_below = core::dot(v, v) * 1.01}, sum));
    if (star.is_anchor()) {
      EXPECT_EQ(sum, std::vector<double>(kD));
    } else {
      EXPECT_EQ(residual, v);
    }
    EXPECT_EQ(star.traffic().up_bytes, 0);
    EXPECT_EQ(star.traffic().skipped_messages, 1);
    EXPECT_EQ(star.traffic().gathers, 1);
  });
}

TEST(VectorStarTest, PayloadThatDoesNotDecodeNamesItsRank) {
  const auto float32 = codec({});
  const auto top = codec({.kind = core::CodecKind::kTopK, .bits = 32, .density = 0.1});
  on_all_stars(2, [&](VectorStar& star) {
    std::vector<double> sum(kD);
    const std::vector<double> v = numbers(1);
    const absl::Status status = star.gather_sum(star.is_anchor() ? *float32 : *top, {.v = v}, sum);
    if (star.is_anchor()) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("rank 1")));
    }
  });
}

// T3 of the reference: messages are unbiased, and their errors independent between workers and
// rounds, so the mean's variance is omega |v|^2 / workers. Equal seeds on two workers would double
// it.
class MessageProbe final : public Method {
 public:
  MessageProbe(collective::Communicator& communicator, Objective& objective,
               const compress::Codec& random, std::vector<double> v)
      : Method(communicator, 0, objective), random_(random), v_(std::move(v)), sum_(vector()) {}
  std::span<const double> solution() const override { return sum_; }

 protected:
  absl::Status step() override {
    return star_.gather_sum(random_, {.v = v_, .seed = message_seed(5, 0)}, sum_);
  }
  std::vector<std::span<double>> state() override { return {}; }

 private:
  const compress::Codec& random_;
  const std::vector<double> v_;
  std::vector<double> sum_;
};

class NoObjective final : public Objective {
 public:
  int64_t dimension() const override { return kD; }
  absl::Status gradient(std::span<const double>, std::span<double>) override {
    return absl::OkStatus();
  }
};

TEST(VectorStarTest, RandomMessagesAreUnbiasedAndIndependentBetweenWorkers) {
  constexpr int kWorld = 5;
  constexpr int kSenders = kWorld - 1;
  constexpr int kRounds = 4000;
  const auto random = codec({.kind = core::CodecKind::kRandK, .density = 0.1, .scaled = true});
  const std::vector<double> v = numbers(9);
  std::vector<double> mean(kD);
  double variance = 0;
  const Transports transports = WorldKind{false, kWorld}.make(1);
  on_all_ranks(kWorld, [&](int rank) {
    collective::Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    NoObjective nothing;
    MessageProbe probe(communicator, nothing, *random, v);
    for (int round = 0; round < kRounds; ++round) {
      ASSERT_OK(probe.iterate());
      if (rank == 0) {
        std::vector<double> off(probe.solution().begin(), probe.solution().end());
        for (double& value : off) {
          value /= kSenders;
        }
        core::add_scaled(1.0 / kRounds, off, mean);
        core::add_scaled(-1, v, off);
        variance += core::dot(off, off) / kRounds;
      }
    }
  });
  const double omega = 10 - 1;  // d / K - 1, exactly
  const double expected = omega * core::dot(v, v) / kSenders;
  EXPECT_NEAR(variance, expected, 0.1 * expected);
  EXPECT_LE(core::distance(mean, v), 3 * std::sqrt(expected / kRounds));
}

}  // namespace
}  // namespace laconic::convex
