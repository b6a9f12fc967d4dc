// A trainer without training: it takes laconic-trainer's command line, speaks the real
// TrainerService, and does what the labels of its job say. The labels:
//   then        after Hello: "wait" for Launch, then "train" (the default); "exit", "crash", "hang"
//   exit_code   for "exit"
//   print       text for standard output, at once;  error  the same for standard error
//   print_bytes that many bytes of 64-byte lines on standard output
//   bad_utf8    bytes on standard error that are not UTF-8
//   detach      starts a process that leaves the group and the session; its id goes to FILE
//   token       shown instead of the task token
// While it trains it sends two history points, then waits for Stop or, with "finish", finishes.
#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include "laconic/v1/job.pb.h"
#include "laconic/v1/trainer.grpc.pb.h"

namespace laconic {
namespace {

using Labels = google::protobuf::Map<std::string, std::string>;

std::string label(const Labels& labels, const std::string& name) {
  const auto found = labels.find(name);
  return found == labels.end() ? "" : found->second;
}

void write_all(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = write(fd, text.data() + done, text.size() - done);
    if (count <= 0) {
      _exit(90);
    }
    done += static_cast<size_t>(count);
  }
}

// Double fork and setsid, as daemons do; the grandchild ignores SIGTERM and waits for ever.
// Returns once the file is there.
void detach(const std::string& file) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) {
    _exit(91);
  }
  const pid_t child = fork();
  if (child != 0) {
    char byte = 0;
    close(ends[1]);
    if (read(ends[0], &byte, 1) != 1) {
      _exit(92);
    }
    return;
  }
  setsid();
  if (fork() != 0) {
    _exit(0);
  }
  signal(SIGTERM, SIG_IGN);
  const std::string text = std::to_string(getpid()) + "\n";
  const std::string temporary = file + ".new";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  write_all(fd, text);
  close(fd);
  rename(temporary.c_str(), file.c_str());
  write_all(ends[1], "x");
  for (;;) {
    pause();
  }
}

void print(const Labels& labels) {
  write_all(1, label(labels, "print"));
  write_all(2, label(labels, "error"));
  const std::string bytes = label(labels, "print_bytes");
  for (int64_t left = bytes.empty() ? 0 : std::stoll(bytes); left > 0; left -= 64) {
    write_all(1, std::string(63, 'x') + "\n");
  }
  if (!label(labels, "bad_utf8").empty()) {
    write_all(2, "bad \xFF\xFE bytes\n");
  }
}

v1::AttachRequest hello() {
  v1::AttachRequest request;
  v1::Hello* message = request.mutable_report()->mutable_hello();
  message->set_peer_address("127.0.0.1:1");
  message->set_layout_hash(42);
  message->set_parameters(10);
  message->set_samples(5);
  return request;
}

int train(grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>& stream, bool finish) {
  for (int step = 1; step <= 2; ++step) {
    v1::AttachRequest point;
    point.mutable_report()->mutable_history()->set_step(step);
    stream.Write(point);
  }
  if (!finish) {
    v1::AttachResponse command;
    while (stream.Read(&command)) {
      if (command.has_stop()) {
        return 0;
      }
    }
    return 3;  // The worker is gone.
  }
  v1::AttachRequest finished;
  finished.mutable_report()->mutable_finished()->set_digest(7);
  stream.Write(finished);
  stream.WritesDone();
  return stream.Finish().ok() ? 0 : 4;
}

int misbehave(const std::string& what, const Labels& labels) {
  if (what == "exit") {
    return std::stoi(label(labels, "exit_code"));
  }
  if (what == "crash") {
    raise(SIGSEGV);
  }
  for (;;) {
    pause();  // "hang": SIGTERM is ignored.
  }
}

int run(const std::map<std::string, std::string>& flags) {
  std::ifstream in(flags.at("--job"), std::ios::binary);
  v1::TrainJob job;
  if (!job.ParseFromIstream(&in)) {
    return 2;
  }
  const Labels& labels = job.metadata().labels();
  const std::string then = label(labels, "then");
  if (then == "hang") {
    signal(SIGTERM, SIG_IGN);
  }
  print(labels);
  if (!label(labels, "detach").empty()) {
    detach(label(labels, "detach"));
  }
  const auto stub = v1::TrainerService::NewStub(
      grpc::CreateChannel(flags.at("--worker"), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  std::string token = label(labels, "token");
  if (token.empty()) {
    token = getenv("LACONIC_TASK_TOKEN");
  }
  context.AddMetadata("laconic-task-token", token);
  const auto stream = stub->Attach(&context);
  stream->Write(hello());
  if (!then.empty() && then != "finish") {
    return misbehave(then, labels);
  }
  v1::AttachResponse command;
  while (stream->Read(&command)) {
    if (command.has_launch()) {
      return train(*stream, then == "finish");
    }
    if (command.has_stop()) {
      return 0;
    }
  }
  // The stream ended before it began: refused, or the worker is gone.
  std::cerr << "refused: " << stream->Finish().error_code() << "\n";
  return 5;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i + 1 < argc; i += 2) {
    flags[argv[i]] = argv[i + 1];
  }
  return laconic::run(flags);
}
