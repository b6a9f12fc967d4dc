#include "bench/all_reduce_rank.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/gloo_peer.h"
#include "bench/mean_check.h"
#include "bench/report.h"
#include "bench/vectors.h"
#include "common/collective/grpc_transport.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"
#include "common/sync/exchange_planner.h"
#include "common/sync/mean_exchange.h"
#include "tests/testing/link_proxy.h"

namespace laconic::bench {
namespace {

constexpr absl::Duration kDeadline = absl::Minutes(5);
constexpr int64_t kColumns = 4096;
constexpr size_t kShifts = 1 << 16;
constexpr const char* kGloo = "gloo_ring";
constexpr const char* kPlanned = "planned";

struct Method {
  std::string name;
  core::CodecSpec codec;
  ErrorBound bound;
};

// The bounds are those of normal numbers with two lossy stages, one at the sender and one at the
// rank that sums up, times 3/2.
std::vector<Method> methods() {
  using core::CodecKind;
  return {{"dense", {}, {.error_max = 1e-12}},
          {"int8", {.kind = CodecKind::kQuantize, .bits = 8, .block = 256}, {.error_max = 2e-4}},
          {"int4", {.kind = CodecKind::kQuantize, .bits = 4, .block = 256}, {.error_max = 0.05}},
          {"top1pct",
           {.kind = CodecKind::kTopK, .bits = 4, .density = 0.01},
           {.error_max = 1, .projection_max = 0.1}},
          {kPlanned, {}, {.error_max = 0.05}}};
}

// Within the default error budget of a job.
core::ExchangeSpec spec_of(const Method& method) {
  core::ExchangeSpec spec;
  spec.codec = method.codec;
  spec.error_feedback = method.codec.lossy();
  if (method.name == kPlanned) {
    spec.error_feedback = true;
    spec.error_budget = 0.05;
    for (const Method& other : methods()) {
      if (other.name != kPlanned) {
        spec.candidates.push_back(other.codec);
      }
    }
  }
  return spec;
}

bool is_wanted(const RankOptions& options, const std::string& method) {
  return options.methods.empty() || std::ranges::count(options.methods, method) > 0;
}

core::Layout layout_of(int64_t elements) {
  core::Layout layout;
  if (const int64_t rows = elements / kColumns; rows > 0) {
    layout.tensors.push_back({"weight", rows, kColumns});
  }
  if (const int64_t rest = elements % kColumns; rest > 0) {
    layout.tensors.push_back({"bias", 1, rest});
  }
  return layout;
}

std::string file_of(const std::string& directory, const char* what, int rank) {
  return absl::StrCat(directory, "/", what, ".", rank);
}

// Appears whole or not at all.
void write_whole(const std::string& path, const std::string& text) {
  std::ofstream(path + ".part") << text;
  std::filesystem::rename(path + ".part", path);
}

absl::StatusOr<std::string> wait_for_line(const std::string& path, absl::Time deadline) {
  while (absl::Now() < deadline) {
    std::ifstream file(path);
    if (std::string line; std::getline(file, line)) {
      return line;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  return absl::DeadlineExceededError(absl::StrCat(path, " did not appear: did that rank start?"));
}

absl::StatusOr<std::unique_ptr<collective::GrpcTransport>> connect(
    const RankOptions& options, std::unique_ptr<testing::LinkProxy>& proxy) {
  collective::GrpcTransportOptions transport_options;
  transport_options.rank = options.rank;
  transport_options.world_size = options.world_size;
  transport_options.host = options.host;
  transport_options.job_id = "all_reduce_bench";
  transport_options.peer_token = options.directory;  // Known to the ranks of this run only.
  LACONIC_ASSIGN_OR_RETURN(auto transport, collective::GrpcTransport::create(transport_options));
  if (options.proxy_bits_per_s > 0) {
    const testing::LinkFaults link{
        .delay = absl::Seconds(options.proxy_delay_s),
        .bytes_per_s = static_cast<int64_t>(options.proxy_bits_per_s / 8)};
    proxy = std::make_unique<testing::LinkProxy>(testing::LinkOptions{
        .target = transport->address(), .to_target = link, .from_target = link});
  }
  write_whole(file_of(options.directory, "address", options.rank),
              (proxy == nullptr ? transport->address() : proxy->address()) + "\n");
  std::vector<std::string> addresses;
  for (int rank = 0; rank < options.world_size; ++rank) {
    LACONIC_ASSIGN_OR_RETURN(
        std::string address,
        wait_for_line(file_of(options.directory, "address", rank), absl::Now() + kDeadline));
    addresses.push_back(std::move(address));
  }
  LACONIC_RETURN_IF_ERROR(transport->connect(/*generation=*/1, addresses, absl::Now() + kDeadline));
  return transport;
}

class Rank {
 public:
  Rank(const RankOptions& options, collective::Transport& transport)
      : options_(options),
        communicator_(transport, /*generation=*/1, kDeadline),
        numbers_(normal_numbers(1, options.elements + static_cast<int64_t>(kShifts))),
        result_(static_cast<size_t>(options.elements)) {
    if (options.rank == 0) {
      check_.emplace(result_.size());
    }
  }

  absl::Status run() {
    if (options_.proxy_bits_per_s == 0 && is_wanted(options_, kGloo)) {
      gloo_ = make_gloo_peer(options_.rank, options_.world_size, options_.host, options_.directory);
    }
    const core::Layout layout = layout_of(options_.elements);
    for (const Method& method : methods()) {
      if (!is_wanted(options_, method.name)) {
        continue;
      }
      core::ExchangeSpec spec = spec_of(method);
      if (!spec.candidates.empty()) {
        LACONIC_ASSIGN_OR_RETURN(const sync::PlannedExchange planned,
                                 sync::plan_exchange(spec, layout, communicator_));
        spec = planned.spec;
        if (options_.rank == 0) {
          std::cerr << planned.plan.explanation << "\n";
        }
      }
      wanted_.push_back(method);
      LACONIC_ASSIGN_OR_RETURN(exchanges_.emplace_back(),
                               sync::MeanExchange::make(spec, layout, communicator_));
    }
    // The first round is not measured.
    for (int repetition = -1; repetition < options_.repetitions; ++repetition) {
      LACONIC_RETURN_IF_ERROR(run_round(repetition));
    }
    return absl::OkStatus();
  }

  std::string samples() const {
    std::string text;
    for (const RankSample& sample : samples_) {
      absl::StrAppend(&text, sample.method, " ", sample.repetition, " ", sample.seconds, " ",
                      sample.cpu_seconds, " ", sample.bytes_sent, " ", sample.digest, "\n");
    }
    return text;
  }

 private:
  // A part of the same numbers for each rank and round, from another place.
  std::span<const float> vector_of(int rank, int repetition) const {
    const auto place = static_cast<size_t>(rank * 7919 + (repetition + 1) * 104'729) % kShifts;
    return std::span(numbers_).subspan(place, result_.size());
  }

  absl::Status run_round(int repetition) {
    if (check_.has_value()) {
      std::vector<std::span<const float>> vectors;
      for (int rank = 0; rank < options_.world_size; ++rank) {
        vectors.push_back(vector_of(rank, repetition));
      }
      check_->start_round(vectors);
    }
    const std::span<const float> own = vector_of(options_.rank, repetition);
    if (gloo_ != nullptr) {
      std::copy(own.begin(), own.end(), result_.begin());
      LACONIC_RETURN_IF_ERROR(measure(kGloo, repetition, [&] {
        gloo_->all_reduce_sum(result_);
        return absl::OkStatus();
      }));
      for (float& value : result_) {
        value /= static_cast<float>(options_.world_size);
      }
      LACONIC_RETURN_IF_ERROR(check(kGloo, {.error_max = 1e-12}));
    }
    for (size_t i = 0; i < wanted_.size(); ++i) {
      LACONIC_RETURN_IF_ERROR(
          measure(wanted_[i].name, repetition, [&] { return exchanges_[i]->mean(own, result_); }));
      LACONIC_RETURN_IF_ERROR(check(wanted_[i].name, wanted_[i].bound));
    }
    return absl::OkStatus();
  }

  template <typename Operation>
  absl::Status measure(const std::string& method, int repetition, Operation operation) {
    LACONIC_RETURN_IF_ERROR(barrier());
    const int64_t sent = communicator_.bytes().sent;
    const double start = wall_seconds();
    const double cpu_start = process_cpu_seconds();
    LACONIC_RETURN_IF_ERROR(operation());
    const double seconds = wall_seconds() - start;
    const double cpu_seconds = process_cpu_seconds() - cpu_start;
    if (repetition >= 0) {
      samples_.push_back({.method = method,
                          .repetition = repetition,
                          .seconds = seconds,
                          .cpu_seconds = cpu_seconds,
                          .bytes_sent = communicator_.bytes().sent - sent,
                          .digest = core::digest(result_)});
    }
    return absl::OkStatus();
  }

  absl::Status barrier() {
    return communicator_.all_gather(collective::Payload(), 0, {.round = barriers_++}).status();
  }

  absl::Status check(const std::string& method, const ErrorBound& bound) {
    return check_.has_value() ? check_->check(method, bound, result_) : absl::OkStatus();
  }

  const RankOptions options_;
  collective::Communicator communicator_;
  const std::vector<float> numbers_;
  std::vector<float> result_;
  std::optional<MeanCheck> check_;  // of rank 0; the others' results must equal its own
  std::unique_ptr<GlooPeer> gloo_;
  std::vector<Method> wanted_;
  std::vector<std::unique_ptr<sync::MeanExchange>> exchanges_;  // of wanted_
  uint64_t barriers_ = 0;
  std::vector<RankSample> samples_;
};

}  // namespace

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  if (has_gloo()) {
    names.emplace_back(kGloo);
  }
  for (const Method& method : methods()) {
    names.push_back(method.name);
  }
  return names;
}

absl::Status run_rank(const RankOptions& options) {
  std::unique_ptr<testing::LinkProxy> proxy;
  LACONIC_ASSIGN_OR_RETURN(const auto transport, connect(options, proxy));
  Rank rank(options, *transport);
  LACONIC_RETURN_IF_ERROR(rank.run());
  LACONIC_RETURN_IF_ERROR(transport->finish(absl::Now() + kDeadline));
  write_whole(file_of(options.directory, "samples", options.rank), rank.samples());
  return absl::OkStatus();
}

std::vector<RankSample> read_samples(const std::string& directory, int rank) {
  std::vector<RankSample> samples;
  std::ifstream file(file_of(directory, "samples", rank));
  RankSample sample;
  while (file >> sample.method >> sample.repetition >> sample.seconds >> sample.cpu_seconds >>
         sample.bytes_sent >> sample.digest) {
    samples.push_back(sample);
  }
  return samples;
}

}  // namespace laconic::bench
