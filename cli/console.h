// Where a command reads its surroundings and writes its answer, so that tests can stand in for a
// terminal.
#pragma once

#include <atomic>
#include <ostream>
#include <string>

namespace laconic::cli {

// Counts requests to stop (Ctrl-C, SIGTERM). Thread-safe.
class Interrupt {
 public:
  void trigger() { count_.fetch_add(1); }
  int count() const { return count_.load(); }

 private:
  std::atomic<int> count_{0};
};

struct Console {
  std::ostream& out;  // data only
  std::ostream& err;  // everything else
  Interrupt& interrupt;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  int columns = 80;                // of the terminal, at the start
  std::string executable{};        // path of this program; its fellow programs lie beside it
  std::string server_variable{};   // LACONIC_SERVER; empty: unset
  bool no_color_variable = false;  // NO_COLOR is set to something
};

}  // namespace laconic::cli
