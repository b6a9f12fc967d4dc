// Device codecs on one GPU beside the speed of a copy, and torch.topk where a torch with CUDA is
// found; docs/benchmarks.md.
//
//   gpu_bench [--elements N] [--repetitions N] [--device N] [--python FILE] [--json FILE]
//
// Exit code 3: there is no GPU, and nothing was measured.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "bench/gpu_rows.h"
#include "bench/report.h"
#include "common/compress/cuda/cuda_machine.h"

int main(int argc, char** argv) {
  constexpr int kNoGpu = 3;
  laconic::bench::GpuBenchOptions options;
  std::string json;
  CLI::App app("Measures the codecs of a GPU against the speed of a copy in its memory.");
  app.add_option("--elements", options.elements, "float32 elements of the vectors")
      ->check(CLI::Range(int64_t{1} << 20, int64_t{1} << 31))
      ->capture_default_str();
  app.add_option("--repetitions", options.repetitions, "measured runs of each row")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--device", options.device, "number of the CUDA device")
      ->check(CLI::Range(0, 1023))
      ->capture_default_str();
  app.add_option("--python", options.python, "Python that may have torch with CUDA, the peer")
      ->capture_default_str();
  app.add_option("--json", json, "file to write the report to");
  CLI11_PARSE(app, argc, argv);

  if (options.device >= laconic::compress::cuda::cuda_device_count()) {
    std::cerr << "gpu_bench: NO GPU: CUDA device " << options.device << " of "
              << laconic::compress::cuda::cuda_device_count() << ", nothing was measured\n";
    return kNoGpu;
  }
  laconic::bench::Report report;
  report.set("device", laconic::compress::cuda::cuda_device_name(options.device));
  report.set("elements", absl::StrCat(options.elements));
  report.set("repetitions", absl::StrCat(options.repetitions));
  report.set("clock", "CUDA events");
  laconic::bench::add_gpu_rows(options, report);
  if (const absl::Status status = report.finish(json); !status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return 0;
}
