// report.json: the numbers of a report for programs. docs/cli.md describes every field.
#pragma once

#include <string>

#include "cli/report_data.h"

namespace laconic::cli {

inline constexpr int kReportSchemaVersion = 1;

// One JSON object, indented, ending in a newline. Unknown numbers and NaN are null.
std::string report_json(const ReportData& data);

}  // namespace laconic::cli
