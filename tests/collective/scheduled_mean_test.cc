#include "common/collective/scheduled_mean.h"
#include "common/compress/error_feedback.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/core/payload_size.h"
#include "tests/collective/mean_world.h"
#include "tests/collective/world.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::communicators;
using ::laconic::testing::exact_mean;
using ::laconic::testing::kGeneration;
using ::laconic::testing::layout_of;
using ::laconic::testing::Means;
using ::laconic::testing::run_round;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::vector_of;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;

constexpr core::CodecSpec kNone = {};
constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8};
constexpr core::CodecSpec kSignRows = {.kind = core::CodecKind::kQuantize, .bits = 1, .rows = true};
constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 8, .density = 0.05};

// A schedule with a codec, as a job could ask for it.
struct Way {
  core::Schedule schedule;
  core::CodecSpec codec;
  bool lossy() const { return codec.lossy(); }
};
std::vector<Way> all_ways() {
  std::vector<Way> ways = {{core::Schedule::kRing, kNone}};
  for (const core::CodecSpec& codec : {kNone, kInt8, kSignRows, kTopK}) {
    for (const core::Schedule schedule :
         {core::Schedule::kSharded, core::Schedule::kStar, core::Schedule::kTree}) {
      ways.push_back({schedule, codec});
    }
  }
  for (const core::CodecSpec& codec : {kInt8, kTopK}) {
    ways.push_back({core::Schedule::kAllGather, codec});
  }
  return ways;
}
std::string name_of(const Way& way) {
  return absl::StrCat(core::schedule_name(way.schedule), " kind ", static_cast<int>(way.codec.kind),
                      " bits ", way.codec.bits);
}

Means means_of(const Way& way, int world_size, int64_t elements, double decay = 1.0) {
  Means means;
  for (int rank = 0; rank < world_size; ++rank) {
    auto made = ScheduledMean::make({.rank = rank,
                                     .world_size = world_size,
                                     .schedule = way.schedule,
                                     .codec = way.codec,
                                     .layout = layout_of(elements),
                                     .error_feedback = way.lossy(),
                                     .residual_decay = decay});
    EXPECT_OK(made.status());
    means.push_back(*std::move(made));
  }
  return means;
}

// The sharded reduce by its definition, on one thread: what every schedule of owners must make.
class PlainShardedMean {
 public:
  PlainShardedMean(const core::CodecSpec& spec, int world_size, int64_t elements, int owners)
      : world_size_(world_size),
        elements_(elements),
        parts_(core::cut_into_parts(spec, layout_of(elements), owners)) {
    for (const core::Part& part : parts_) {
      codecs_.push_back(*compress::make_codec(spec, part.layout));
      for (int rank = 0; rank <= world_size; ++rank) {
        feedback_.push_back(std::make_unique<compress::ErrorFeedback>(*codecs_.back(), true, 1.0));
      }
    }
  }

  std::vector<float> round(int round) {
    std::vector<float> mean(static_cast<size_t>(elements_));
    std::vector<std::vector<float>> vectors;
    for (int rank = 0; rank < world_size_; ++rank) {
      vectors.push_back(vector_of(rank, round, elements_));
    }
    for (size_t p = 0; p < parts_.size(); ++p) {
      const auto begin = static_cast<size_t>(parts_[p].begin);
      const auto count = static_cast<size_t>(parts_[p].elements);
      const std::span<float> out = std::span<float>(mean).subspan(begin, count);
      for (int rank = 0; rank < world_size_; ++rank) {
        const std::vector<float>& v = vectors[static_cast<size_t>(rank)];
        std::vector<float> addend(v.begin() + static_cast<std::ptrdiff_t>(begin),
                                  v.begin() + static_cast<std::ptrdiff_t>(begin + count));
        if (rank != parts_[p].owner) {
          addend = lossy(p, rank, addend);
        }
        for (size_t i = 0; i < count; ++i) {
          out[i] = rank == 0 ? addend[i] : out[i] + addend[i];
        }
      }
      for (float& value : out) {
        value /= static_cast<float>(world_size_);
      }
      if (world_size_ > 1) {
        const std::vector<float> decoded = lossy(p, world_size_, out);
        std::copy(decoded.begin(), decoded.end(), out.begin());
      }
    }
    return mean;
  }

 private:
  std::vector<float> lossy(size_t part, int stage, std::span<const float> values) {
    auto& feedback =
        *feedback_[part * static_cast<size_t>(world_size_ + 1) + static_cast<size_t>(stage)];
    const auto payload = *feedback.encode(values);
    std::vector<float> decoded(values.size());
    EXPECT_OK(codecs_[part]->decode(payload->bytes(), decoded));
    EXPECT_OK(feedback.commit().status());
    return decoded;
  }

  const int world_size_;
  const int64_t elements_;
  std::vector<core::Part> parts_;
  std::vector<std::unique_ptr<compress::Codec>> codecs_;
  std::vector<std::unique_ptr<compress::ErrorFeedback>> feedback_;
};

class ScheduledMeanTest : public ::testing::TestWithParam<WorldKind> {
 protected:
  int world_size() const { return GetParam().world_size; }
};
INSTANTIATE_TEST_SUITE_P(Worlds, ScheduledMeanTest,
                         ::testing::ValuesIn(laconic::testing::all_worlds()),
                         ::laconic::testing::world_name);

TEST_P(ScheduledMeanTest, Float32SchedulesMakeTheMean) {
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  for (const Way& way : all_ways()) {
    if (way.lossy()) {
      continue;
    }
    for (const int64_t elements : {1, 5, 1001, 70'001}) {
      SCOPED_TRACE(absl::StrCat(name_of(way), ", ", elements, " elements"));
      const Means means = means_of(way, world_size(), elements);
      const std::vector<float> mean = run_round(means, all, 0);
      const std::vector<double> exact = exact_mean(world_size(), 0, elements);
      for (size_t i = 0; i < mean.size(); ++i) {
        ASSERT_NEAR(mean[i], exact[i], 1e-5);  // Sums of normal deviates, rounded P times.
      }
    }
  }
  laconic::testing::finish_all(transports);
}

TEST_P(ScheduledMeanTest, ShardedAndStarAreThePlainVersionBitForBitWithErrorFeedback) {
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  for (const core::CodecSpec& codec : {kInt8, kSignRows, kTopK}) {
    for (const int64_t elements : {1, 3, 1001, 300'007}) {
      if (elements > 10'000 && (codec.kind != core::CodecKind::kQuantize || world_size() > 3)) {
        continue;  // Large for the sake of several tiles per owner, which others would not have.
      }
      for (const core::Schedule schedule : {core::Schedule::kSharded, core::Schedule::kStar}) {
        const Way way = {schedule, codec};
        SCOPED_TRACE(absl::StrCat(name_of(way), ", ", elements, " elements"));
        const Means means = means_of(way, world_size(), elements);
        PlainShardedMean plain(codec, world_size(), elements,
                               schedule == core::Schedule::kStar ? 1 : world_size());
        for (int round = 0; round < 3; ++round) {
          EXPECT_TRUE(run_round(means, all, round) == plain.round(round)) << "round " << round;
        }
      }
    }
  }
  laconic::testing::finish_all(transports);
}

TEST_P(ScheduledMeanTest, TreeMakesTheSameBitsAsAllGather) {
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  for (const core::CodecSpec& codec : {kInt8, kSignRows, kTopK}) {
    for (const int64_t elements : {1, 1001, world_size() > 3 ? 77 : 150'001}) {
      const Means tree = means_of({core::Schedule::kTree, codec}, world_size(), elements);
      const Means gather = means_of({core::Schedule::kAllGather, codec}, world_size(), elements);
      for (int round = 0; round < 2; ++round) {
        EXPECT_TRUE(run_round(tree, all, round) == run_round(gather, all, round));
      }
    }
  }
  laconic::testing::finish_all(transports);
}

// Reference 6.7: what is sent is received; headers are all that is added.
TEST_P(ScheduledMeanTest, OperationCountsPayloadAndFrameBytesOfEveryMessage) {
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  for (const Way& way : all_ways()) {
    for (const int64_t elements : {3, 1001, world_size() > 3 ? 77 : 150'001}) {
      SCOPED_TRACE(absl::StrCat(name_of(way), ", ", elements, " elements"));
      const Means means = means_of(way, world_size(), elements);
      run_round(means, all, 0);
      ByteCounts sum;
      for (size_t rank = 0; rank < all.size(); ++rank) {
        const ByteCounts& bytes = all[rank].operation_bytes();
        const int64_t frames = means[rank]->messages_sent();
        EXPECT_EQ(bytes.sent, bytes.payload_sent + frames * kFrameHeaderBytes);
        EXPECT_LE(static_cast<double>(bytes.sent), 1.001 * static_cast<double>(bytes.payload_sent) +
                                                       64.0 * static_cast<double>(frames));
        sum.sent += bytes.sent;
        sum.received += bytes.received;
        sum.payload_sent += bytes.payload_sent;
        sum.payload_received += bytes.payload_received;
      }
      EXPECT_EQ(sum.sent, sum.received);
      EXPECT_EQ(sum.payload_sent, sum.payload_received);
    }
  }
  laconic::testing::finish_all(transports);
}

TEST_P(ScheduledMeanTest, ShardedSendsTwoPayloadsLessTheOwnShares) {
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  const int64_t elements = 300'007;
  run_round(means_of({core::Schedule::kSharded, kInt8}, world_size(), elements), all, 0);
  const auto payload = static_cast<double>(core::payload_bytes_max(kInt8, layout_of(elements)));
  const double formula = 2 * payload * (world_size() - 1) / world_size();
  for (const Communicator& communicator : all) {
    EXPECT_NEAR(static_cast<double>(communicator.operation_bytes().sent), formula, 0.1 * formula);
  }
  laconic::testing::finish_all(transports);
}

// With beta = 1 nothing is lost: what was given is in the means or still owed, in both stages.
TEST_P(ScheduledMeanTest, WhatIsNotInTheMeanIsOwed) {
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  const int64_t elements = 3001;
  for (const Way& way : all_ways()) {
    SCOPED_TRACE(name_of(way));
    const Means means = means_of(way, world_size(), elements);
    double given = 0;
    double got = 0;
    for (int round = 0; round < 5; ++round) {
      for (const double value : exact_mean(world_size(), round, elements)) {
        given += value * world_size();
      }
      for (const float value : run_round(means, all, round)) {
        got += static_cast<double>(value) * world_size();
      }
    }
    double owed = 0;
    for (const auto& mean : means) {
      owed += mean->owed_stage_1() + world_size() * mean->owed_stage_2();
    }
    EXPECT_NEAR(given, got + owed, 1e-2);  // 3001 float32 sums of up to 35 terms.
  }
  laconic::testing::finish_all(transports);
}

// Reference 6.9: P-1 addends and the mean are encoded, so the error is (2P-1)/P of one encoding's.
TEST(ScheduledMeanErrorTest, Int8OfEightRanksKeepsToTwoStagesAndHasNoBias) {
  constexpr int kWorldSize = 8;
  constexpr int64_t kElements = 1'600'000;
  InProcessNetwork network(kWorldSize);
  Transports transports = laconic::testing::in_process_world(network, kWorldSize);
  std::vector<Communicator> all = communicators(transports);
  const Means means = means_of({core::Schedule::kSharded, kInt8}, kWorldSize, kElements);
  const std::vector<float> mean = run_round(means, all, 0);
  const std::vector<double> exact = exact_mean(kWorldSize, 0, kElements);
  double error = 0;
  double energy = 0;
  double bias = 0;
  for (size_t i = 0; i < mean.size(); ++i) {
    error += (mean[i] - exact[i]) * (mean[i] - exact[i]);
    energy += exact[i] * exact[i];
    bias += (mean[i] - exact[i]) / static_cast<double>(kElements);
  }
  // w: the error of one encoding of one rank's vector.
  const std::vector<float> one = vector_of(0, 0, kElements);
  const auto codec = *compress::make_codec(kInt8, layout_of(kElements));
  std::vector<float> decoded(one.size());
  ASSERT_OK(codec->decode(*codec->encode(one), decoded));
  double lost = 0;
  double whole = 0;
  for (size_t i = 0; i < one.size(); ++i) {
    lost += (one[i] - decoded[i]) * static_cast<double>(one[i] - decoded[i]);
    whole += static_cast<double>(one[i]) * one[i];
  }
  const double theory = (2.0 * kWorldSize - 1) / kWorldSize * lost / whole;
  EXPECT_LE(error / energy, 1.1 * theory);
  EXPECT_GE(error / energy, 0.9 * theory);
  // A level of the mean's blocks of 256 is about 2.8 of its standard deviations over 127. Without a
  // bias the mean error of so many elements has a deviation of 3e-4 levels.
  const double level = 2.8 * std::sqrt(energy / static_cast<double>(kElements)) / 127;
  EXPECT_LE(std::abs(bias), 1e-3 * level);
  laconic::testing::finish_all(transports);
}

TEST(ScheduledMeanOptionsTest, RingWithACodecIsRefused) {
  EXPECT_THAT(ScheduledMean::make(
                  {.schedule = core::Schedule::kRing, .codec = kInt8, .layout = layout_of(10)})
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ring takes no codec")));
}

TEST(ScheduledMeanOptionsTest, AutoIsNoScheduleToCarryOut) {
  EXPECT_THAT(ScheduledMean::make(
                  {.schedule = core::Schedule::kAuto, .codec = kNone, .layout = layout_of(10)})
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("schedule auto")));
}

TEST(ScheduledMeanOptionsTest, VectorOfAnotherLengthAndStrangeCommunicatorAreRefused) {
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  std::vector<Communicator> all = communicators(transports);
  const Means means = means_of({core::Schedule::kSharded, kInt8}, 2, 10);
  EXPECT_THAT(means[0]->run(all[0], std::vector<float>(9), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("9 elements")));
  EXPECT_THAT(means[0]->run(all[1], std::vector<float>(10), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("made for rank 0 of 2")));
}

}  // namespace
}  // namespace laconic::collective
