#include "cli/report_html.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/convex_text.h"
#include "cli/plan_text.h"
#include "cli/report_style.h"
#include "cli/similarity_text.h"
#include "cli/svg_chart.h"
#include "common/core/format.h"
#include "common/core/version.h"

namespace laconic::cli {
namespace {

// More bars than this would be a wall: then the mean and the slowest ranks stand for all.
constexpr size_t kBarsMax = 12;

std::string optional_value(const std::optional<double>& value, int decimals) {
  return value && std::isfinite(*value) ? absl::StrFormat("%.*f", decimals, *value) : "&ndash;";
}

std::string percent(const std::optional<double>& share) {
  return share && std::isfinite(*share) ? absl::StrFormat("%.2f %%", *share * 100) : "&ndash;";
}

std::string seconds_text(double seconds) {
  return core::format_duration(absl::Seconds(std::isfinite(seconds) ? seconds : 0));
}

LineChart loss_over_time(const ReportData& data) {
  LineChart chart{.description = "Loss over time",
                  .x = {.label = "time", .unit = Unit::kSeconds, .from_zero = true},
                  .y = {.label = "loss"},
                  .series = {}};
  Series train{
      .name = "training loss", .color = 0, .dashed = false, .markers = false, .points = {}};
  Series eval{.name = "held-out loss", .color = 1, .dashed = false, .markers = true, .points = {}};
  for (const ReportPoint& point : data.history) {
    train.points.push_back({point.seconds, point.train_loss});
    if (point.eval_loss) {
      eval.points.push_back({point.seconds, *point.eval_loss});
    }
  }
  chart.series = {std::move(train), std::move(eval)};
  return chart;
}

// The same curve twice: over what was sent, and over what a dense all-reduce would have sent by
// the same step. The distance between them is what was saved.
LineChart loss_over_bytes(const ReportData& data) {
  LineChart chart{
      .description = "Loss over bytes sent",
      .x = {.label = "bytes sent per worker", .scale = Scale::kLog, .unit = Unit::kBytes},
      .y = {.label = "training loss"},
      .series = {}};
  Series sent{.name = "this run", .color = 0, .dashed = false, .markers = false, .points = {}};
  Series dense{.name = "same steps, dense float32 all-reduce",
               .color = 2,
               .dashed = true,
               .markers = false,
               .points = {}};
  for (size_t at = 0; at < data.history.size(); ++at) {
    const ReportPoint& point = data.history[at];
    // Before the first round nothing of the training is sent. Of the points between two rounds the
    // last one stands for what these bytes bought; all of them would be a wall.
    const bool last_of_round =
        at + 1 == data.history.size() || data.history[at + 1].round != point.round;
    if (point.sent_bytes <= 0 || point.round <= 0 || !last_of_round) {
      continue;
    }
    sent.points.push_back({static_cast<double>(point.sent_bytes), point.train_loss});
    const int64_t dense_bytes = dense_equivalent_bytes(data.world_size, data.parameters,
                                                       data.compared_with_dense ? point.step : 0);
    if (dense_bytes > 0) {
      dense.points.push_back({static_cast<double>(dense_bytes), point.train_loss});
    }
  }
  chart.series = {std::move(sent), std::move(dense)};
  return chart;
}

LineChart bytes_per_round(const ReportData& data) {
  LineChart chart{.description = "Bytes per round, against dense",
                  .x = {.label = "round", .from_zero = true},
                  .y = {.label = "bytes per round", .scale = Scale::kLog, .unit = Unit::kBytes},
                  .series = {}};
  Series sent{.name = "this run", .color = 0, .dashed = false, .markers = false, .points = {}};
  Series dense{.name = "dense float32 all-reduce in the same steps",
               .color = 2,
               .dashed = true,
               .markers = false,
               .points = {}};
  ReportPoint last;
  for (const ReportPoint& point : data.history) {
    const auto rounds = static_cast<double>(point.round - last.round);
    // Points between two rounds have no bytes of their own. What is sent before the first round,
    // the initial parameters, belongs to no round.
    if (rounds <= 0) {
      last.sent_bytes = point.round == 0 ? point.sent_bytes : last.sent_bytes;
      continue;
    }
    // Points do not fall on rounds, so the steps of the rounds are counted, not those between them.
    const int64_t steps = data.rounds_vary
                              ? point.step - last.step
                              : core::steps_of_rounds(data.round_schedule, point.round) -
                                    core::steps_of_rounds(data.round_schedule, last.round);
    const auto dense_bytes = static_cast<double>(dense_equivalent_bytes(
        data.world_size, data.parameters, data.compared_with_dense ? steps : 0));
    for (const auto round : {last.round, point.round}) {
      const auto at = static_cast<double>(round);
      sent.points.push_back({at, static_cast<double>(point.sent_bytes - last.sent_bytes) / rounds});
      dense.points.push_back({at, dense_bytes / rounds});
    }
    last = point;
  }
  chart.series = {std::move(sent), std::move(dense)};
  return chart;
}

StackedBar bar_of(const std::string& label, const ReportPhases& phases, double rounds) {
  return {.label = label,
          .values = {phases.compute / rounds, phases.compress / rounds, phases.exchange / rounds,
                     phases.decompress / rounds, phases.evaluate / rounds}};
}

StackedBars round_phases(const ReportData& data) {
  StackedBars chart{.description = "Where a round's time goes",
                    .x = {.label = "seconds per round, mean over the run"},
                    .parts = {"compute", "compress", "exchange", "decompress", "evaluate"},
                    .bars = {}};
  const auto rounds = static_cast<double>(std::max<int64_t>(1, data.rounds));
  std::vector<ReportRank> ranks = data.ranks;
  if (ranks.size() > kBarsMax) {
    std::stable_sort(ranks.begin(), ranks.end(), [](const auto& a, const auto& b) {
      return a.phases.total() > b.phases.total();
    });
    ranks.resize(kBarsMax);
  }
  for (const ReportRank& rank : ranks) {
    chart.bars.push_back(bar_of(absl::StrCat("rank ", rank.rank), rank.phases, rounds));
  }
  return chart;
}

std::string tile(const std::string& value, const std::string& label) {
  return absl::StrCat("<div class=\"tile\"><b>", value, "</b><span>", label, "</span></div>\n");
}

std::string tiles(const ReportData& data) {
  std::string out = "<section class=\"tiles\">\n";
  if (!data.compared_with_dense) {
    out += tile(core::format_bytes(data.sent_bytes_max), "sent by the rank that sent most");
  } else if (data.world_size > 1) {
    out += tile(data.times_less > 0 && data.rounds > 0
                    ? escape_html(core::format_ratio(data.times_less))
                    : "&ndash;",
                "less sent than dense");
    out += tile(
        core::format_bytes(data.sent_bytes_max),
        absl::StrCat("sent per worker; dense: ", core::format_bytes(data.dense_equivalent_bytes)));
  }
  if (data.eval_accuracy) {
    out += tile(percent(data.eval_accuracy), "held-out accuracy");
  }
  out += tile(optional_value(data.eval_loss, 4), "held-out loss");
  out += tile(optional_value(data.train_loss, 4), "training loss");
  out += tile(seconds_text(data.wall_seconds), "training time");
  return out + "</section>\n";
}

std::string figure(const std::string& title, const std::string& svg, const std::string& note) {
  return absl::StrCat("<figure><h2>", title, "</h2>\n", svg, "<figcaption>", note,
                      "</figcaption></figure>\n");
}

std::string figures(const ReportData& data) {
  const std::string ranks_note =
      data.ranks.size() > kBarsMax
          ? absl::StrCat("The ", kBarsMax, " slowest of ", data.ranks.size(), " ranks.")
          : "A rank that waits for a slower one shows it under exchange.";
  const std::string bytes_note =
      data.world_size > 1 ? "Sent by the worker that sent most, frame headers included; log scale."
                          : "One worker has no one to send to.";
  return absl::StrCat(
      "<section class=\"grid\">\n",
      figure("Loss over time", line_chart_svg(loss_over_time(data)),
             "Training loss is the mean over ranks since the last point."),
      figure("Loss over bytes sent", line_chart_svg(loss_over_bytes(data)),
             bytes_note + (data.world_size > 1 ? " Dashed: the same losses where a dense exchange "
                                                 "at every step would put them."
                                               : "")),
      figure("Bytes per round", line_chart_svg(bytes_per_round(data)), bytes_note),
      figure("Where a round's time goes", stacked_bars_svg(round_phases(data)), ranks_note),
      "</section>\n");
}

std::string headline_row(const std::string& name, const std::string& value) {
  return absl::StrCat("<tr><th scope=\"row\">", name, "</th><td>", value, "</td></tr>\n");
}

// A rank that did not finish has none: that is no disagreement.
std::string digests_text(const ReportData& data) {
  const bool all_there = std::none_of(data.ranks.begin(), data.ranks.end(),
                                      [](const ReportRank& rank) { return rank.digest.empty(); });
  return data.digests_equal                 ? "equal on all ranks"
         : all_there && !data.ranks.empty() ? "NOT equal"
                                            : "unknown: not every rank finished";
}

std::string headline_table(const ReportData& data) {
  const bool dense_known = data.world_size > 1 && data.compared_with_dense;
  std::string out = "<section><h2>Numbers</h2><table class=\"facts\">\n";
  out += headline_row("result", escape_html(data.result));
  out += headline_row("workers", core::format_count(data.world_size));
  out += headline_row("parameters", core::format_count(data.parameters));
  out += headline_row("steps", absl::StrCat(core::format_count(data.steps), " of ",
                                            core::format_count(data.steps_wanted)));
  out += headline_row("rounds", core::format_count(data.rounds));
  out += headline_row("training loss", optional_value(data.train_loss, 6));
  out += headline_row("held-out loss", optional_value(data.eval_loss, 6));
  out += headline_row("held-out accuracy", percent(data.eval_accuracy));
  out += headline_row("exchange", escape_html(exchange_text(data.exchange)));
  if (!data.exchange.method().empty()) {
    out += headline_row("chosen", escape_html(data.exchange.method()));
  }
  if (!data.similarity.empty()) {
    out += headline_row("ranks differ, last measured",
                        escape_html(similarity_text(data.similarity.back())));
  }
  if (data.convex.has_value()) {
    out += headline_row("convex method", escape_html(convex_text(*data.convex)));
  }
  out += headline_row("sent per worker, most", core::format_count(data.sent_bytes_max) + " bytes");
  if (data.ranks_per_site > 0) {
    out += headline_row("of that between sites, most",
                        core::format_count(data.sent_between_sites_max) + " bytes");
  }
  if (dense_known) {
    out += headline_row("dense all-reduce, per worker",
                        core::format_count(data.dense_equivalent_bytes) + " bytes");
    out += headline_row("times less", data.rounds > 0 ? absl::StrFormat("%.1f", data.times_less)
                                                      : "&ndash; (no round yet)");
  }
  out += headline_row("digests", digests_text(data));
  for (const std::string& file : data.files) {
    out += headline_row("file", "<code>" + escape_html(file) + "</code>");
  }
  return out + "</table></section>\n";
}

std::string rank_table(const ReportData& data) {
  std::string out =
      "<section class=\"wide\"><h2>Ranks</h2><div class=\"scroll\"><table class=\"ranks\">\n"
      "<tr><th>rank</th><th>worker</th><th>state</th><th>samples</th><th>sent</th>"
      "<th>received</th><th>training loss</th><th>compute</th><th>exchange</th><th>digest</th>"
      "</tr>\n";
  for (const ReportRank& rank : data.ranks) {
    absl::StrAppend(&out, "<tr><td>", rank.rank, "</td><td>", escape_html(rank.node), "</td><td>",
                    escape_html(rank.state), "</td><td>", core::format_count(rank.samples),
                    "</td><td>");
    absl::StrAppend(&out, core::format_bytes(rank.sent_bytes), "</td><td>",
                    core::format_bytes(rank.received_bytes), "</td><td>",
                    optional_value(rank.train_loss, 4), "</td><td>");
    absl::StrAppend(&out, seconds_text(rank.phases.compute), "</td><td>",
                    seconds_text(rank.phases.exchange), "</td><td><code>",
                    rank.digest.empty() ? "&ndash;" : rank.digest, "</code></td></tr>\n");
  }
  return out + "</table></div></section>\n";
}

const char* reason_words(v1::RoundReason reason) {
  switch (reason) {
    case v1::EVERY_ROUND:
      return "sent, as always";
    case v1::FIRST_ROUNDS:
      return "sent, first rounds";
    case v1::CHANGED:
      return "sent, the change matters";
    case v1::AGED:
      return "sent, the last message was too old";
    case v1::DENSE_WARM_UP:
      return "sent as float32, warm-up";
    case v1::SMALL_CHANGE:
      return "silent, the change is small";
    case v1::SIMILARITY:
      return "sent, steps by similarity";
    case v1::OVERLAP:
      return "sent, shared elements: the ranks' own overlap";
    default:
      return "unknown";
  }
}

std::string decision_row(const ReportData& data, const v1::RoundDecision& decision) {
  const int64_t last = decision.first_round() + decision.rounds() - 1;
  const double bits =
      8.0 * static_cast<double>(decision.payload_bytes()) /
      static_cast<double>(std::max<int64_t>(1, data.parameters * decision.rounds()));
  return absl::StrCat(
      "<tr><td>", decision.first_round(),
      last == decision.first_round() ? std::string() : absl::StrCat("&ndash;", last), "</td><td>",
      decision.step(), "</td><td>", decision.inner_steps(), "</td><td>",
      reason_words(decision.reason()), "</td><td>", decision.senders(), " of ", data.world_size,
      "</td><td>", absl::StrFormat("%.3g", bits), "</td></tr>\n");
}

// What was decided in every round, and why; rounds in a row alike are one line.
std::string decision_table(const ReportData& data) {
  constexpr size_t kRowsMax = 500;
  if (data.rounds_decided.empty()) {
    return "";
  }
  std::string out = "<section class=\"wide\"><h2>Rounds</h2>\n<p>";
  for (const ReportRank& rank : data.ranks) {
    absl::StrAppend(&out, "Rank ", rank.rank, ": ");
    for (const v1::RoundCount& count : rank.decisions) {
      absl::StrAppend(&out, count.rounds(), " ", reason_words(count.reason()), "; ");
    }
    out += "<br>\n";
  }
  const size_t shown = std::min(kRowsMax, data.rounds_decided.size());
  absl::StrAppend(&out,
                  "</p>\n<details><summary>Every round of rank 0</summary><div class=\"scroll\">"
                  "<table class=\"ranks\">\n<tr><th>round</th><th>up to step</th><th>steps</th>"
                  "<th>decision</th><th>ranks that sent</th><th>bits per parameter sent</th></tr>"
                  "\n");
  for (size_t i = 0; i < shown; ++i) {
    out += decision_row(data, data.rounds_decided[i]);
  }
  out += "</table></div>";
  if (shown < data.rounds_decided.size()) {
    absl::StrAppend(&out, "<p>", data.rounds_decided.size() - shown,
                    " more lines are in report.json.</p>");
  }
  return out + "</details></section>\n";
}

// How alike the ranks were on the way; nothing where it was not measured.
std::string similarity_table(const ReportData& data) {
  if (data.similarity.empty()) {
    return "";
  }
  std::string out =
      "<section class=\"wide\"><h2>Similarity</h2><p>How much the losses of the ranks curve apart "
      "(&delta;) where their mean curves by L. Below a tenth of L ranks may go on alone for long; "
      "near L each goes its own way.</p><details><summary>All that was measured</summary>"
      "<div class=\"scroll\"><table class=\"ranks\">\n<tr><th>step</th><th>&delta;</th><th>L</th>"
      "<th>&delta; / L</th><th>most on rank</th><th>steps between rounds</th></tr>\n";
  for (const v1::SimilarityState& state : data.similarity) {
    const auto most = std::ranges::max_element(state.deltas());
    absl::StrAppend(
        &out, "<tr><td>", state.step(), "</td><td>", absl::StrFormat("%.3g", state.delta_rms()),
        "</td><td>", absl::StrFormat("%.3g", state.smoothness()), "</td><td>",
        state.smoothness() > 0 ? absl::StrFormat("%.2f", state.delta_rms() / state.smoothness())
                               : "&ndash;",
        "</td><td>");
    absl::StrAppend(&out,
                    most == state.deltas().end()
                        ? "&ndash;"
                        : absl::StrFormat("%d: %.3g", most - state.deltas().begin(), *most),
                    "</td><td>",
                    state.inner_steps() > 0 ? absl::StrCat(state.inner_steps()) : "&ndash;",
                    "</td></tr>\n");
  }
  return out + "</table></div></details></section>\n";
}

// What the planner measured and predicted; nothing where the job chose itself.
std::string plan_table(const ReportData& data) {
  if (!data.exchange.has_plan()) {
    return "";
  }
  std::string out = absl::StrCat(
      "<section class=\"wide\"><h2>Plan</h2><p>Measured when the job started: slowest link ",
      escape_html(link_text(data.exchange.plan())), " each way. Error budget ",
      absl::StrFormat("%.3g", data.exchange.plan().error_budget()),
      ". Predicted for one exchange; * is what was taken.</p>"
      "<div class=\"scroll\"><table class=\"ranks\">\n");
  const std::vector<std::vector<std::string>> rows = plan_rows(data.exchange.plan());
  for (size_t i = 0; i < rows.size(); ++i) {
    const char* cell = i == 0 ? "th" : "td";
    out += "<tr>";
    for (const std::string& text : rows[i]) {
      absl::StrAppend(&out, "<", cell, ">", escape_html(text), "</", cell, ">");
    }
    out += "</tr>\n";
  }
  return out + "</table></div></section>\n";
}

}  // namespace

std::string report_html(const ReportData& data) {
  const std::string name = escape_html(data.name);
  const std::string state_class = data.result == "SUCCEEDED" ? "good" : "bad";
  std::string out = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
      name, " &ndash; laconic</title>\n<style>", kReportStyle, "</style></head><body><main>\n");
  absl::StrAppend(&out, "<header><h1>", name, " <span class=\"state ", state_class, "\">",
                  escape_html(data.result), "</span></h1>\n<p>");
  absl::StrAppend(&out, core::format_count(data.steps), " steps &times; ", data.world_size,
                  data.world_size == 1 ? " worker" : " workers", " &middot; ",
                  core::format_count(data.parameters), " parameters &middot; ",
                  core::format_count(data.rounds), data.rounds == 1 ? " round" : " rounds",
                  " &middot; job ", escape_html(data.id), " &middot; ", escape_html(data.created),
                  "</p>\n");
  if (data.result != "SUCCEEDED" && !data.message.empty()) {
    absl::StrAppend(&out, "<p class=\"message\">", escape_html(data.message), "</p>\n");
  }
  absl::StrAppend(&out, "</header>\n", tiles(data), figures(data), "<div class=\"columns\">\n",
                  headline_table(data), "<section><h2>Job file</h2><pre>",
                  escape_html(data.job_file), "</pre></section></div>\n", rank_table(data),
                  decision_table(data), similarity_table(data), plan_table(data));
  absl::StrAppend(&out,
                  "<footer>Times less = bytes of a dense float32 ring all-reduce at every step, "
                  "2(P&minus;1)/P &middot; 4 &middot; parameters &middot; steps, over the bytes "
                  "sent by the worker that sent most. Written by laconic ",
                  core::kVersion, ".</footer>\n</main></body></html>\n");
  return out;
}

}  // namespace laconic::cli
