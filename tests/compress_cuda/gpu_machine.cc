// The kernels on the first GPU of this machine.
#include "absl/strings/str_cat.h"
#include "common/compress/cuda/cuda_machine.h"
#include "tests/compress_cuda/test_machine.h"

namespace laconic::compress::cuda {

std::unique_ptr<Machine> make_test_machine(int /*variant*/, std::string& why) {
  auto machine = make_cuda_machine(0);
  if (!machine.ok()) {
    why = absl::StrCat("this test ran nothing: ", std::string(machine.status().message()));
    return nullptr;
  }
  return *std::move(machine);
}

int test_machine_variants() {
  return 1;
}

bool test_machine_is_fast() {
  return true;
}

}  // namespace laconic::compress::cuda
