#include "common/wire/method_spec.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace laconic::wire {
namespace {

constexpr Range kMomentum = {.low = 0, .high = 0.9999};
constexpr int64_t kMillion = 1'000'000;
constexpr int64_t kBillion = 1'000'000'000;
const char* const kPath = "spec.exchange.";

bool compresses(const v1::Compressor& compressor) {
  return compressor.codec_case() != v1::Compressor::CODEC_NOT_SET && !compressor.has_none();
}

// What a silent rank does not say is kept in its residual, instead of what receivers hold.
bool carries(const v1::Exchange& exchange) {
  return exchange.has_lazy() && exchange.compressor().feedback() == v1::ERROR_FEEDBACK;
}

// Receivers keep what was sent: one lossy stage of a codec that contracts, and nothing beside it.
void check_held_form(Checker& checker, const std::string& method, const v1::Exchange& exchange) {
  const std::string path = absl::StrCat(kPath, "compressor");
  const v1::Compressor& compressor = exchange.compressor();
  const std::string beside = absl::StrCat(" with ", method);
  if (compressor.has_shared_index() || compressor.has_auto_()) {
    checker.add(path, absl::StrCat("is ", compressor.has_auto_() ? "auto" : "shared_index", beside,
                                   "; allowed: a named codec without a shared index"));
  }
  if ((compressor.feedback() == v1::ERROR_FEEDBACK && !exchange.has_lazy()) ||
      (compressor.has_error_feedback() && !compressor.error_feedback() && compresses(compressor))) {
    checker.add(path + (compressor.has_feedback() ? ".feedback" : ".error_feedback"),
                absl::StrCat(compressor.has_feedback() ? "is ERROR_FEEDBACK" : "is false", beside,
                             ", which sends differences to what receivers hold; allowed: unset, or "
                             "feedback EF21"));
  }
  if (compressor.rand_k().scaled() || compressor.perm_k().scaled()) {
    checker.add(path + (compressor.has_rand_k() ? ".rand_k.scaled" : ".perm_k.scaled"),
                absl::StrCat("is true", beside, "; allowed: false"));
  }
  if (compressor.has_residual_decay() && compressor.residual_decay() != 1) {
    checker.add(path + ".residual_decay", absl::StrCat("is ", compressor.residual_decay(), beside,
                                                       ", which keeps no residual; allowed: 1"));
  }
  if (compressor.residual_bits() == 16) {
    checker.add(path + ".residual_bits",
                absl::StrCat("is 16", beside, ", which keeps no residual; allowed: 32"));
  }
}

void check_schedule_of(Checker& checker, const std::string& method, const v1::Exchange& exchange,
                       v1::ExchangeSchedule own) {
  const v1::ExchangeSchedule asked = exchange.schedule();
  if (asked > v1::AUTO && asked != own && v1::ExchangeSchedule_IsValid(asked)) {
    checker.add(absl::StrCat(kPath, "schedule"),
                absl::StrCat("is ", v1::ExchangeSchedule_Name(asked), " with ", method,
                             "; allowed: AUTO or ", v1::ExchangeSchedule_Name(own)));
  }
}

void check_no_compressor(Checker& checker, const std::string& method,
                         const v1::Exchange& exchange) {
  if (compresses(exchange.compressor())) {
    checker.add(absl::StrCat(kPath, "compressor"),
                absl::StrCat("is set with ", method, ", which compresses itself; allowed: none"));
  }
}

bool allowed_with_laq(const v1::Compressor& compressor) {
  const v1::Quantize& quantize = compressor.quantize();
  return !compresses(compressor) || (compressor.has_quantize() && !quantize.has_exponential() &&
                                     (quantize.bits() == 8 || quantize.bits() == 4));
}

void check_lazy(Checker& checker, const v1::Exchange& exchange) {
  const std::string path = absl::StrCat(kPath, "lazy");
  const v1::Lazy& lazy = exchange.lazy();
  if (lazy.has_rule() && lazy.rule() != v1::CLAG && lazy.rule() != v1::LAQ) {
    checker.add(path + ".rule",
                absl::StrCat("is ", static_cast<int>(lazy.rule()), "; allowed: CLAG or LAQ"));
  }
  if (lazy.rule() == v1::LAQ && !allowed_with_laq(exchange.compressor())) {
    checker.add(path + ".rule",
                "is LAQ with a codec whose error is larger than a third of a message, so that only "
                "age_max would ever send; allowed: CLAG, or the compressor none or quantize with 8 "
                "or 4 bits");
  }
  if (carries(exchange) && lazy.rule() == v1::LAQ) {
    checker.add(path + ".rule",
                "is LAQ with feedback ERROR_FEEDBACK; allowed: CLAG, or feedback EF21");
  }
  if (lazy.has_threshold()) {
    checker.number(path + ".threshold", lazy.threshold(), {.low = 0, .high = 1e6});
  }
  if (lazy.has_age_max()) {
    checker.integer(path + ".age_max", lazy.age_max(), 0, kMillion);
  }
  if (lazy.has_momentum()) {
    checker.number(path + ".momentum", lazy.momentum(), kMomentum);
  }
  if (lazy.has_inner_steps()) {
    checker.integer(path + ".inner_steps", lazy.inner_steps(), 1, kMillion);
  }
  for (const bool rate : {true, false}) {
    if (rate ? !lazy.has_outer_rate() : !lazy.has_outer_momentum()) {
      continue;
    }
    const std::string field = path + (rate ? ".outer_rate" : ".outer_momentum");
    if (!lazy.has_inner_steps()) {
      checker.add(field, "is set without inner_steps; allowed: unset, or inner_steps beside it");
    }
    checker.number(field, rate ? lazy.outer_rate() : lazy.outer_momentum(),
                   rate ? Range{.low = 0, .high = 10, .above = true} : kMomentum);
  }
  check_held_form(checker, "lazy", exchange);
  check_schedule_of(checker, "lazy", exchange, v1::ALL_GATHER);
}

void check_power_sgd(Checker& checker, const v1::Exchange& exchange) {
  const std::string path = absl::StrCat(kPath, "power_sgd");
  const v1::PowerSgd& power_sgd = exchange.power_sgd();
  if (power_sgd.has_rank()) {
    checker.integer(path + ".rank", power_sgd.rank(), 1, 256);
  }
  if (power_sgd.has_dense_steps()) {
    checker.integer(path + ".dense_steps", power_sgd.dense_steps(), 0, kBillion);
  }
  check_no_compressor(checker, "power_sgd", exchange);
  check_schedule_of(checker, "power_sgd", exchange, v1::SHARDED);
}

void check_demo(Checker& checker, const v1::Exchange& exchange) {
  const std::string path = absl::StrCat(kPath, "demo");
  const v1::Demo& demo = exchange.demo();
  const int32_t chunk = demo.has_chunk() ? demo.chunk() : core::DemoSpec().chunk;
  if (demo.has_momentum()) {
    checker.number(path + ".momentum", demo.momentum(), kMomentum);
  }
  if (chunk < 4 || chunk > 64) {
    checker.integer(path + ".chunk", chunk, 4, 64);
  } else if (demo.has_kept() || chunk != core::DemoSpec().chunk) {
    checker.integer(path + ".kept", demo.has_kept() ? demo.kept() : core::DemoSpec().kept, 1,
                    chunk * chunk / 4);
  }
  if (demo.has_basis() && demo.basis() != v1::DCT && demo.basis() != v1::IDENTITY) {
    checker.add(path + ".basis",
                absl::StrCat("is ", static_cast<int>(demo.basis()), "; allowed: DCT or IDENTITY"));
  }
  if (demo.has_taken()) {
    checker.number(path + ".taken", demo.taken(), {.low = 0, .high = 1, .above = true});
  }
  check_no_compressor(checker, "demo", exchange);
  check_schedule_of(checker, "demo", exchange, v1::ALL_GATHER);
}

void check_ef21(Checker& checker, const v1::Exchange& exchange) {
  if (exchange.ef21().has_momentum()) {
    checker.number(absl::StrCat(kPath, "ef21.momentum"), exchange.ef21().momentum(), kMomentum);
  }
  if (!compresses(exchange.compressor())) {
    checker.missing(absl::StrCat(kPath, "compressor"),
                    "with ef21 a codec that loses something, such as top_k: {density: 0.01}");
  }
  check_held_form(checker, "ef21", exchange);
  check_schedule_of(checker, "ef21", exchange, v1::ALL_GATHER);
}

void fill_lazy(v1::Lazy& lazy, bool carries) {
  const core::LazySpec defaults;
  lazy.set_rule(lazy.has_rule() ? lazy.rule() : v1::CLAG);
  const double threshold = carries ? 0.9 : lazy.rule() == v1::LAQ ? 0.8 : defaults.threshold;
  lazy.set_threshold(lazy.has_threshold() ? lazy.threshold() : threshold);
  lazy.set_age_max(lazy.has_age_max() ? lazy.age_max() : defaults.age_max);
  lazy.set_momentum(lazy.has_momentum() ? lazy.momentum() : defaults.momentum);
  if (lazy.has_inner_steps()) {
    lazy.set_outer_rate(lazy.has_outer_rate() ? lazy.outer_rate() : 0.7);
    lazy.set_outer_momentum(lazy.has_outer_momentum() ? lazy.outer_momentum() : 0.6);
  }
}

void fill_demo(v1::Demo& demo) {
  const core::DemoSpec defaults;
  demo.set_momentum(demo.has_momentum() ? demo.momentum() : defaults.momentum);
  demo.set_chunk(demo.has_chunk() ? demo.chunk() : defaults.chunk);
  demo.set_kept(demo.has_kept() ? demo.kept() : defaults.kept);
  demo.set_basis(demo.has_basis() ? demo.basis() : v1::DCT);
  demo.set_taken(demo.has_taken() ? demo.taken() : defaults.taken);
  demo.set_sign(demo.has_sign() ? demo.sign() : defaults.sign);
}

}  // namespace

void check_method_fields(Checker& checker, const v1::Exchange& exchange) {
  if (exchange.has_lazy()) {
    check_lazy(checker, exchange);
  } else if (exchange.has_power_sgd()) {
    check_power_sgd(checker, exchange);
  } else if (exchange.has_demo()) {
    check_demo(checker, exchange);
  } else if (exchange.has_ef21()) {
    check_ef21(checker, exchange);
  }
}

void fill_method(v1::Exchange& exchange) {
  const bool held = exchange.has_lazy() || exchange.has_ef21();
  if (held && compresses(exchange.compressor())) {
    exchange.mutable_compressor()->set_feedback(carries(exchange) ? v1::ERROR_FEEDBACK : v1::EF21);
  }
  if (held || exchange.has_demo()) {
    exchange.set_schedule(v1::ALL_GATHER);
  }
  if (exchange.has_lazy()) {
    fill_lazy(*exchange.mutable_lazy(), carries(exchange));
  } else if (exchange.has_power_sgd()) {
    v1::PowerSgd& power_sgd = *exchange.mutable_power_sgd();
    const core::PowerSgdSpec defaults;
    power_sgd.set_rank(power_sgd.has_rank() ? power_sgd.rank() : defaults.rank);
    power_sgd.set_dense_steps(power_sgd.has_dense_steps() ? power_sgd.dense_steps()
                                                          : defaults.dense_steps);
    exchange.set_schedule(v1::SHARDED);
  } else if (exchange.has_demo()) {
    fill_demo(*exchange.mutable_demo());
  } else if (exchange.has_ef21() && !exchange.ef21().has_momentum()) {
    exchange.mutable_ef21()->set_momentum(core::ExchangeSpec().ef21_momentum);
  }
}

std::vector<core::CodecSpec> method_codecs() {
  constexpr int kRowsBelow = 4;  // with so few bits a scale for each row pays for itself
  std::vector<core::CodecSpec> codecs(1);
  for (const int bits : {8, 4, 2, 1}) {
    core::CodecSpec codec;
    codec.kind = core::CodecKind::kQuantize;
    codec.bits = bits;
    codec.rows = bits < kRowsBelow;
    codecs.push_back(codec);
  }
  return codecs;
}

void set_method(const v1::Exchange& exchange, core::ExchangeSpec& spec) {
  if (exchange.has_lazy()) {
    const v1::Lazy& lazy = exchange.lazy();
    spec.method = core::Method::kLazy;
    spec.lazy = {.silence = carries(exchange) ? core::Silence::kCarry : core::Silence::kReuse,
                 .rule = lazy.rule() == v1::LAQ ? core::LazyRule::kLaq : core::LazyRule::kClag,
                 .threshold = lazy.threshold(),
                 .age_max = lazy.age_max(),
                 .momentum = lazy.momentum(),
                 .inner_steps = lazy.inner_steps()};
    if (lazy.has_inner_steps()) {
      spec.rounds.inner_steps = lazy.inner_steps();
      spec.outer_rate = lazy.outer_rate();
      spec.outer_momentum = lazy.outer_momentum();
    }
  } else if (exchange.has_power_sgd()) {
    spec.method = core::Method::kPowerSgd;
    spec.power_sgd = {.rank = exchange.power_sgd().rank(),
                      .dense_steps = exchange.power_sgd().dense_steps()};
  } else if (exchange.has_demo()) {
    const v1::Demo& demo = exchange.demo();
    spec.method = core::Method::kDemo;
    spec.demo = {.momentum = demo.momentum(),
                 .chunk = demo.chunk(),
                 .kept = demo.kept(),
                 .dct = demo.basis() != v1::IDENTITY,
                 .taken = demo.taken(),
                 .sign = demo.sign()};
  } else if (exchange.has_ef21()) {
    spec.method = core::Method::kEf21;
    spec.ef21_momentum = exchange.ef21().momentum();
  }
}

}  // namespace laconic::wire
