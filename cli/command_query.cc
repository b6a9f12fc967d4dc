// list, status, why, nodes, version.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "cli/commands.h"
#include "cli/convex_text.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "cli/plan_text.h"
#include "cli/progress.h"
#include "cli/similarity_text.h"
#include "cli/table.h"
#include "common/core/exit_codes.h"
#include "common/core/format.h"
#include "common/core/version.h"

namespace laconic::cli {
namespace {

constexpr int kPageSizeMax = 1000;

struct ListOptions {
  std::vector<std::string> states;
  int limit = 100;
};

std::string loss_text(const ProgressNumbers& numbers) {
  return numbers.loss ? absl::StrFormat("%.3f", *numbers.loss) : "-";
}

std::vector<std::string> job_row(const v1::Job& job, absl::Time now) {
  const ProgressNumbers numbers = progress_numbers(job);
  return {job.id(),
          printable(job.job().metadata().name()),
          state_name(job.state()),
          absl::StrCat(ranks_wanted(job.job())),
          absl::StrCat(numbers.step, "/", numbers.steps),
          loss_text(numbers),
          format_age(job.create_time(), now)};
}

absl::StatusOr<v1::ListJobsResponse> all_pages(Client& client, v1::ListJobsRequest request,
                                               int limit) {
  v1::ListJobsResponse all;
  do {
    request.set_page_size(std::min(limit - all.jobs_size(), kPageSizeMax));
    absl::StatusOr<v1::ListJobsResponse> page = client.list_jobs(request);
    if (!page.ok()) {
      return page.status();
    }
    all.mutable_jobs()->MergeFrom(page->jobs());
    all.set_next_page_token(page->next_page_token());
    request.set_page_token(page->next_page_token());
    // An empty page with a token would go round for ever.
    if (page->jobs().empty()) {
      break;
    }
  } while (!request.page_token().empty() && all.jobs_size() < limit);
  return all;
}

void show_jobs(Session& session, const v1::ListJobsResponse& response, bool all_states) {
  if (response.jobs().empty()) {
    session.note(all_states ? "no jobs; submit one: laconic submit -f job.yaml"
                            : "no job in this state; laconic list shows all");
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"ID", "NAME", "STATE", "RANKS", "STEP", "LOSS", "AGE"}};
  for (const v1::Job& job : response.jobs()) {
    rows.push_back(job_row(job, absl::Now()));
  }
  session.console.out << format_table(rows);
  if (!response.next_page_token().empty()) {
    session.note("there are more jobs; raise --limit");
  }
}

int list(Session& session, const ListOptions& options) {
  v1::ListJobsRequest request;
  for (const std::string& name : options.states) {
    v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
    v1::JobState_Parse(name, &state);
    request.add_states(state);
  }
  Client client = session.connect();
  return session.answer(all_pages(client, request, options.limit),
                        [&](const v1::ListJobsResponse& response) {
                          show_jobs(session, response, options.states.empty());
                        });
}

std::string colored_state(const Session& session, v1::JobState state) {
  std::string name = state_name(state);
  if (!session.color()) {
    return name;
  }
  const char* code = state == v1::FAILED ? "31" : (state == v1::SUCCEEDED ? "32" : "36");
  return absl::StrCat("\x1b[", code, "m", name, "\x1b[0m");
}

std::string rank_table(const v1::Job& job) {
  if (job.ranks().empty()) {
    return "";
  }
  std::vector<std::vector<std::string>> rows = {
      {"RANK", "WORKER", "STATE", "PROCESS", "STEP", "SENT", "END"}};
  for (const v1::Rank& rank : job.ranks()) {
    const bool done = rank.has_finished();
    rows.push_back(
        {absl::StrCat(rank.rank()), printable(rank.node()), v1::RankState_Name(rank.state()),
         rank.pid() == 0 ? "-" : absl::StrCat(rank.pid()),
         absl::StrCat(done ? rank.finished().steps() : rank.progress().step()),
         core::format_bytes(done ? rank.finished().bytes().sent() : rank.progress().bytes().sent()),
         rank.has_exit() ? format_exit(rank.exit()) : "-"});
  }
  return "\n" + format_table(rows);
}

void show_job(Session& session, const v1::Job& job) {
  std::vector<std::vector<std::string>> rows = {
      {"job", job.id()},
      {"name", printable(job.job().metadata().name())},
      {"state", colored_state(session, job.state())},
      {"created", format_time(job.create_time())},
      {"started", format_time(job.start_time())},
      {"finished", format_time(job.finish_time())},
  };
  if (!job.reason().empty()) {
    rows.push_back({"reason", job.reason()});
  }
  if (!job.message().empty()) {
    rows.push_back({"message", printable(job.message())});
  }
  if (const v1::ExchangeChoice exchange = exchange_of(job); !exchange.schedule().empty()) {
    const std::string measured =
        exchange.has_plan()
            ? absl::StrCat(", chosen for a slowest link of ", link_text(exchange.plan()),
                           "; see laconic events ", job.id())
            : "";
    rows.push_back({"exchange", exchange_text(exchange) + measured});
    if (!exchange.method().empty()) {
      rows.push_back({"chosen", printable(exchange.method())});
    }
  }
  if (const std::vector<v1::SimilarityState> similarity = similarity_of(job); !similarity.empty()) {
    rows.push_back({"ranks differ", similarity_text(similarity.back())});
  }
  if (const std::optional<v1::ConvexState> convex = convex_of(job); convex.has_value()) {
    rows.push_back({"convex", convex_text(*convex)});
  }
  ProgressNumbers numbers = progress_numbers(job);
  if (numbers.step > 0) {
    const bool running = numbers.state == v1::RUNNING;
    numbers.state = v1::RUNNING;  // the numbers, not the state, are wanted here
    if (!running) {
      numbers.left.reset();
    }
    constexpr int kNoLimit = 1000;
    rows.push_back({"progress", progress_line(numbers, kNoLimit)});
  }
  session.console.out << format_table(rows) << rank_table(job);
}

int status(Session& session, const std::string& id) {
  return session.answer(session.connect().get_job(id),
                        [&](const v1::Job& job) { show_job(session, job); });
}

void show_explanation(Session& session, const v1::ExplainJobResponse& response) {
  session.console.out << response.reason() << ": " << printable(response.message()) << "\n";
  std::vector<std::vector<std::string>> rows;
  if (response.position() > 0) {
    rows.push_back({"position", absl::StrCat(response.position(), " in the queue")});
  }
  if (response.slots_wanted() > 0) {
    rows.push_back(
        {"slots", absl::StrCat("wants ", response.slots_wanted(), "; ", response.slots_free(),
                               " of ", response.slots_total(), " on live workers are free")});
  }
  if (!response.blockers().empty()) {
    rows.push_back({"behind", absl::StrJoin(response.blockers(), ", ")});
  }
  session.console.out << format_table(rows);
}

int why(Session& session, const std::string& id) {
  return session.answer(
      session.connect().explain_job(id),
      [&](const v1::ExplainJobResponse& response) { show_explanation(session, response); });
}

void show_nodes(Session& session, const v1::ListNodesResponse& response) {
  if (response.nodes().empty()) {
    session.note(
        absl::StrCat("no workers; start one: laconic-worker --server ", session.options.server));
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "SLOTS", "USED", "LAST SEEN", "VERSION"}};
  for (const v1::Node& node : response.nodes()) {
    rows.push_back({printable(node.name()), v1::NodeState_Name(node.state()),
                    absl::StrCat(node.slots()), absl::StrCat(node.slots_used()),
                    format_age(node.last_seen(), absl::Now()) + " ago", printable(node.version())});
  }
  session.console.out << format_table(rows);
}

int nodes(Session& session) {
  return session.answer(session.connect().list_nodes(), [&](const v1::ListNodesResponse& response) {
    show_nodes(session, response);
  });
}

int version(Session& session, bool ask_server) {
  std::string server;
  if (ask_server) {
    Client client = session.connect();
    const absl::StatusOr<v1::GetServerInfoResponse> response = client.server_info();
    if (!response.ok()) {
      return session.fail(response.status());
    }
    server = response->version();
  }
  if (session.json()) {
    session.write_json(absl::StrCat(
        "{\"version\":", json_string(core::kVersion),
        ask_server ? absl::StrCat(",\"server_version\":", json_string(server)) : "", "}"));
    return core::kExitOk;
  }
  session.console.out << "laconic " << core::kVersion << "\n";
  if (ask_server) {
    session.console.out << "laconic-server " << printable(server) << " at "
                        << session.options.server << "\n";
  }
  return core::kExitOk;
}

}  // namespace

void add_list(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, "list", "List jobs, newest first", "laconic list --state RUNNING");
  auto options = std::make_shared<ListOptions>();
  command->add_option("--state", options->states, "Only jobs in this state (repeatable)")
      ->type_name("STATE")
      ->allow_extra_args(false)
      ->check(CLI::IsMember(
          {"QUEUED", "STARTING", "RUNNING", "CANCELLING", "CANCELLED", "SUCCEEDED", "FAILED"}));
  command->add_option("--limit", options->limit, "At most this many jobs")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->callback([&session, options] {
    session.action = [&session, options] { return list(session, *options); };
  });
}

void add_status(CLI::App& app, Session& session) {
  add_job_command(
      add_command(app, "status", "Show one job and its ranks", "laconic status 4k2p9x7abc"),
      session, status);
}

void add_why(CLI::App& app, Session& session) {
  add_job_command(add_command(app, "why", "Tell why a job waits, or what it is doing",
                              "laconic why 4k2p9x7abc"),
                  session, why);
}

void add_nodes(CLI::App& app, Session& session) {
  CLI::App* command = add_command(app, "nodes", "Show the workers", "laconic nodes list");
  command->callback([&session] { session.action = [&session] { return nodes(session); }; });
  CLI::App* verb = add_command(*command, "list", "List the workers and their slots",
                               "laconic nodes list -o json");
  verb->callback([&session] { session.action = [&session] { return nodes(session); }; });
}

void add_version(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, "version", "Print the version", "laconic version --server-info");
  auto ask_server = std::make_shared<bool>(false);
  command->add_flag("--server-info", *ask_server, "Ask the server for its version, too");
  command->callback([&session, ask_server] {
    session.action = [&session, ask_server] { return version(session, *ask_server); };
  });
}

}  // namespace laconic::cli
