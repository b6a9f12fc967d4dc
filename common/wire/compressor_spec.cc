#include "common/wire/compressor_spec.h"

#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"

namespace laconic::wire {
namespace {

bool is_one_of(int64_t value, std::initializer_list<int64_t> allowed) {
  for (const int64_t candidate : allowed) {
    if (candidate == value) {
      return true;
    }
  }
  return false;
}

void check_quantize(Checker& checker, const std::string& path, const v1::Quantize& quantize) {
  const bool exponential = quantize.has_exponential();
  const std::string allowed = exponential ? "4, 3 or 2 with exponential" : "8, 4, 2 or 1";
  if (!quantize.has_bits()) {
    checker.missing(path + ".bits", allowed);
  } else if (exponential ? !is_one_of(quantize.bits(), {4, 3, 2})
                         : !is_one_of(quantize.bits(), {8, 4, 2, 1})) {
    checker.add(path + ".bits", absl::StrCat("is ", quantize.bits(), "; allowed: ", allowed));
  }
  const int32_t block = quantize.block();
  if (quantize.has_block() && (block < 16 || block > 65536 || (block & (block - 1)) != 0)) {
    checker.add(path + ".block",
                absl::StrCat("is ", block, "; allowed: a power of two in 16..65536"));
  }
  if (quantize.stochastic() && exponential) {
    checker.add(path + ".stochastic", "is true with exponential; allowed: true with block or rows");
  } else if (quantize.stochastic() && quantize.has_bits() && quantize.bits() < 4) {
    checker.add(path + ".stochastic", absl::StrCat("is true with ", quantize.bits(),
                                                   " bits; allowed: true with 8 or 4 bits"));
  }
}

void check_density(Checker& checker, const std::string& path, bool set, double density) {
  checker.required_number(path + ".density", set, density, {.low = 0, .high = 0.5, .above = true});
}

void check_value_bits(Checker& checker, const std::string& path, int32_t bits) {
  if (!is_one_of(bits, {32, 8, 4, 2, 1})) {
    checker.add(path + ".value_bits", absl::StrCat("is ", bits, "; allowed: 32, 8, 4, 2 or 1"));
  }
}

void check_chunked_top_k(Checker& checker, const std::string& path,
                         const v1::ChunkedTopK& chunked) {
  const int32_t chunk = chunked.has_chunk() ? chunked.chunk() : 4096;
  if (chunk < 64 || chunk > 65536 || (chunk & (chunk - 1)) != 0) {
    checker.add(path + ".chunk",
                absl::StrCat("is ", chunk, "; allowed: a power of two in 64..65536"));
  } else {
    checker.integer(path + ".kept", chunked.has_kept() ? chunked.kept() : 64, 1, chunk / 4);
  }
  if (chunked.has_value_bits()) {
    check_value_bits(checker, path, chunked.value_bits());
  }
}

void check_shared_index(Checker& checker, const std::string& path, const v1::SharedIndex& shared) {
  check_density(checker, path, shared.has_density(), shared.density());
  if (shared.has_value_bits() && !is_one_of(shared.value_bits(), {32, 8, 4})) {
    checker.add(path + ".value_bits",
                absl::StrCat("is ", shared.value_bits(), "; allowed: 32, 8 or 4"));
  }
  if (shared.has_agreement() && shared.agreement() != v1::LEADER &&
      shared.agreement() != v1::SKETCH) {
    checker.add(path + ".agreement", absl::StrCat("is ", static_cast<int>(shared.agreement()),
                                                  "; allowed: LEADER or SKETCH"));
  }
  if (shared.by_overlap() && shared.agreement() == v1::SKETCH) {
    checker.add(
        path + ".by_overlap",
        "is set with agreement SKETCH, whose blocks are no rank's own; allowed: with LEADER");
  }
  if (!shared.has_block()) {
    return;
  }
  const int32_t block = shared.block();
  if (shared.agreement() != v1::SKETCH) {
    checker.add(path + ".block", "is set without agreement SKETCH; allowed: with it only");
  } else if (block < 16 || block > 65536 || (block & (block - 1)) != 0) {
    checker.add(path + ".block",
                absl::StrCat("is ", block, "; allowed: a power of two in 16..65536"));
  }
}

void check_auto(Checker& checker, const std::string& path, const v1::Auto& planned) {
  if (planned.has_error_budget()) {
    checker.number(path + ".error_budget", planned.error_budget(),
                   {.low = 0, .high = 2, .above = true});
  }
  for (int i = 0; i < planned.codecs_size(); ++i) {
    const v1::PlannedCodec codec = planned.codecs(i);
    if (!v1::PlannedCodec_IsValid(codec) || codec == v1::PLANNED_CODEC_UNSPECIFIED) {
      checker.add(
          absl::StrCat(path, ".codecs[", i, "]"),
          absl::StrCat("is ", static_cast<int>(codec), "; allowed: FLOAT32, INT8, INT4 or TOP_K"));
    }
  }
  if (planned.has_density()) {
    check_density(checker, path, /*set=*/true, planned.density());
  }
}

bool has_entropy_stage(const v1::Compressor& compressor) {
  const v1::Quantize& quantize = compressor.quantize();
  const int32_t value_bits = compressor.chunked_top_k().value_bits();
  return compressor.has_natural() || compressor.has_top_k() || quantize.has_exponential() ||
         quantize.bits() >= 4 || value_bits == 8 || value_bits == 4;
}

bool loses_nothing(const v1::Compressor& compressor) {
  return compressor.has_none() || compressor.codec_case() == v1::Compressor::CODEC_NOT_SET;
}

// Scaled values are no contraction: what error feedback keeps would grow without limit.
bool is_scaled(const v1::Compressor& compressor) {
  return compressor.rand_k().scaled() || compressor.perm_k().scaled();
}

// Converges without error feedback.
bool is_unbiased(const v1::Compressor& compressor) {
  return is_scaled(compressor) || compressor.has_natural() || compressor.quantize().stochastic();
}

// Error feedback is on unless the job says otherwise.
bool needs_feedback(const v1::Compressor& compressor) {
  return !loses_nothing(compressor) && !is_unbiased(compressor);
}

void check_error_feedback(Checker& checker, const std::string& path,
                          const v1::Compressor& compressor) {
  if (!compressor.error_feedback()) {
    return;
  }
  if (loses_nothing(compressor)) {
    checker.add(path, "is true with a codec that loses nothing; allowed: true with a lossy codec");
  } else if (is_scaled(compressor)) {
    checker.add(path,
                "is true with scaled values, on which it diverges; allowed: true with scaled: "
                "false");
  }
}

void check_feedback(Checker& checker, const std::string& path, const v1::Compressor& compressor) {
  const bool off = compressor.has_error_feedback() && !compressor.error_feedback();
  const bool ef21 = compressor.feedback() == v1::EF21;
  if (compressor.has_feedback()) {
    const std::string form = v1::Feedback_Name(compressor.feedback());
    if (!v1::Feedback_IsValid(compressor.feedback()) ||
        compressor.feedback() == v1::FEEDBACK_UNSPECIFIED) {
      checker.add(path + ".feedback", absl::StrCat("is ", static_cast<int>(compressor.feedback()),
                                                   "; allowed: ERROR_FEEDBACK or EF21"));
    } else if (off) {
      checker.add(path + ".feedback", absl::StrCat("is ", form,
                                                   " with error_feedback false; "
                                                   "allowed: error_feedback true or unset"));
    } else if (loses_nothing(compressor) || is_scaled(compressor)) {
      checker.add(path + ".feedback", absl::StrCat("is ", form,
                                                   " with a codec that loses nothing or is scaled; "
                                                   "allowed: a lossy codec with scaled: false"));
    }
  }
  if (ef21 && compressor.has_shared_index()) {
    checker.add(path + ".feedback", "is EF21 with shared_index; allowed: ERROR_FEEDBACK");
  }
  if (ef21 && compressor.has_auto_()) {
    checker.add(
        path + ".feedback",
        "is EF21 with auto, whose ways are not all all-gather; allowed: ERROR_FEEDBACK, or a "
        "named codec");
  }
  if (ef21 && compressor.has_residual_decay() && compressor.residual_decay() != 1) {
    checker.add(path + ".residual_decay",
                absl::StrCat("is ", compressor.residual_decay(),
                             " with feedback EF21, which keeps no residual; allowed: 1 or unset"));
  }
  if (compressor.has_residual_bits()) {
    const int32_t bits = compressor.residual_bits();
    const bool kept = compressor.has_error_feedback() ? compressor.error_feedback()
                      : compressor.has_feedback()     ? true
                                                      : needs_feedback(compressor);
    if (bits == 16 && compressor.has_shared_index()) {
      checker.add(path + ".residual_bits", "is 16 with shared_index; allowed: 32");
    } else if (bits != 32 && bits != 16) {
      checker.add(path + ".residual_bits", absl::StrCat("is ", bits, "; allowed: 32 or 16"));
    } else if (bits == 16 && (ef21 || !kept)) {
      checker.add(path + ".residual_bits",
                  absl::StrCat("is 16 ", ef21 ? "with feedback EF21" : "without error feedback",
                               "; allowed: 16 with error feedback in the form ERROR_FEEDBACK"));
    }
  }
}

void fill_auto(v1::Auto& planned) {
  planned.set_error_budget(planned.has_error_budget() ? planned.error_budget() : 0.05);
  planned.set_density(planned.has_density() ? planned.density() : 0.01);
  if (planned.codecs().empty()) {
    for (const v1::PlannedCodec codec : {v1::FLOAT32, v1::INT8, v1::INT4, v1::TOP_K}) {
      planned.add_codecs(codec);
    }
  }
}

core::CodecSpec codec_spec(v1::PlannedCodec codec, double density) {
  core::CodecSpec spec;
  switch (codec) {
    case v1::INT8:
    case v1::INT4:
      spec.kind = core::CodecKind::kQuantize;
      spec.bits = codec == v1::INT8 ? 8 : 4;
      break;
    case v1::TOP_K:
      spec.kind = core::CodecKind::kTopK;
      spec.bits = 4;
      spec.density = density;
      break;
    default:
      break;
  }
  return spec;
}

}  // namespace

void check_compressor(Checker& checker, const v1::Compressor& compressor) {
  const std::string path = "spec.exchange.compressor";
  if (compressor.codec_case() == v1::Compressor::CODEC_NOT_SET) {
    checker.missing(
        path,
        "one of none, quantize, top_k, chunked_top_k, rand_k, perm_k, natural, low_rank, "
        "shared_index, auto");
  }
  if (compressor.has_auto_()) {
    check_auto(checker, path + ".auto", compressor.auto_());
  }
  if (compressor.has_quantize()) {
    check_quantize(checker, path + ".quantize", compressor.quantize());
  }
  if (compressor.has_top_k()) {
    const v1::TopK& top_k = compressor.top_k();
    check_density(checker, path + ".top_k", top_k.has_density(), top_k.density());
    if (top_k.exponential() && top_k.has_value_bits()) {
      if (!is_one_of(top_k.value_bits(), {4, 3, 2})) {
        checker.add(
            path + ".top_k.value_bits",
            absl::StrCat("is ", top_k.value_bits(), " with exponential; allowed: 4, 3 or 2"));
      }
    } else if (top_k.has_value_bits()) {
      check_value_bits(checker, path + ".top_k", top_k.value_bits());
    }
  }
  if (compressor.has_rand_k()) {
    check_density(checker, path + ".rand_k", compressor.rand_k().has_density(),
                  compressor.rand_k().density());
  }
  if (compressor.has_chunked_top_k()) {
    check_chunked_top_k(checker, path + ".chunked_top_k", compressor.chunked_top_k());
  }
  if (compressor.has_low_rank()) {
    checker.required_integer(path + ".low_rank.rank", compressor.low_rank().has_rank(),
                             compressor.low_rank().rank(), 1, 256);
  }
  if (compressor.has_shared_index()) {
    check_shared_index(checker, path + ".shared_index", compressor.shared_index());
  }
  if (compressor.entropy() && !has_entropy_stage(compressor)) {
    checker.add(
        path + ".entropy",
        "is true with a codec that has no such stage; allowed: true with quantize in 8 or 4 "
        "bits or exponential, natural, top_k, chunked_top_k with 8 or 4 value_bits");
  }
  check_error_feedback(checker, path + ".error_feedback", compressor);
  check_feedback(checker, path, compressor);
  if (compressor.has_residual_decay()) {
    checker.number(path + ".residual_decay", compressor.residual_decay(), {.low = 0, .high = 1});
  }
}

void fill_compressor(v1::Compressor& compressor, bool local) {
  if (compressor.codec_case() == v1::Compressor::CODEC_NOT_SET) {
    compressor.mutable_none();
  }
  if (compressor.has_quantize() &&
      compressor.quantize().scale_case() == v1::Quantize::SCALE_NOT_SET) {
    compressor.mutable_quantize()->set_block(256);
  }
  if (compressor.has_top_k() && !compressor.top_k().has_value_bits()) {
    compressor.mutable_top_k()->set_value_bits(4);
  }
  if (compressor.has_chunked_top_k()) {
    v1::ChunkedTopK& chunked = *compressor.mutable_chunked_top_k();
    chunked.set_kept(chunked.has_kept() ? chunked.kept() : 64);
    chunked.set_chunk(chunked.has_chunk() ? chunked.chunk() : 4096);
    chunked.set_value_bits(chunked.has_value_bits() ? chunked.value_bits() : 2);
  }
  if (compressor.has_shared_index()) {
    v1::SharedIndex& shared = *compressor.mutable_shared_index();
    shared.set_value_bits(shared.has_value_bits() ? shared.value_bits() : 32);
    shared.set_agreement(shared.has_agreement() ? shared.agreement() : v1::LEADER);
    if (shared.agreement() == v1::SKETCH && !shared.has_block()) {
      shared.set_block(64);
    }
  }
  if (compressor.has_auto_()) {
    fill_auto(*compressor.mutable_auto_());
  }
  if (!compressor.has_error_feedback()) {
    compressor.set_error_feedback(compressor.has_feedback() || needs_feedback(compressor));
  }
  if (compressor.has_rand_k() && !compressor.rand_k().has_scaled()) {
    compressor.mutable_rand_k()->set_scaled(!compressor.error_feedback());
  }
  if (compressor.has_perm_k() && !compressor.perm_k().has_scaled()) {
    compressor.mutable_perm_k()->set_scaled(!compressor.error_feedback());
  }
  if (!compressor.has_residual_decay()) {
    compressor.set_residual_decay(local && compressor.feedback() != v1::EF21 ? 0.9 : 1.0);
  }
}

void set_shared_index(const v1::Compressor& compressor, core::ExchangeSpec& spec) {
  if (!compressor.has_shared_index()) {
    return;
  }
  const v1::SharedIndex& shared = compressor.shared_index();
  spec.shared_index = {.density = shared.density(),
                       .value_bits = shared.value_bits(),
                       .agreement = shared.agreement() == v1::SKETCH ? core::Agreement::kSketch
                                                                     : core::Agreement::kLeader,
                       .block = shared.has_block() ? shared.block() : 64,
                       .by_overlap = shared.by_overlap()};
  if (spec.schedule == core::Schedule::kAuto) {
    spec.schedule = core::Schedule::kSharded;
  }
}

void set_feedback(const v1::Compressor& compressor, core::ExchangeSpec& spec) {
  spec.error_feedback = compressor.error_feedback();
  spec.residual_decay = compressor.residual_decay();
  spec.half_residuals = compressor.residual_bits() == 16;
  if (spec.error_feedback && compressor.feedback() == v1::EF21) {
    spec.feedback = core::FeedbackForm::kEf21;
    spec.schedule = core::Schedule::kAllGather;
  }
}

core::CodecSpec codec_spec(const v1::Compressor& compressor) {
  core::CodecSpec codec;
  codec.entropy = compressor.entropy();
  if (compressor.has_quantize()) {
    codec.kind = compressor.quantize().has_exponential() ? core::CodecKind::kExponential
                                                         : core::CodecKind::kQuantize;
    codec.bits = compressor.quantize().bits();
    codec.rows = compressor.quantize().has_rows();
    codec.stochastic = compressor.quantize().stochastic();
    if (compressor.quantize().has_block()) {
      codec.block = compressor.quantize().block();
    }
  } else if (compressor.has_top_k()) {
    codec.kind = core::CodecKind::kTopK;
    codec.bits = compressor.top_k().value_bits();
    codec.density = compressor.top_k().density();
    codec.exponential = compressor.top_k().exponential();
  } else if (compressor.has_rand_k()) {
    codec.kind = core::CodecKind::kRandK;
    codec.density = compressor.rand_k().density();
    codec.scaled = compressor.rand_k().scaled();
  } else if (compressor.has_perm_k()) {
    codec.kind = core::CodecKind::kPermK;
    codec.scaled = compressor.perm_k().scaled();
  } else if (compressor.has_chunked_top_k()) {
    codec.kind = core::CodecKind::kChunkedTopK;
    codec.bits = compressor.chunked_top_k().value_bits();
    codec.chunk = compressor.chunked_top_k().chunk();
    codec.per_chunk = compressor.chunked_top_k().kept();
  } else if (compressor.has_low_rank()) {
    codec.kind = core::CodecKind::kLowRank;
    codec.factors = compressor.low_rank().rank();
  } else if (compressor.has_natural()) {
    codec.kind = core::CodecKind::kNatural;
  }
  return codec;
}

std::vector<core::CodecSpec> candidate_codecs(const v1::Compressor& compressor) {
  std::vector<core::CodecSpec> candidates;
  for (const int codec : compressor.auto_().codecs()) {
    candidates.push_back(
        codec_spec(static_cast<v1::PlannedCodec>(codec), compressor.auto_().density()));
  }
  return candidates;
}

}  // namespace laconic::wire
