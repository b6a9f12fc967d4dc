#include "bench/gpu_rows.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/contest.h"
#include "bench/vectors.h"
#include "common/compress/codec.h"
#include "common/compress/cuda/cuda_machine.h"
#include "common/compress/cuda/device_codec.h"
#include "common/compress/cuda/device_error_feedback.h"
#include "common/compress/cuda/top_k_args.h"
#include "common/core/payload_size.h"

namespace laconic::bench {
namespace {

using compress::cuda::DeviceCodec;
using compress::cuda::DeviceErrorFeedback;
using compress::cuda::DeviceMemory;
using compress::cuda::Machine;
using compress::cuda::TopKState;

constexpr double kDensity = 0.01;
constexpr float kDecay = 0.9F;
// Rounds until a threshold can be reused: as in codec_rows.cc.
constexpr int kSettleRounds = 40;
constexpr int kRanks = 8;
// Numbers made on the CPU; longer vectors repeat them.
constexpr int64_t kNumbers = (int64_t{1} << 22) + 7919;
// Each round begins at another place of the inputs, by a multiple of 16 bytes.
constexpr int64_t kShift = 4 * 7919;
constexpr int64_t kShifts = 32;

constexpr core::CodecSpec kTopK = {.kind = core::CodecKind::kTopK, .bits = 4, .density = kDensity};
constexpr core::CodecSpec kInt8 = {.kind = core::CodecKind::kQuantize, .bits = 8, .block = 256};
constexpr core::CodecSpec kInt4 = {.kind = core::CodecKind::kQuantize, .bits = 4, .block = 64};

core::Layout flat(int64_t elements) {
  return {.tensors = {{"w", 1, elements}}};
}

void require_ok(const absl::Status& status, const char* what) {
  require(status.ok(), absl::StrCat(what, ": ", std::string(status.message())));
}

void require_ok(cudaError_t error, const char* what) {
  require(error == cudaSuccess, absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

// Everything that rows share: the device, the inputs, what a copy reaches.
class Bench {
 public:
  Bench(const GpuBenchOptions& options, Report& report) : options_(options), report_(report) {
    auto machine = compress::cuda::make_cuda_machine(options.device);
    require_ok(machine.status(), "device");
    machine_ = *std::move(machine);
    require_ok(cudaSetDevice(options.device), "cudaSetDevice");
    require_ok(cudaEventCreate(&begin_), "cudaEventCreate");
    require_ok(cudaEventCreate(&end_), "cudaEventCreate");
    numbers_ = normal_numbers(1, kNumbers);
    const int64_t count = elements() + kShift * kShifts;
    input_ = allocate(static_cast<size_t>(count) * sizeof(float));
    for (int64_t at = 0; at < count; at += kNumbers) {
      const auto size = static_cast<size_t>(std::min(kNumbers, count - at)) * sizeof(float);
      require_ok(machine_->copy_to_device(input_.as<float>() + at, numbers_.data(), size, nullptr),
                 "input");
    }
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() {
    static_cast<void>(cudaEventDestroy(begin_));
    static_cast<void>(cudaEventDestroy(end_));
  }

  int64_t elements() const { return options_.elements; }
  const GpuBenchOptions& options() const { return options_; }
  Machine& machine() { return *machine_; }
  std::span<const float> numbers() const { return numbers_; }
  const float* input(int round) const { return input_.as<float>() + kShift * (round % kShifts); }

  DeviceMemory allocate(size_t bytes) {
    auto memory = DeviceMemory::make(*machine_, bytes);
    require_ok(memory.status(), "device memory");
    return *std::move(memory);
  }

  std::unique_ptr<DeviceCodec> codec(const core::CodecSpec& spec, int64_t elements) {
    auto made = compress::cuda::make_device_codec(spec, flat(elements), *machine_);
    require_ok(made.status(), "codec");
    return *std::move(made);
  }

  double seconds_of(const std::function<void()>& work) {
    require_ok(cudaEventRecord(begin_, nullptr), "cudaEventRecord");
    work();
    require_ok(cudaEventRecord(end_, nullptr), "cudaEventRecord");
    require_ok(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    require_ok(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }

  // Runs once to warm up, then `repetitions` times. Returns GB/s over `bytes`; a run counts only if
  // after() says so.
  Samples measure(
      double bytes, const std::function<void(int)>& work,
      const std::function<bool()>& after = [] { return true; }) {
    Samples samples;
    for (int round = 0; round <= options_.repetitions; ++round) {
      const double seconds = seconds_of([&] { work(round); });
      if (after() && round > 0) {
        samples.add(1e-9 * bytes / seconds);
      }
    }
    return samples;
  }

  double float_bytes() const { return static_cast<double>(elements()) * sizeof(float); }

  void measure_copy() {
    const DeviceMemory to = allocate(static_cast<size_t>(float_bytes()));
    copy_ = measure(2 * float_bytes(), [&](int round) {
      require_ok(cudaMemcpyAsync(to.as<void>(), input(round), to.bytes(), cudaMemcpyDeviceToDevice,
                                 nullptr),
                 "cudaMemcpyAsync");
    });
    report_.add("device_copy", copy_, "GB/s");
  }

  // value_bytes, traffic_bytes: per element.
  void add_row(const std::string& name, const Samples& samples, double value_bytes,
               double traffic_bytes) {
    require(!samples.values.empty(), name + ": no run was of this kind");
    Samples ceiling;
    for (const double speed : copy_.values) {
      ceiling.add(speed * value_bytes / traffic_bytes);
    }
    report_.add(name, samples, "GB/s", "copy ceiling", ceiling);
  }

  Report& report() { return report_; }

 private:
  const GpuBenchOptions options_;
  Report& report_;
  std::unique_ptr<Machine> machine_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
  std::vector<float> numbers_;
  DeviceMemory input_;
  Samples copy_;
};

double payload_share(const DeviceCodec& codec) {
  return static_cast<double>(codec.payload_bytes_max()) / static_cast<double>(codec.elements());
}

// A payload of this device beside that of the scalar code: a wrong one has no speed.
void check_bytes(Bench& bench, const core::CodecSpec& spec) {
  const auto elements = std::min<int64_t>(kNumbers, bench.elements());
  const auto scalar = compress::make_codec(spec, flat(elements));
  require_ok(scalar.status(), "codec");
  const auto expected = (*scalar)->encode(bench.numbers().first(static_cast<size_t>(elements)));
  require_ok(expected.status(), "scalar encode");
  const auto codec = bench.codec(spec, elements);
  auto feedback = DeviceErrorFeedback::make(*codec, bench.machine(), true, 1);
  require_ok(feedback.status(), "feedback");
  const DeviceMemory payload = bench.allocate(static_cast<size_t>(codec->capacity_bytes()));
  const DeviceMemory size = bench.allocate(sizeof(uint64_t));
  require_ok(
      (*feedback)->encode(bench.input(0), payload.as<uint8_t>(), size.as<uint64_t>(), nullptr),
      "encode");
  require_ok((*feedback)->check(nullptr), "encode");
  std::vector<uint8_t> bytes(expected->size());
  require_ok(bench.machine().copy_to_host(bytes.data(), payload.as<void>(), bytes.size(), nullptr),
             "copy");
  require(bytes == *expected, "the payload differs from that of the scalar code");
}

void add_quantize_rows(Bench& bench, const core::CodecSpec& spec, const std::string& name) {
  check_bytes(bench, spec);
  const auto codec = bench.codec(spec, bench.elements());
  const double share = payload_share(*codec);
  const auto capacity = static_cast<size_t>(codec->capacity_bytes());
  const DeviceMemory payloads = bench.allocate(kRanks * capacity);
  const DeviceMemory fault = bench.allocate(sizeof(uint64_t));
  require_ok(bench.machine().fill(fault.as<void>(), 0xFF, sizeof(uint64_t), nullptr), "fill");
  const auto encode = [&](int round, float* a) {
    require_ok(codec->encode({.v = bench.input(round),
                              .a = a,
                              .decay = kDecay,
                              .payload = payloads.as<uint8_t>() + (round % kRanks) * capacity,
                              .fault = fault.as<uint64_t>()},
                             nullptr),
               "encode");
  };
  for (int rank = 0; rank < kRanks; ++rank) {
    encode(rank, nullptr);
  }
  bench.add_row(name + "_quantize",
                bench.measure(bench.float_bytes(), [&](int round) { encode(round, nullptr); }), 4,
                4 + share);
  const DeviceMemory a = bench.allocate(static_cast<size_t>(bench.float_bytes()));
  require_ok(bench.machine().fill(a.as<void>(), 0, a.bytes(), nullptr), "fill");
  bench.add_row(
      name + "_feedback_quantize",
      bench.measure(bench.float_bytes(), [&](int round) { encode(round, a.as<float>()); }), 4,
      12 + share);
  const auto decode = [&](int /*round*/) {
    require_ok(codec->decode({.payloads = payloads.as<uint8_t>(),
                              .stride_bytes = codec->capacity_bytes(),
                              .count = kRanks,
                              .divisor = kRanks,
                              .out = a.as<float>(),
                              .fault = fault.as<uint64_t>()},
                             nullptr),
               "decode");
  };
  bench.add_row(absl::StrCat(name, "_decode_mean_p", kRanks),
                bench.measure(kRanks * bench.float_bytes(), decode), 4 * kRanks,
                4 + kRanks * share);
  uint64_t found = 0;
  require_ok(bench.machine().copy_to_host(&found, fault.as<void>(), sizeof found, nullptr), "copy");
  require(found == compress::cuda::kNoFault, name + ": a fault was found");
}

// torch.topk in a process of its own, after ours.
void add_torch_row(Bench& bench, const Samples& exact) {
  const std::string command = absl::StrCat("'", bench.options().python, "' '", LACONIC_SOURCE_DIR,
                                           "/bench/gpu_torch_peer.py' ", bench.elements(), " ",
                                           core::kept_elements(kDensity, bench.elements()), " ",
                                           bench.options().repetitions);
  Samples samples;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 128> line{};
  while (pipe != nullptr && fgets(line.data(), line.size(), pipe.get()) != nullptr) {
    const double seconds = std::strtod(line.data(), nullptr);
    if (seconds > 0) {
      samples.add(1e-9 * bench.float_bytes() / seconds);
    }
  }
  if (samples.values.empty()) {
    std::cerr << "gpu_bench: NO torch with CUDA in " << bench.options().python
              << ": the peer torch.topk is left out\n";
    return;
  }
  bench.report().add("top_k_exact_1pct", exact, "GB/s", "torch.topk", samples);
}

void add_top_k_rows(Bench& bench) {
  check_bytes(bench, kTopK);
  const auto codec = bench.codec(kTopK, bench.elements());
  auto made = DeviceErrorFeedback::make(*codec, bench.machine(), true, kDecay);
  require_ok(made.status(), "feedback");
  DeviceErrorFeedback& feedback = **made;
  const auto capacity = static_cast<size_t>(codec->capacity_bytes());
  const DeviceMemory payloads = bench.allocate(kRanks * capacity);
  const DeviceMemory sizes = bench.allocate(kRanks * sizeof(uint64_t));
  int round = 0;
  const auto encode = [&](int /*repetition*/) {
    const int slot = round % kRanks;
    require_ok(feedback.encode(bench.input(round++), payloads.as<uint8_t>() + slot * capacity,
                               sizes.as<uint64_t>() + slot, nullptr),
               "encode");
  };
  const auto commit = [&] { require_ok(feedback.commit(nullptr), "commit"); };
  for (int settle = 0; settle < kSettleRounds; ++settle) {
    encode(0);
    commit();
  }
  const auto age = [&] {
    TopKState state;
    require_ok(feedback.copy_state(&state, sizeof state, nullptr), "state");
    return state.age;
  };
  const auto reused = [&] {
    commit();
    return age() > 0;
  };
  // Rounds that renew the threshold are left out of the row.
  bench.add_row("top_k_reused_1pct", bench.measure(bench.float_bytes(), encode, reused), 4, 12);
  const auto exact_round = [&](int repetition) { encode(repetition); };
  const auto forget = [&] {
    commit();
    require_ok(feedback.reset_state(nullptr), "state");
    return true;
  };
  require_ok(feedback.reset_state(nullptr), "state");
  const Samples exact = bench.measure(bench.float_bytes(), exact_round, forget);
  bench.add_row("top_k_exact_1pct", exact, 4, 16);
  add_torch_row(bench, exact);
  const DeviceMemory out = bench.allocate(static_cast<size_t>(bench.float_bytes()));
  const DeviceMemory fault = bench.allocate(sizeof(uint64_t));
  require_ok(bench.machine().fill(fault.as<void>(), 0xFF, sizeof(uint64_t), nullptr), "fill");
  const auto decode = [&](int /*repetition*/) {
    require_ok(codec->decode({.payloads = payloads.as<uint8_t>(),
                              .stride_bytes = codec->capacity_bytes(),
                              .payload_bytes = sizes.as<uint64_t>(),
                              .count = kRanks,
                              .out = out.as<float>(),
                              .fault = fault.as<uint64_t>()},
                             nullptr),
               "decode");
  };
  bench.add_row(absl::StrCat("top_k_1pct_decode_sum_p", kRanks),
                bench.measure(bench.float_bytes(), decode), 4, 4 + kRanks * kDensity * 8);
  require_ok(feedback.check(nullptr), "top-k");
}

}  // namespace

void add_gpu_rows(const GpuBenchOptions& options, Report& report) {
  Bench bench(options, report);
  bench.measure_copy();
  add_quantize_rows(bench, kInt4, "int4");
  add_quantize_rows(bench, kInt8, "int8");
  add_top_k_rows(bench);
}

}  // namespace laconic::bench
