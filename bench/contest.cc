#include "bench/contest.h"

#include <cstdlib>
#include <iostream>

namespace laconic::bench {

Contestant* Contestant::find(std::vector<Contestant>& all, const std::string& name) {
  for (Contestant& contestant : all) {
    if (contestant.name == name) {
      return &contestant;
    }
  }
  return nullptr;
}

void measure(std::vector<Contestant>& contestants, int repetitions) {
  for (int repetition = -1; repetition < repetitions; ++repetition) {
    for (Contestant& contestant : contestants) {
      const double start = thread_seconds();
      contestant.run();
      const double seconds = thread_seconds() - start;
      if (repetition >= 0) {
        contestant.speed.add(1e-9 * contestant.bytes / seconds);
      }
      if (contestant.check) {
        contestant.check();
      }
    }
  }
}

void require(bool holds, const std::string& what) {
  if (!holds) {
    std::cerr << "wrong result, nothing is reported: " << what << "\n";
    std::exit(1);  // NOLINT(concurrency-mt-unsafe): one thread.
  }
}

}  // namespace laconic::bench
