// logs, events.
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "common/core/exit_codes.h"

namespace laconic::cli {
namespace {

// How often a waiting command looks for Ctrl-C.
constexpr absl::Duration kTick = absl::Milliseconds(100);

struct LogsOptions {
  std::string job;
  bool follow = false;
  bool only_stderr = false;
  std::optional<int32_t> rank;
  std::optional<int32_t> tail;
};

struct EventsOptions {
  std::string job;
  bool follow = false;
};

// Passes every message to `take` until the stream ends, Ctrl-C, or nobody reads our output.
template <typename Response, typename Take>
absl::Status drain(Session& session, StreamReader<Response>& stream, const Take& take) {
  const int seen = session.console.interrupt.count();
  for (;;) {
    if (session.console.interrupt.count() > seen) {
      return absl::CancelledError("interrupted");
    }
    if (const std::optional<Response> response = stream.next(kTick)) {
      take(*response);
      if (!session.console.out.good()) {
        return absl::OkStatus();
      }
    } else if (const std::optional<absl::Status> end = stream.ended()) {
      return *end;
    }
  }
}

// Cuts the pieces of a log into lines and prints each with its rank in front.
class LinePrinter {
 public:
  LinePrinter(Session& session, bool with_rank) : session_(session), with_rank_(with_rank) {}

  void take(const v1::StreamLogsResponse& piece) {
    std::string& rest = rest_[{piece.rank(), piece.source()}];
    rest += piece.data();
    size_t begin = 0;
    for (size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', begin)) {
      print(piece.rank(), piece.source(), rest.substr(begin, end - begin));
      begin = end + 1;
    }
    rest.erase(0, begin);
    session_.console.out << std::flush;
  }

  // A last line without a line end is a line, too.
  void finish() {
    for (const auto& [key, rest] : rest_) {
      if (!rest.empty()) {
        print(key.first, key.second, rest);
      }
    }
    rest_.clear();
  }

 private:
  void print(int32_t rank, v1::LogSource source, const std::string& line) {
    if (session_.json()) {
      session_.write_json_line(
          absl::StrCat("{\"rank\":", rank, ",\"source\":", json_string(v1::LogSource_Name(source)),
                       ",\"line\":", json_string(line), "}"),
          /*terminal=*/false);
      return;
    }
    if (with_rank_) {
      session_.console.out << "[" << rank << "] ";
    }
    // A pipe gets the bytes as they are; a terminal must not act on them.
    session_.console.out << (session_.console.out_is_terminal ? printable(line) : line) << "\n";
  }

  Session& session_;
  bool with_rank_;
  std::map<std::pair<int32_t, v1::LogSource>, std::string> rest_;
};

int logs(Session& session, const LogsOptions& options) {
  v1::StreamLogsRequest request;
  request.set_id(options.job);
  request.set_follow(options.follow);
  if (options.only_stderr) {
    request.set_source(v1::STDERR);
  }
  if (options.rank) {
    request.set_rank(*options.rank);
  }
  if (options.tail) {
    request.set_tail_lines(*options.tail);
  }
  Client client = session.connect();
  const auto stream = client.stream_logs(request);
  LinePrinter printer(session, /*with_rank=*/!options.rank);
  const absl::Status end =
      drain(session, *stream, [&](const v1::StreamLogsResponse& piece) { printer.take(piece); });
  printer.finish();
  if (absl::IsCancelled(end)) {
    return session.detached(absl::StrCat("laconic logs -f ", options.job));
  }
  if (!end.ok()) {
    return session.fail_stream(client.explain(end));
  }
  if (session.json()) {
    session.write_json_line("{}", /*terminal=*/true);
  }
  return core::kExitOk;
}

void print_event(Session& session, const v1::Event& event) {
  session.console.out << format_time(event.time()) << "  " << event.reason();
  if (event.has_rank()) {
    session.console.out << "  rank " << event.rank();
  }
  session.console.out << "  " << printable(event.message()) << "\n" << std::flush;
}

int events(Session& session, const EventsOptions& options) {
  v1::StreamEventsRequest request;
  request.set_id(options.job);
  request.set_follow(options.follow);
  Client client = session.connect();
  const auto stream = client.stream_events(request);
  std::string list;
  int64_t count = 0;
  const auto take = [&](const v1::StreamEventsResponse& response) {
    ++count;
    if (!session.json()) {
      print_event(session, response.event());
    } else if (options.follow) {
      session.write_json_line(json_message(response.event()), /*terminal=*/false);
    } else {
      absl::StrAppend(&list, list.empty() ? "" : ",", json_message(response.event()));
    }
  };
  const absl::Status end = drain(session, *stream, take);
  if (absl::IsCancelled(end)) {
    return session.detached(absl::StrCat("laconic events -f ", options.job));
  }
  if (!end.ok()) {
    return options.follow ? session.fail_stream(client.explain(end))
                          : session.fail(client.explain(end));
  }
  if (session.json() && options.follow) {
    session.write_json_line(absl::StrCat("{\"events\":", count, "}"), /*terminal=*/true);
  } else if (session.json()) {
    session.write_json(absl::StrCat("{\"events\":[", list, "]}"));
  }
  return core::kExitOk;
}

}  // namespace

void add_logs(CLI::App& app, Session& session) {
  CLI::App* command = add_command(app, "logs", "Print what the trainers of a job wrote",
                                  "laconic logs -f 4k2p9x7abc --rank 0 --tail 20");
  auto options = std::make_shared<LogsOptions>();
  add_job_argument(command, options->job);
  command->add_flag("-f,--follow", options->follow, "Go on until the job has ended");
  command->add_option("--rank", options->rank, "Only this rank. Default: all, with [rank] in front")
      ->type_name("N")
      ->check(CLI::Range(0, 1023));
  command->add_option("--tail", options->tail, "Only the last lines of each file. Default: all")
      ->type_name("N")
      ->check(CLI::Range(0, 100000));
  command->add_flag("--stderr", options->only_stderr,
                    "Only standard error. Default: standard output, too");
  command->callback([&session, options] {
    session.action = [&session, options] { return logs(session, *options); };
  });
}

void add_events(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, "events", "Print what happened to a job", "laconic events -f 4k2p9x7abc");
  auto options = std::make_shared<EventsOptions>();
  add_job_argument(command, options->job);
  command->add_flag("-f,--follow", options->follow, "Go on until the job has ended");
  command->callback([&session, options] {
    session.action = [&session, options] { return events(session, *options); };
  });
}

}  // namespace laconic::cli
