#include "common/wire/convex_check.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace laconic::wire {
namespace {

using v1::Convex;

const std::string kPath = "spec.exchange.convex";

bool is_olga(Convex::Algorithm algorithm) {
  return algorithm == Convex::OLGA || algorithm == Convex::EF_OLGA;
}

// Solves subproblems on the anchor worker's data.
bool is_similarity_aware(Convex::Algorithm algorithm) {
  return is_olga(algorithm) || algorithm == Convex::AEG;
}

bool takes_no_codec(Convex::Algorithm algorithm) {
  return algorithm == Convex::AEG || algorithm == Convex::GD || algorithm == Convex::AGD;
}

bool needs_unbiased(Convex::Algorithm algorithm) {
  return algorithm == Convex::OLGA || algorithm == Convex::DIANA || algorithm == Convex::MARINA;
}

// A field that only some algorithms have.
struct Owned {
  bool set = false;
  const char* field = "";
  bool used = false;
  const char* owners = "";
};

void check_owned(Checker& checker, const Convex& convex) {
  const Convex::Algorithm algorithm = convex.algorithm();
  const bool olga = is_olga(algorithm);
  const bool similar = is_similarity_aware(algorithm);
  const bool lazy = algorithm == Convex::EF_OLGA || algorithm == Convex::LAQ;
  const std::vector<Owned> fields = {
      {convex.has_convexity(), "convexity", similar || algorithm == Convex::AGD,
       "OLGA, EF_OLGA, AEG and AGD"},
      {convex.has_smoothness(), "smoothness", !similar, "GD, AGD, DIANA, MARINA, EF21 and LAQ"},
      {convex.has_similarity(), "similarity", similar, "OLGA, EF_OLGA and AEG"},
      {convex.has_adapt_similarity(), "adapt_similarity", olga, "OLGA and EF_OLGA"},
      {convex.has_step_scale(), "step_scale", algorithm != Convex::AEG, "all but AEG"},
      {convex.theory(), "theory", olga, "OLGA and EF_OLGA"},
      {convex.has_inner_rounds(), "inner_rounds", olga, "OLGA and EF_OLGA"},
      {convex.geometric(), "geometric", olga, "OLGA and EF_OLGA"},
      {convex.has_lazy(), "lazy", lazy, "EF_OLGA and LAQ"},
      {convex.has_gather_bits(), "gather_bits", olga, "OLGA and EF_OLGA"},
      {convex.has_downlink_bits(), "downlink_bits", olga, "OLGA and EF_OLGA"},
      {convex.anchor() == Convex::MOST_ALIKE, "anchor", similar, "OLGA, EF_OLGA and AEG"},
  };
  for (const Owned& field : fields) {
    if (field.set && !field.used) {
      checker.add(
          absl::StrCat(kPath, ".", field.field),
          absl::StrCat("is set with algorithm ", Convex::Algorithm_Name(algorithm),
                       ", which has no use for it; allowed: with algorithm ", field.owners));
    }
  }
}

void check_bits(Checker& checker, const std::string& field, bool set, int32_t bits) {
  if (set && bits != 32 && bits != 8 && bits != 4) {
    checker.add(absl::StrCat(kPath, ".", field),
                absl::StrCat("is ", bits, "; allowed: 32, 8 or 4"));
  }
}

void check_ranges(Checker& checker, const Convex& convex) {
  const Range positive = {.low = 0, .above = true};
  checker.required_number(kPath + ".l2", convex.has_l2(), convex.l2(), {.low = 1e-12, .high = 1e6});
  const std::pair<const char*, std::pair<bool, double>> constants[] = {
      {".convexity", {convex.has_convexity(), convex.convexity()}},
      {".smoothness", {convex.has_smoothness(), convex.smoothness()}},
      {".similarity", {convex.has_similarity(), convex.similarity()}},
      {".tolerance", {convex.has_tolerance(), convex.tolerance()}},
  };
  for (const auto& [field, value] : constants) {
    if (value.first) {
      checker.number(kPath + field, value.second, positive);
    }
  }
  if (convex.has_step_scale()) {
    checker.number(kPath + ".step_scale", convex.step_scale(),
                   {.low = 0, .high = 100, .above = true});
  }
  if (convex.theory() && convex.has_step_scale()) {
    checker.add(kPath + ".step_scale",
                "is set with theory, whose constants have no factor; allowed: one of the two");
  }
  if (convex.has_adapt_similarity() && !convex.adapt_similarity() && !convex.has_similarity()) {
    checker.add(kPath + ".adapt_similarity",
                "is false without similarity; allowed: false with similarity, or true");
  }
  if (convex.has_inner_rounds()) {
    checker.integer(kPath + ".inner_rounds", convex.inner_rounds(), 1, 10'000);
  }
  if (convex.has_lazy()) {
    checker.number(kPath + ".lazy", convex.lazy(), {.low = 0, .high = 1e6});
  }
  if (!Convex::Anchor_IsValid(convex.anchor())) {
    checker.add(kPath + ".anchor", absl::StrCat("is ", static_cast<int>(convex.anchor()),
                                                "; allowed: RANK_0 or MOST_ALIKE"));
  }
  check_bits(checker, "gather_bits", convex.has_gather_bits(), convex.gather_bits());
  check_bits(checker, "downlink_bits", convex.has_downlink_bits(), convex.downlink_bits());
}

// What the methods have in place of it.
void check_compressor_fields(Checker& checker, const v1::Compressor& compressor) {
  const std::pair<bool, const char*> fields[] = {
      {compressor.error_feedback(), "error_feedback"},
      {compressor.has_residual_decay() && compressor.residual_decay() != 1, "residual_decay"},
      {compressor.has_feedback(), "feedback"},
      {compressor.residual_bits() == 16, "residual_bits"},
  };
  for (const auto& [set, field] : fields) {
    if (set) {
      checker.add(absl::StrCat("spec.exchange.compressor.", field),
                  "is set with exchange.convex; allowed: unset, since the algorithm says what is "
                  "done with what a codec loses (EF_OLGA and EF21 send it later)");
    }
  }
}

// "" if the algorithm takes the codec, else the field that is wrong and what is allowed.
std::pair<std::string, std::string> wrong_codec(Convex::Algorithm algorithm,
                                                const v1::Compressor& compressor) {
  const std::string name = Convex::Algorithm_Name(algorithm);
  const bool none =
      compressor.has_none() || compressor.codec_case() == v1::Compressor::CODEC_NOT_SET;
  const bool unscaled = (compressor.rand_k().has_scaled() && !compressor.rand_k().scaled()) ||
                        (compressor.perm_k().has_scaled() && !compressor.perm_k().scaled());
  const bool scaled = compressor.rand_k().scaled() || compressor.perm_k().scaled();
  if (takes_no_codec(algorithm)) {
    return none ? std::pair<std::string, std::string>()
                : std::pair<std::string, std::string>(
                      "", absl::StrCat("is set with algorithm ", name,
                                       ", which sends float32; allowed: none"));
  }
  if (algorithm == Convex::DIANA || algorithm == Convex::MARINA) {
    return compressor.has_rand_k() && !unscaled
               ? std::pair<std::string, std::string>()
               : std::pair<std::string, std::string>(
                     "", absl::StrCat("does not suit algorithm ", name,
                                      "; allowed: rand_k, scaled or unset"));
  }
  if (compressor.has_auto_() || compressor.has_shared_index() || compressor.has_low_rank()) {
    return {"", absl::StrCat("does not suit exchange.convex, whose messages are vectors to rank 0; "
                             "allowed: none, quantize, top_k, chunked_top_k, rand_k, perm_k, "
                             "natural")};
  }
  if (compressor.quantize().has_rows()) {
    return {".quantize.rows",
            "is set with exchange.convex, whose messages have no rows; allowed: block"};
  }
  if (algorithm != Convex::OLGA) {
    return scaled ? std::pair<std::string, std::string>(
                        "", absl::StrCat("is scaled with algorithm ", name,
                                         ", which needs a contraction; allowed: scaled: false"))
                  : std::pair<std::string, std::string>();
  }
  const bool unbiased = none || compressor.has_natural() || compressor.quantize().stochastic() ||
                        ((compressor.has_rand_k() || compressor.has_perm_k()) && !unscaled);
  return unbiased ? std::pair<std::string, std::string>()
                  : std::pair<std::string, std::string>(
                        "",
                        "is biased with algorithm OLGA; allowed: none, rand_k, perm_k, natural, "
                        "quantize with stochastic: true, or algorithm EF_OLGA");
}

void check_surroundings(Checker& checker, const v1::TrainJobSpec& spec) {
  const v1::Exchange& exchange = spec.exchange();
  if (spec.model().model_case() != v1::Model::MODEL_NOT_SET && !spec.model().has_softmax() &&
      !spec.model().has_linear()) {
    checker.add(kPath,
                "needs a model whose loss is convex; allowed: with spec.model softmax or linear");
  }
  if (exchange.schedule() > v1::AUTO && exchange.schedule() != v1::STAR) {
    checker.add("spec.exchange.schedule",
                "is set with exchange.convex, whose workers talk to rank 0 alone; allowed: AUTO or "
                "STAR, which mean the same here");
  }
}

}  // namespace

void check_convex(Checker& checker, const v1::TrainJobSpec& spec) {
  const Convex& convex = spec.exchange().convex();
  check_surroundings(checker, spec);
  check_compressor_fields(checker, spec.exchange().compressor());
  check_ranges(checker, convex);
  if (!Convex::Algorithm_IsValid(convex.algorithm()) ||
      convex.algorithm() == Convex::ALGORITHM_UNSPECIFIED) {
    const std::string allowed = "OLGA, EF_OLGA, AEG, GD, AGD, DIANA, MARINA, EF21 or LAQ";
    if (convex.algorithm() == Convex::ALGORITHM_UNSPECIFIED) {
      checker.missing(kPath + ".algorithm", allowed);
    } else {
      checker.add(kPath + ".algorithm", absl::StrCat("is ", static_cast<int>(convex.algorithm()),
                                                     "; allowed: ", allowed));
    }
    return;
  }
  check_owned(checker, convex);
  const auto [field, problem] = wrong_codec(convex.algorithm(), spec.exchange().compressor());
  if (!problem.empty()) {
    checker.add("spec.exchange.compressor" + field, problem);
  }
}

void check_convex_train(Checker& checker, const v1::Train& train) {
  const std::pair<bool, const char*> fields[] = {
      {train.has_batch_size(), "batch_size"},
      {train.has_optimizer(), "optimizer"},
      {train.has_schedule(), "schedule"},
      {train.has_clip_norm(), "clip_norm"},
      {train.precision() != v1::Train::PRECISION_UNSPECIFIED, "precision"},
      {train.logit_adjustment() != 0, "logit_adjustment"},
  };
  for (const auto& [set, field] : fields) {
    if (set) {
      checker.add(absl::StrCat("spec.train.", field),
                  "is set with exchange.convex, whose algorithm takes the gradient over all "
                  "samples and makes its own steps; allowed: unset");
    }
  }
}

void fill_convex(v1::Exchange& exchange) {
  Convex& convex = *exchange.mutable_convex();
  const Convex::Algorithm algorithm = convex.algorithm();
  const bool similar = is_similarity_aware(algorithm);
  if (similar && convex.anchor() == Convex::ANCHOR_UNSPECIFIED) {
    convex.set_anchor(Convex::RANK_0);
  }
  if ((similar || algorithm == Convex::AGD) && !convex.has_convexity()) {
    convex.set_convexity(convex.l2());
  }
  if (is_olga(algorithm)) {
    convex.set_adapt_similarity(convex.has_adapt_similarity() ? convex.adapt_similarity()
                                                              : !convex.has_similarity());
    convex.set_gather_bits(convex.has_gather_bits() ? convex.gather_bits() : 32);
    convex.set_downlink_bits(convex.has_downlink_bits() ? convex.downlink_bits() : 32);
  }
  if (algorithm != Convex::AEG && !convex.theory() && !convex.has_step_scale()) {
    convex.set_step_scale(algorithm == Convex::EF_OLGA ? 0.25 : 1);
  }
  if (!convex.has_lazy() && (algorithm == Convex::EF_OLGA || algorithm == Convex::LAQ)) {
    convex.set_lazy(algorithm == Convex::LAQ ? 0.8 : 0);
  }
  v1::Compressor& compressor = *exchange.mutable_compressor();
  compressor.set_error_feedback(false);
  compressor.set_residual_decay(1);
  if (compressor.has_rand_k() && !compressor.rand_k().has_scaled()) {
    compressor.mutable_rand_k()->set_scaled(needs_unbiased(algorithm));
  }
  if (compressor.has_perm_k() && !compressor.perm_k().has_scaled()) {
    compressor.mutable_perm_k()->set_scaled(needs_unbiased(algorithm));
  }
}

}  // namespace laconic::wire
