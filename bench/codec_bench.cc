// Codecs on one core against libtorch and memcpy in the same run; docs/benchmarks.md.
//
//   codec_bench [--elements N] [--repetitions N] [--json FILE]
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "bench/codec_rows.h"
#include "bench/report.h"
#include "common/compress/simd.h"

int main(int argc, char** argv) {
  laconic::bench::CodecBenchOptions options;
  std::string json;
  CLI::App app("Measures codecs on one core against libtorch, memcpy and e += g.");
  app.add_option("--elements", options.elements, "float32 elements of the vectors")
      ->check(CLI::Range(int64_t{1} << 16, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--repetitions", options.repetitions, "measured runs of each row")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--json", json, "file to write the report to");
  CLI11_PARSE(app, argc, argv);

  laconic::bench::Report report;
  const auto level = laconic::compress::simd_level();
  report.set("elements", absl::StrCat(options.elements));
  report.set("repetitions", absl::StrCat(options.repetitions));
  report.set("clock", "CPU time of one thread");
  report.set("simd", level == laconic::compress::SimdLevel::kAvx512 ? "avx512"
                     : level == laconic::compress::SimdLevel::kAvx2 ? "avx2"
                                                                    : "scalar");
  laconic::bench::add_top_k_rows(options, report);
  laconic::bench::add_dense_rows(options, report);
  laconic::bench::add_position_rows(options, report);
  laconic::bench::add_sparseloco_rows(options, report);
  laconic::bench::add_energy_rows(options, report);
  if (const absl::Status status = report.finish(json); !status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return 0;
}
