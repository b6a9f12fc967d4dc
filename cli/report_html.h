// report.html: one self-contained page, no script, readable in light and dark.
#pragma once

#include <string>

#include "cli/report_data.h"

namespace laconic::cli {

// The whole page. All text that comes from elsewhere is escaped.
std::string report_html(const ReportData& data);

}  // namespace laconic::cli
