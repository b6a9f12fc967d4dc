#include "tests/testing/paths.h"

namespace laconic::testing {

std::string source_dir() {
  return LACONIC_SOURCE_DIR;
}
std::string bin_dir() {
  return LACONIC_BIN_DIR;
}

}  // namespace laconic::testing
