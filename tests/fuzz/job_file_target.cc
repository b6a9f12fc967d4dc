#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include <array>
#include <string>
#include <vector>

#include "cli/job_description.h"
#include "cli/job_file.h"
#include "cli/json.h"
#include "common/wire/job_spec.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/scratch_files.h"
#include "tests/fuzz/targets.h"

namespace laconic::fuzz {
namespace {

constexpr std::array<const char*, 3> kNames = {"job.yaml", "job.json", "job.textproto"};

void check_job(const v1::TrainJob& job) {
  std::string text;
  check(google::protobuf::TextFormat::PrintToString(job, &text), "a job can be printed");
  const auto again = cli::load_job_file(write_scratch("again.textproto", text), {});
  check(again.ok(), "a job that was read can be written and read: " + again.status().ToString());
  check(google::protobuf::util::MessageDifferencer::Equals(job, *again),
        "a job is the same after writing and reading it");
  const v1::TrainJob whole = wire::with_defaults(job);
  const auto violations = wire::check_job(whole);
  check(violations.empty(), violations.empty() ? ""
                                               : "a default is refused: " + violations[0].path +
                                                     " " + violations[0].description);
  const wire::Timeouts timeouts = wire::derive_timeouts(whole);
  check(timeouts.stop_grace > absl::ZeroDuration(), "timeouts are positive");
  check(cli::describe_job(job).back() == '\n', "a description ends with a line");
  check(cli::json_message(job).front() == '{', "a job has a JSON form");
}

}  // namespace

bool job_file(Bytes bytes) {
  Input input(bytes);
  const uint8_t choice = input.take_byte();
  std::string text = to_text(input.rest());
  std::vector<std::string> overrides;
  if (choice % 2 == 1) {
    const size_t end = text.find('\n');
    overrides.push_back(text.substr(0, end));
    text = end == std::string::npos ? "" : text.substr(end + 1);
  }
  const char* const name = kNames[choice / 2 % kNames.size()];
  const auto job = cli::load_job_file(write_scratch(name, text), overrides);
  if (!job.ok()) {
    check(absl::IsInvalidArgument(job.status()) && !job.status().message().empty(),
          "a bad job file is InvalidArgument with a reason: " + job.status().ToString());
    return false;
  }
  check_job(*job);
  return true;
}

}  // namespace laconic::fuzz
