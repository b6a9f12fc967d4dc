// The entry point of one libFuzzer program; LACONIC_FUZZ_TARGET names its target.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const laconic::fuzz::Target kTarget = laconic::fuzz::find_target(LACONIC_FUZZ_TARGET);
  kTarget({data, size});
  return 0;
}
