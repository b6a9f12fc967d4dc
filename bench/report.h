// What every benchmark reports, and in which form: machine, commit, settings, and rows with median
// and spread, as a table and as one JSON object.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace laconic::bench {

// Measurements of one thing in one run. Larger or smaller is better as the unit says.
struct Samples {
  std::vector<double> values;

  void add(double value) { values.push_back(value); }
  // 0 without values.
  double median() const;
  // (largest - smallest) / median; 0 without values.
  double spread() const;
};

struct Row {
  std::string name = {};  // "int8_encode"; with several peers there are several rows of one name
  double value = 0;       // median
  std::string unit = {};  // "GB/s", "s", "bits", "x"
  std::string peer = {};  // what it is compared with; empty: nothing
  double peer_value = 0;
  double spread = 0;  // of value

  // value / peer_value; 0 without a peer.
  double ratio() const { return peer.empty() || peer_value == 0 ? 0 : value / peer_value; }
};

class Report {
 public:
  // A fact about the run that readers need: "elements", "33554432".
  void set(const std::string& name, const std::string& value);
  void add(Row row) { rows_.push_back(std::move(row)); }
  void add(const std::string& name, const Samples& samples, const std::string& unit);
  void add(const std::string& name, const Samples& samples, const std::string& unit,
           const std::string& peer, const Samples& peer_samples);

  // {"machine": {..}, "commit": "..", "settings": {..}, "rows": [{name, value, unit, peer,
  // peer_value, ratio, spread}]}; peer, peer_value and ratio are null without a peer.
  std::string json() const;
  std::string table() const;

  // Prints the table, and writes the JSON to `json_path` unless that is empty.
  // Errors: Unavailable if the file cannot be written.
  absl::Status finish(const std::string& json_path) const;

 private:
  std::vector<std::pair<std::string, std::string>> settings_;
  std::vector<Row> rows_;
};

// CPU seconds of this thread: what other processes take of the machine does not count.
double thread_seconds();
// The same of all threads of this process together.
double process_cpu_seconds();
// Seconds of a clock that never goes back.
double wall_seconds();

}  // namespace laconic::bench
