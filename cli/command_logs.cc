// logs, events.
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands.h"
#include "cli/job_text.h"
#include "cli/json.h"
#include "cli/reconnect.h"
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

// Passes every message to `take` until the stream ends, Ctrl-C, or nobody reads our output. With
// `follow`, a server that goes away is waited for as long as the client's timeout, and `open` must
// then go on where `take` has left off.
template <typename Open, typename Take>
absl::Status drain(Session& session, Client& client, bool follow, const Open& open,
                   const Take& take) {
  const int seen = session.console.interrupt.count();
  Reconnect reconnect(client.timeout());
  auto stream = open();
  while (session.console.interrupt.count() == seen) {
    if (const auto response = stream->next(kTick)) {
      reconnect.heard();
      take(*response);
      if (!session.console.out.good()) {
        return absl::OkStatus();
      }
      continue;
    }
    const std::optional<absl::Status> end = stream->ended();
    if (!end) {
      continue;
    }
    switch (follow ? reconnect.ended(*end, absl::Now()) : Reconnect::Step::kGiveUp) {
      case Reconnect::Step::kGiveUp:
        return client.explain(*end);
      case Reconnect::Step::kOpen:
        stream = open();
        break;
      case Reconnect::Step::kAnnounce:
        session.note_away();
        [[fallthrough]];
      case Reconnect::Step::kWait:
        absl::SleepFor(kTick);
        break;
    }
  }
  return absl::CancelledError("interrupted");
}

// Cuts the pieces of a log into lines, prints each with its rank in front, and keeps the place of
// each file that was reached.
class LinePrinter {
 public:
  LinePrinter(Session& session, bool with_rank) : session_(session), with_rank_(with_rank) {}

  void take(const v1::StreamLogsResponse& piece) {
    const File file{piece.rank(), piece.source()};
    std::string& rest = rest_[file];
    v1::LogPosition& reached = reached_[file];
    if (reached.generation() != piece.generation() && !rest.empty()) {
      print(file.first, file.second, std::exchange(rest, ""));  // No more of that file will come.
    }
    reached.set_rank(piece.rank());
    reached.set_source(piece.source());
    reached.set_offset(piece.end_offset());
    reached.set_generation(piece.generation());
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

  // Lets a stream go on behind what was taken.
  void resume(v1::StreamLogsRequest& request) const {
    request.clear_after();
    for (const auto& [file, reached] : reached_) {
      *request.add_after() = reached;
    }
  }

 private:
  using File = std::pair<int32_t, v1::LogSource>;

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
  std::map<File, std::string> rest_;  // a line whose end has not come
  std::map<File, v1::LogPosition> reached_;
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
  LinePrinter printer(session, /*with_rank=*/!options.rank);
  const auto open = [&] {
    printer.resume(request);
    return client.stream_logs(request);
  };
  const absl::Status end = drain(session, client, options.follow, open,
                                 [&](const v1::StreamLogsResponse& piece) { printer.take(piece); });
  printer.finish();
  if (absl::IsCancelled(end)) {
    return session.detached(absl::StrCat("laconic logs -f ", options.job));
  }
  if (!end.ok()) {
    return session.fail_stream(end);
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
  const auto open = [&] { return client.stream_events(request); };
  std::string list;
  int64_t count = 0;
  const auto take = [&](const v1::StreamEventsResponse& response) {
    if (!response.has_event()) {
      return;  // The stream is open.
    }
    request.set_after_sequence(response.event().sequence());
    ++count;
    if (!session.json()) {
      print_event(session, response.event());
    } else if (options.follow) {
      session.write_json_line(json_message(response.event()), /*terminal=*/false);
    } else {
      absl::StrAppend(&list, list.empty() ? "" : ",", json_message(response.event()));
    }
  };
  const absl::Status end = drain(session, client, options.follow, open, take);
  if (absl::IsCancelled(end)) {
    return session.detached(absl::StrCat("laconic events -f ", options.job));
  }
  if (!end.ok()) {
    return options.follow ? session.fail_stream(end) : session.fail(end);
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
