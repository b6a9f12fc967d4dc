#include "bench/report.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace laconic::bench {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? ' ' : c;
  }
  return out + '"';
}

std::string number(double value) {
  return absl::StrFormat("%.6g", value);
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) {
      return std::string(absl::StripAsciiWhitespace(line.substr(line.find(':') + 1)));
    }
  }
  return "unknown";
}

std::string machine_json() {
  const int64_t memory = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  return absl::StrCat("{\"cpu\": ", quoted(cpu_name()),
                      ", \"cores\": ", sysconf(_SC_NPROCESSORS_ONLN),
                      ", \"memory_bytes\": ", memory, "}");
}

// Of the tree this program was built from, "-dirty" with changes that are not committed.
std::string commit() {
  const std::string command =
      "git -C '" LACONIC_SOURCE_DIR "' describe --always --dirty --abbrev=40 --exclude='*' 2>&1";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 128> line{};
  if (pipe == nullptr || fgets(line.data(), line.size(), pipe.get()) == nullptr) {
    return "unknown";
  }
  return std::string(absl::StripAsciiWhitespace(line.data()));
}

std::string row_json(const Row& row) {
  const bool alone = row.peer.empty();
  return absl::StrCat("{\"name\": ", quoted(row.name), ", \"value\": ", number(row.value),
                      ", \"unit\": ", quoted(row.unit),
                      ", \"peer\": ", alone ? "null" : quoted(row.peer),
                      ", \"peer_value\": ", alone ? "null" : number(row.peer_value),
                      ", \"ratio\": ", alone ? "null" : number(row.ratio()),
                      ", \"spread\": ", number(row.spread), "}");
}

}  // namespace

double Samples::median() const {
  if (values.empty()) {
    return 0;
  }
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

double Samples::spread() const {
  if (values.empty() || median() == 0) {
    return 0;
  }
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return (*high - *low) / median();
}

void Report::set(const std::string& name, const std::string& value) {
  settings_.emplace_back(name, value);
}

void Report::add(const std::string& name, const Samples& samples, const std::string& unit) {
  add(name, samples, unit, "", Samples{});
}

void Report::add(const std::string& name, const Samples& samples, const std::string& unit,
                 const std::string& peer, const Samples& peer_samples) {
  add(Row{.name = name,
          .value = samples.median(),
          .unit = unit,
          .peer = peer,
          .peer_value = peer_samples.median(),
          .spread = samples.spread()});
}

std::string Report::json() const {
  const auto setting = [](std::string* out, const std::pair<std::string, std::string>& pair) {
    absl::StrAppend(out, quoted(pair.first), ": ", quoted(pair.second));
  };
  const auto row = [](std::string* out, const Row& each) { out->append(row_json(each)); };
  return absl::StrCat("{\n \"machine\": ", machine_json(), ",\n \"commit\": ", quoted(commit()),
                      ",\n \"settings\": {", absl::StrJoin(settings_, ", ", setting),
                      "},\n \"rows\": [\n  ", absl::StrJoin(rows_, ",\n  ", row), "\n ]\n}\n");
}

std::string Report::table() const {
  std::string text = absl::StrCat("machine ", machine_json(), "\ncommit  ", commit(), "\n");
  for (const auto& [name, value] : settings_) {
    absl::StrAppend(&text, name, ": ", value, "\n");
  }
  absl::StrAppendFormat(&text, "%-42s %10s %-6s %7s  %-24s %10s %8s\n", "name", "median", "unit",
                        "spread", "peer", "median", "ratio");
  for (const Row& row : rows_) {
    absl::StrAppendFormat(&text, "%-42s %10.4g %-6s %6.0f%%", row.name, row.value, row.unit,
                          100 * row.spread);
    if (!row.peer.empty()) {
      absl::StrAppendFormat(&text, "  %-24s %10.4g %8.3g", row.peer, row.peer_value, row.ratio());
    }
    text += '\n';
  }
  return text;
}

absl::Status Report::finish(const std::string& json_path) const {
  std::cout << table() << std::flush;
  if (json_path.empty()) {
    return absl::OkStatus();
  }
  std::ofstream file(json_path);
  file << json();
  file.close();
  if (!file.good()) {
    return absl::UnavailableError(absl::StrCat(
        "--json ", json_path, " cannot be written: does its directory exist, and may you write?"));
  }
  std::cout << "written: " << json_path << "\n";
  return absl::OkStatus();
}

namespace {

double seconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

double thread_seconds() {
  return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

double process_cpu_seconds() {
  return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

double wall_seconds() {
  const std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
  return now.count();
}

}  // namespace laconic::bench
