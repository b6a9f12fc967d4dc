// Several programs for the same task, measured in turn (A B C A B C ...), because what else runs on
// the machine changes from second to second.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/report.h"

namespace laconic::bench {

struct Contestant {
  std::string name;
  double bytes = 0;           // that one run works through
  std::function<void()> run;  // measured
  std::function<void()> check =
      {};              // after each run, not measured; stops the program if it is wrong
  Samples speed = {};  // GB/s, 1e9 bytes per CPU second of the thread

  static Contestant* find(std::vector<Contestant>& all, const std::string& name);
};

// One run of each to warm up, then `repetitions` measured ones.
void measure(std::vector<Contestant>& contestants, int repetitions);

// Prints what is wrong and ends the program with exit code 1, unless `holds`. A wrong result has no
// speed.
void require(bool holds, const std::string& what);

}  // namespace laconic::bench
