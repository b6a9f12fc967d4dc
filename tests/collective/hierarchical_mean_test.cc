// The mean of ranks at sites against its definition on one thread: equal bits, what is owed, and
// the bytes on each kind of link.
#include "absl/strings/str_cat.h"
#include "common/compress/error_feedback.h"
#include "common/core/partition.h"
#include "common/core/schedule_choice.h"
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
constexpr core::CodecSpec kSign = {.kind = core::CodecKind::kQuantize, .bits = 1};
constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 8, .density = 0.05};

struct SiteWorld {
  WorldKind kind;
  int ranks_per_site;

  int sites() const { return kind.world_size / ranks_per_site; }
};
std::ostream& operator<<(std::ostream& out, const SiteWorld& world) {
  return out << (world.kind.grpc ? "Grpc" : "InProcess") << world.sites() << "x"
             << world.ranks_per_site;
}
std::vector<SiteWorld> site_worlds() {
  std::vector<SiteWorld> worlds;
  for (const bool grpc : {false, true}) {
    for (const auto& [world_size, ranks_per_site] :
         {std::pair{1, 1}, {4, 2}, {6, 2}, {6, 3}, {7, 1}, {3, 3}}) {
      worlds.push_back({{grpc, world_size}, ranks_per_site});
    }
  }
  return worlds;
}

Means means_of(const core::CodecSpec& codec, const SiteWorld& world, int64_t elements) {
  Means means;
  for (int rank = 0; rank < world.kind.world_size; ++rank) {
    auto made = ScheduledMean::make({.rank = rank,
                                     .world_size = world.kind.world_size,
                                     .schedule = core::Schedule::kHierarchical,
                                     .codec = codec,
                                     .layout = layout_of(elements),
                                     .ranks_per_site = world.ranks_per_site,
                                     .error_feedback = codec.lossy()});
    EXPECT_OK(made.status());
    means.push_back(*std::move(made));
  }
  return means;
}

// By its definition, on one thread: sums of sites in rank order in float32, encoded with the site's
// error feedback unless the owner is of that site, added up in the order of the sites, divided by
// P, encoded with the owner's.
class PlainMean {
 public:
  PlainMean(const core::CodecSpec& spec, const SiteWorld& world, int64_t elements)
      : world_(world),
        lossy_(spec.lossy() && world.sites() > 1),
        elements_(elements),
        parts_(
            core::cut_for_sites(spec, layout_of(elements), world.sites(), world.ranks_per_site)) {
    for (const core::Part& part : parts_) {
      codecs_.push_back(*compress::make_codec(spec, part.layout));
      for (int site = 0; site <= world.sites(); ++site) {
        feedback_.push_back(std::make_unique<compress::ErrorFeedback>(*codecs_.back(), true, 1.0));
      }
    }
  }

  std::vector<float> round(int round) {
    std::vector<float> mean(static_cast<size_t>(elements_));
    std::vector<std::vector<float>> vectors;
    for (int rank = 0; rank < world_.kind.world_size; ++rank) {
      vectors.push_back(vector_of(rank, round, elements_));
    }
    for (size_t p = 0; p < parts_.size(); ++p) {
      const std::vector<float> result = part_mean(p, vectors);
      std::copy(result.begin(), result.end(),
                mean.begin() + static_cast<std::ptrdiff_t>(parts_[p].begin));
    }
    return mean;
  }

 private:
  std::vector<float> part_mean(size_t p, const std::vector<std::vector<float>>& vectors) {
    const auto begin = static_cast<std::ptrdiff_t>(parts_[p].begin);
    std::vector<float> sum;
    for (int site = 0; site < world_.sites(); ++site) {
      std::vector<float> of_site;
      for (int index = 0; index < world_.ranks_per_site; ++index) {
        const auto rank = static_cast<size_t>(site * world_.ranks_per_site + index);
        const auto from = vectors[rank].begin() + begin;
        add(of_site, {from, from + static_cast<std::ptrdiff_t>(parts_[p].elements)});
      }
      const bool own = site == parts_[p].owner / world_.ranks_per_site;
      add(sum, own || !lossy_ ? of_site : through_codec(p, site, of_site));
    }
    for (float& value : sum) {
      value /= static_cast<float>(world_.kind.world_size);
    }
    return lossy_ ? through_codec(p, world_.sites(), sum) : sum;
  }

  static void add(std::vector<float>& sum, const std::vector<float>& term) {
    if (sum.empty()) {
      sum = term;
      return;
    }
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += term[i];
    }
  }

  std::vector<float> through_codec(size_t part, int site, std::span<const float> values) {
    auto& feedback =
        *feedback_[part * static_cast<size_t>(world_.sites() + 1) + static_cast<size_t>(site)];
    const auto payload = *feedback.encode(values);
    std::vector<float> decoded(values.size());
    EXPECT_OK(codecs_[part]->decode(payload->bytes(), decoded));
    EXPECT_OK(feedback.commit().status());
    return decoded;
  }

  const SiteWorld world_;
  const bool lossy_;
  const int64_t elements_;
  std::vector<core::Part> parts_;
  std::vector<std::unique_ptr<compress::Codec>> codecs_;
  std::vector<std::unique_ptr<compress::ErrorFeedback>> feedback_;
};

class HierarchicalMeanTest : public ::testing::TestWithParam<SiteWorld> {
 protected:
  int world_size() const { return GetParam().kind.world_size; }
};
INSTANTIATE_TEST_SUITE_P(Worlds, HierarchicalMeanTest, ::testing::ValuesIn(site_worlds()),
                         [](const auto& made_for) {
                           return ::testing::PrintToString(made_for.param);
                         });

TEST_P(HierarchicalMeanTest, IsThePlainVersionBitForBitWithErrorFeedback) {
  Transports transports = GetParam().kind.make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  for (const core::CodecSpec& codec : {kNone, kInt8, kSignRows, kTopK}) {
    for (const int64_t elements : {1, 3, 1001, 300'007}) {
      if (elements > 10'000 && codec == kTopK) {
        continue;  // Its parts are as small as these vectors.
      }
      SCOPED_TRACE(absl::StrCat("bits ", codec.bits, ", ", elements, " elements"));
      const Means means = means_of(codec, GetParam(), elements);
      PlainMean plain(codec, GetParam(), elements);
      for (int round = 0; round < (elements > 10'000 ? 2 : 3); ++round) {
        EXPECT_TRUE(run_round(means, all, round) == plain.round(round)) << "round " << round;
      }
    }
  }
  laconic::testing::finish_all(transports);
}

TEST(HierarchicalMeanLengthTest, SumsThatAreLongerThanAFrameTravelInSeveral) {
  for (const bool grpc : {false, true}) {
    const SiteWorld world = {{grpc, 4}, 2};
    Transports transports = world.kind.make(kGeneration);
    std::vector<Communicator> all = communicators(transports);
    const int64_t elements = 4'400'003;
    const core::Part part =
        core::cut_for_sites(kSign, layout_of(elements), world.sites(), world.ranks_per_site)[0];
    ASSERT_GT(float_tiles(part.elements), 1);
    const Means means = means_of(kSign, world, elements);
    PlainMean plain(kSign, world, elements);
    EXPECT_TRUE(run_round(means, all, 0) == plain.round(0));
    laconic::testing::finish_all(transports);
  }
}

// With beta = 1 nothing is lost: what was given is in the means or still owed, in both stages.
TEST_P(HierarchicalMeanTest, WhatIsNotInTheMeanIsOwed) {
  Transports transports = GetParam().kind.make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  const int64_t elements = 3001;
  for (const core::CodecSpec& codec : {kNone, kInt8, kSignRows, kTopK}) {
    const Means means = means_of(codec, GetParam(), elements);
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

TEST_P(HierarchicalMeanTest, SendsWhatIsPredictedOnEachKindOfLink) {
  for (const core::CodecSpec& codec : {kNone, kInt8, kSignRows}) {
    for (const int64_t elements : {5, 1001, 300'007}) {
      SCOPED_TRACE(absl::StrCat("bits ", codec.bits, ", ", elements, " elements"));
      Transports transports = GetParam().kind.make(kGeneration);
      std::vector<Communicator> all = communicators(transports);
      run_round(means_of(codec, GetParam(), elements), all, 0);
      laconic::testing::finish_all(transports);
      int64_t most = 0;
      int64_t most_between = 0;
      ByteCounts sum;
      ByteCounts sum_between;
      for (size_t rank = 0; rank < all.size(); ++rank) {
        most = std::max(most, all[rank].operation_bytes().sent);
        const ByteCounts between =
            bytes_between_sites(*transports[rank], GetParam().ranks_per_site);
        most_between = std::max(most_between, between.sent);
        sum_between += between;
        sum += all[rank].operation_bytes();
      }
      EXPECT_EQ(sum.sent, sum.received);
      EXPECT_EQ(sum.payload_sent, sum.payload_received);
      EXPECT_EQ(sum_between.sent, sum_between.received);
      const core::Layout layout = layout_of(elements);
      EXPECT_EQ(most, core::sent_bytes_max(core::Schedule::kHierarchical, codec, layout,
                                           world_size(), GetParam().ranks_per_site));
      EXPECT_EQ(most_between,
                core::site_bytes_expected(codec, layout, world_size(), GetParam().ranks_per_site)
                    .between);
    }
  }
}

TEST(HierarchicalMeanOptionsTest, SitesThatDoNotDivideTheWorldAreRefused) {
  for (const int ranks_per_site : {0, -1, 3, 8}) {
    EXPECT_THAT(ScheduledMean::make({.world_size = 4,
                                     .schedule = core::Schedule::kHierarchical,
                                     .codec = kInt8,
                                     .layout = layout_of(10),
                                     .ranks_per_site = ranks_per_site})
                    .status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must divide")));
  }
}

}  // namespace
}  // namespace laconic::collective
