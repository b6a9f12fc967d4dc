#include "cli/report_json.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/convex_text.h"
#include "cli/json.h"
#include "cli/plan_text.h"
#include "cli/similarity_text.h"

namespace laconic::cli {
namespace {

std::string optional_number(const std::optional<double>& value) {
  return value ? json_number(*value) : "null";
}

template <typename Format>
std::string rank_list(const ReportData& data, const Format& format) {
  return absl::StrCat(
      "[",
      absl::StrJoin(data.ranks, ", ",
                    [&](std::string* out, const ReportRank& rank) { *out += format(rank); }),
      "]");
}

std::string point_json(const ReportPoint& point) {
  return absl::StrCat("{\"step\": ", point.step, ", \"round\": ", point.round,
                      ", \"seconds\": ", json_number(point.seconds),
                      ", \"sent_bytes\": ", point.sent_bytes,
                      ", \"train_loss\": ", json_number(point.train_loss),
                      ", \"eval_loss\": ", optional_number(point.eval_loss),
                      ", \"eval_accuracy\": ", optional_number(point.eval_accuracy), "}");
}

std::string bytes_json(const ReportData& data) {
  const auto sent = [](const ReportRank& rank) { return absl::StrCat(rank.sent_bytes); };
  const auto received = [](const ReportRank& rank) { return absl::StrCat(rank.received_bytes); };
  const auto payload_sent = [](const ReportRank& rank) {
    return absl::StrCat(rank.payload_sent_bytes);
  };
  const auto payload_received = [](const ReportRank& rank) {
    return absl::StrCat(rank.payload_received_bytes);
  };
  const auto sent_to = [](const ReportRank& rank) {
    return rank.sent_to_bytes.empty()
               ? std::string("null")
               : absl::StrCat("[", absl::StrJoin(rank.sent_to_bytes, ", "), "]");
  };
  const auto sent_between = [](const ReportRank& rank) {
    return absl::StrCat(rank.sent_between_sites);
  };
  const auto received_between = [](const ReportRank& rank) {
    return absl::StrCat(rank.received_between_sites);
  };
  const auto of_sites = [&](const std::string& list) {
    return data.ranks_per_site > 0 ? list : "null";
  };
  return absl::StrCat(
      "{\n    \"sent_per_worker\": ", rank_list(data, sent),
      ",\n    \"received_per_worker\": ", rank_list(data, received),
      ",\n    \"payload_sent_per_worker\": ", rank_list(data, payload_sent),
      ",\n    \"payload_received_per_worker\": ", rank_list(data, payload_received),
      ",\n    \"sent_to\": ", rank_list(data, sent_to),
      ",\n    \"sent_between_sites_per_worker\": ", of_sites(rank_list(data, sent_between)),
      ",\n    \"received_between_sites_per_worker\": ", of_sites(rank_list(data, received_between)),
      ",\n    \"dense_equivalent_per_worker\": ", data.dense_equivalent_bytes,
      ",\n    \"times_less\": ", json_number(data.times_less), "\n  }");
}

// What each rank did in how many rounds: {"CHANGED": 400, "SMALL_CHANGE": 300}.
std::string counts_json(const ReportRank& rank) {
  const auto append = [](std::string* out, const v1::RoundCount& count) {
    absl::StrAppend(out, json_string(v1::RoundReason_Name(count.reason())), ": ", count.rounds());
  };
  return absl::StrCat("{", absl::StrJoin(rank.decisions, ", ", append), "}");
}

std::string decisions_json(const ReportData& data) {
  const auto append = [](std::string* out, const v1::RoundDecision& decision) {
    absl::StrAppend(out, "{\"first_round\": ", decision.first_round(),
                    ", \"rounds\": ", decision.rounds(), ", \"step\": ", decision.step(),
                    ", \"inner_steps\": ", decision.inner_steps());
    absl::StrAppend(out, ", \"sent\": ", decision.reason() != v1::SMALL_CHANGE ? "true" : "false",
                    ", \"reason\": ", json_string(v1::RoundReason_Name(decision.reason())),
                    ", \"senders\": ", decision.senders(),
                    ", \"payload_bytes\": ", decision.payload_bytes(),
                    ", \"overlap\": ", json_number(decision.overlap()), "}");
  };
  const std::string list =
      data.rounds_decided.empty()
          ? "[]"
          : absl::StrCat("[\n      ", absl::StrJoin(data.rounds_decided, ",\n      ", append),
                         "\n    ]");
  return absl::StrCat("{\n    \"per_worker\": ", rank_list(data, counts_json),
                      ",\n    \"of_rank_0\": ", list, "\n  }");
}

std::string history_json(const ReportData& data) {
  if (data.history.empty()) {
    return "[]";
  }
  const auto append = [](std::string* out, const ReportPoint& point) { *out += point_json(point); };
  return absl::StrCat("[\n    ", absl::StrJoin(data.history, ",\n    ", append), "\n  ]");
}

}  // namespace

std::string report_json(const ReportData& data) {
  const auto digest = [](const ReportRank& rank) {
    return rank.digest.empty() ? std::string("null") : json_string(rank.digest);
  };
  std::string out = absl::StrCat(
      "{\n  \"schema_version\": ", kReportSchemaVersion,
      ",\n  \"result\": ", json_string(data.result), ",\n  \"job\": ", json_string(data.name),
      ",\n  \"world_size\": ", data.world_size, ",\n  \"parameters\": ", data.parameters,
      ",\n  \"steps\": ", data.steps, ",\n  \"rounds\": ", data.rounds,
      ",\n  \"wall_seconds\": ", json_number(data.wall_seconds));
  absl::StrAppend(&out, ",\n  \"final\": {\"train_loss\": ", optional_number(data.train_loss),
                  ", \"eval_loss\": ", optional_number(data.eval_loss),
                  ", \"eval_accuracy\": ", optional_number(data.eval_accuracy), "}");
  absl::StrAppend(&out, ",\n  \"bytes\": ", bytes_json(data));
  absl::StrAppend(&out, ",\n  \"exchange\": ", exchange_json(data.exchange));
  absl::StrAppend(&out, ",\n  \"decisions\": ", decisions_json(data));
  absl::StrAppend(&out, ",\n  \"similarity\": ", similarity_json(data.similarity));
  absl::StrAppend(&out, ",\n  \"convex\": ", convex_json(data.convex));
  absl::StrAppend(&out, ",\n  \"history\": ", history_json(data));
  absl::StrAppend(&out, ",\n  \"digests\": ", rank_list(data, digest), "\n}\n");
  return out;
}

}  // namespace laconic::cli
