#include "cli/plan_text.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "common/core/format.h"
#include "common/wire/reporter.h"

namespace laconic::cli {
namespace {

constexpr double kBytesShownMax = 1e18;

double seconds_of(const v1::PlannedWay& way) {
  return way.codec_seconds() + way.latency_seconds() + way.wire_seconds();
}

std::string seconds_text(double seconds) {
  return absl::StrFormat("%.4f", seconds);
}

std::string way_json(const v1::PlannedWay& way) {
  return absl::StrCat("{\"schedule\": ", json_string(way.schedule()),
                      ", \"codec\": ", json_string(way.codec()),
                      ", \"seconds\": ", json_number(seconds_of(way)),
                      ", \"codec_seconds\": ", json_number(way.codec_seconds()),
                      ", \"latency_seconds\": ", json_number(way.latency_seconds()),
                      ", \"wire_seconds\": ", json_number(way.wire_seconds()),
                      absl::StrCat(", \"sent_bytes\": ", way.sent_bytes(),
                                   ", \"error\": ", json_number(way.error()),
                                   ", \"within_budget\": ", way.within_budget() ? "true" : "false",
                                   ", \"chosen\": ", way.chosen() ? "true" : "false", "}"));
}

std::string sites_json(const v1::SiteLinks& sites) {
  return absl::StrCat(
      "{\"inside_latency_seconds\": ", json_number(sites.inside_latency_seconds()),
      ", \"inside_bytes_per_second\": ", json_number(sites.inside_bytes_per_second()),
      ", \"between_latency_seconds\": ", json_number(sites.between_latency_seconds()),
      ", \"between_bytes_per_second\": ", json_number(sites.between_bytes_per_second()), "}");
}

std::string plan_json(const v1::Plan& plan) {
  const auto append = [](std::string* out, const v1::PlannedWay& way) { *out += way_json(way); };
  return absl::StrCat("{\"latency_seconds\": ", json_number(plan.latency_seconds()),
                      ", \"bytes_per_second\": ", json_number(plan.bytes_per_second()),
                      ", \"error_budget\": ", json_number(plan.error_budget()),
                      ", \"sites\": ", plan.has_sites() ? sites_json(plan.sites()) : "null",
                      ", \"ways\": [", absl::StrJoin(plan.ways(), ", ", append), "]}");
}

}  // namespace

v1::ExchangeChoice exchange_of(const v1::Job& job) {
  if (job.ranks().empty()) {
    return {};
  }
  const v1::Rank& first = wire::reporter(job);
  return first.finished().has_exchange() ? first.finished().exchange()
                                         : first.progress().exchange();
}

std::string exchange_text(const v1::ExchangeChoice& exchange) {
  return exchange.schedule().empty()
             ? "-"
             : printable(absl::StrCat(
                   exchange.codec(), " by ", exchange.schedule(),
                   exchange.host_copies()
                       ? absl::StrCat(", copied from ", exchange.device(), " to host memory")
                       : ""));
}

std::string link_text(const v1::Plan& plan) {
  const auto link = [](double latency_seconds, double bytes_per_second) {
    const double rate = std::clamp(bytes_per_second, 0.0, kBytesShownMax);
    return absl::StrFormat("%.3g ms, %s/s", latency_seconds * 1e3,
                           core::format_bytes(std::llround(rate)));
  };
  std::string text = link(plan.latency_seconds(), plan.bytes_per_second());
  if (plan.has_sites()) {
    const v1::SiteLinks& sites = plan.sites();
    absl::StrAppend(&text, " (inside sites ",
                    link(sites.inside_latency_seconds(), sites.inside_bytes_per_second()),
                    "; between them ",
                    link(sites.between_latency_seconds(), sites.between_bytes_per_second()), ")");
  }
  return text;
}

std::vector<std::vector<std::string>> plan_rows(const v1::Plan& plan) {
  std::vector<std::vector<std::string>> rows = {
      {"", "SCHEDULE", "CODEC", "SECONDS", "CODEC S", "LATENCY S", "WIRE S", "SENT", "ERROR", ""}};
  for (const v1::PlannedWay& way : plan.ways()) {
    rows.push_back({way.chosen() ? "*" : "", printable(way.schedule()), printable(way.codec()),
                    seconds_text(seconds_of(way)), seconds_text(way.codec_seconds()),
                    seconds_text(way.latency_seconds()), seconds_text(way.wire_seconds()),
                    core::format_bytes(way.sent_bytes()), absl::StrFormat("%.2g", way.error()),
                    way.within_budget() ? "" : "over budget"});
  }
  return rows;
}

std::string exchange_json(const v1::ExchangeChoice& exchange) {
  if (exchange.schedule().empty()) {
    return "null";
  }
  return absl::StrCat(
      "{\"schedule\": ", json_string(exchange.schedule()),
      ", \"codec\": ", json_string(exchange.codec()),
      ", \"method\": ", exchange.method().empty() ? "null" : json_string(exchange.method()),
      ", \"device\": ", json_string(exchange.device()),
      ", \"host_copies\": ", exchange.host_copies() ? "true" : "false",
      ", \"plan\": ", exchange.has_plan() ? plan_json(exchange.plan()) : "null", "}");
}

}  // namespace laconic::cli
