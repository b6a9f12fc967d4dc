#include "tests/fuzz/targets.h"

#include <array>

namespace laconic::fuzz {

std::span<const NamedTarget> all_targets() {
  static constexpr std::array<NamedTarget, 8> kTargets = {{{"codec_decode", codec_decode},
                                                           {"codec_encode", codec_encode},
                                                           {"positions", positions},
                                                           {"frame", frame},
                                                           {"communicator", communicator},
                                                           {"job_file", job_file},
                                                           {"data_files", data_files},
                                                           {"state", state}}};
  return kTargets;
}

Target find_target(std::string_view name) {
  for (const NamedTarget& target : all_targets()) {
    if (name == target.name) {
      return target.run;
    }
  }
  return nullptr;
}

}  // namespace laconic::fuzz
