#include "cli/job_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/testing/paths.h"
#include "tests/testing/status_matchers.h"

namespace laconic::cli {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Line 1 is api_version; every test below changes one line of this job.
constexpr char kJob[] = R"(api_version: laconic.v1
kind: TrainJob
metadata:
  name: fashion
  labels: {team: vision}
spec:
  workers: {count: 2}
  model:
    conv:
  data:
    idx: {train_images: a.gz, train_labels: /data/b.gz}
    shared: {iid: {}}
  train:
    steps: 10
    batch_size: 64
    optimizer:
      adamw: {learning_rate: 1e-3}
  exchange:
    local: {inner_steps: 4}
    round_deadline: 30s
)";

// What is changed in kJob, and the error that follows.
struct BadText {
  std::string from;
  std::string to;
  std::string error;
};

// A directory of its own for each test, removed at the end.
class JobFileTest : public ::testing::Test {
 protected:
  JobFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "job_file_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~JobFileTest() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& text) {
    const std::string path = directory_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  absl::StatusOr<v1::TrainJob> load(const std::string& text,
                                    const std::vector<std::string>& overrides = {},
                                    const std::string& name = "job.yaml") {
    return load_job_file(write(name, text), overrides);
  }

  // The error without the directory, "" if there is none.
  std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {},
                       const std::string& name = "job.yaml") {
    const auto job = load(text, overrides, name);
    EXPECT_TRUE(job.ok() || job.status().code() == absl::StatusCode::kInvalidArgument);
    return job.ok() ? ""
                    : absl::StrReplaceAll(std::string(job.status().message()),
                                          {{directory_.string() + "/", ""}});
  }

  static std::string with(const std::string& from, const std::string& to) {
    const std::string text = absl::StrReplaceAll(kJob, {{from, to}});
    EXPECT_NE(text, kJob) << from;
    return text;
  }

  void expect_errors(const std::vector<BadText>& table) {
    for (const BadText& bad : table) {
      EXPECT_EQ(error_of(with(bad.from, bad.to)), bad.error) << bad.to;
    }
  }

  std::filesystem::path directory_;
};

TEST_F(JobFileTest, ReadsWhatTheFileSays) {
  ASSERT_OK_AND_ASSIGN(const v1::TrainJob job, load(kJob));
  EXPECT_EQ(job.metadata().name(), "fashion");
  EXPECT_EQ(job.metadata().labels().at("team"), "vision");
  EXPECT_EQ(job.spec().workers().count(), 2);
  EXPECT_TRUE(job.spec().model().has_conv());
  EXPECT_TRUE(job.spec().data().shared().has_iid());
  EXPECT_EQ(job.spec().train().optimizer().adamw().learning_rate(), 1e-3);
  EXPECT_EQ(job.spec().exchange().round_deadline().seconds(), 30);
  EXPECT_FALSE(job.spec().train().has_eval_samples());
}

TEST_F(JobFileTest, ResolvesRelativePathsAgainstTheFilesDirectory) {
  ASSERT_OK_AND_ASSIGN(const v1::TrainJob job, load(kJob, {"spec.result.directory=../out"}));
  EXPECT_EQ(job.spec().data().idx().train_images(), (directory_ / "a.gz").string());
  EXPECT_EQ(job.spec().data().idx().train_labels(), "/data/b.gz");
  EXPECT_EQ(job.spec().data().idx().eval_images(), "");
  EXPECT_EQ(job.spec().result().directory(), (directory_.parent_path() / "out").string());
}

TEST_F(JobFileTest, KeepsTextAsItIsWrittenWhereTheFieldIsText) {
  for (const std::string value : {"no", "1e3", "0644", "1_000", "null", "0x10", "~", "true", "3.0",
                                  "Null", "2026-01-01", ".inf", "yes"}) {
    ASSERT_OK_AND_ASSIGN(const v1::TrainJob job, load(with("vision", value)));
    EXPECT_EQ(job.metadata().labels().at("team"), value);
    ASSERT_OK_AND_ASSIGN(const v1::TrainJob keyed, load(with("team: vision", value + ": x")));
    EXPECT_EQ(keyed.metadata().labels().count(value), 1U) << value;
  }
}

TEST_F(JobFileTest, KeepsNamesThatLookLikeOtherTypes) {
  for (const std::string name : {"no", "1e3", "0644", "null", "0x10"}) {
    ASSERT_OK_AND_ASSIGN(const v1::TrainJob job, load(with("fashion", name)));
    EXPECT_EQ(job.metadata().name(), name);
  }
}

TEST_F(JobFileTest, DoesNotTakeTheNextKeyForAMissingValue) {
  ASSERT_OK_AND_ASSIGN(const v1::TrainJob job,
                       load(with("  labels: {team: vision}", "  labels:\n    null: a\n    b: c")));
  EXPECT_EQ(job.metadata().labels().size(), 2U);
  EXPECT_EQ(error_of(with(" {team: vision}", "\n    a:\n    null: c")),
            "job.yaml:6:5: metadata.labels.a has no value; allowed: text, or leave the key out");
}

TEST_F(JobFileTest, ReadsDurationsInEveryUnit) {
  const auto nanos_of = [this](const std::string& text) -> int64_t {
    const auto job = load(with("30s", text));
    EXPECT_OK(job);
    const auto& deadline = job->spec().exchange().round_deadline();
    return deadline.seconds() * 1'000'000'000 + deadline.nanos();
  };
  EXPECT_EQ(nanos_of("300s"), 300'000'000'000);
  EXPECT_EQ(nanos_of("5m"), 300'000'000'000);
  EXPECT_EQ(nanos_of("24h"), 86'400'000'000'000);
  EXPECT_EQ(nanos_of("1d"), 86'400'000'000'000);
  EXPECT_EQ(nanos_of("1250ms"), 1'250'000'000);
  EXPECT_EQ(nanos_of("1.5s"), 1'500'000'000);
  ASSERT_OK_AND_ASSIGN(const v1::TrainJob job, load(kJob, {"spec.limits.queue_deadline=7d"}));
  EXPECT_EQ(job.spec().limits().queue_deadline().seconds(), 7 * 86400);
}

const std::string kWhole = "; allowed: a whole number in decimal digits, ";
const std::string kInt32 = kWhole + "-2147483648..2147483647";
const std::string kInt64 = kWhole + "-9223372036854775808..9223372036854775807";
const std::string kDuration = "; allowed: a time with its unit, such as 250ms, 300s, 5m, 24h or 7d";

TEST_F(JobFileTest, PointsAtNumbersThatDoNotFit) {
  expect_errors({
      {"batch_size: 64", "batch_size: 0",
       "job.yaml:15:17: spec.train.batch_size is 0; allowed: 1..1000000"},
      {"steps: 10", "steps: 1.5", "job.yaml:14:12: spec.train.steps is \"1.5\"" + kInt64},
      {"steps: 10", "steps: 1e3", "job.yaml:14:12: spec.train.steps is \"1e3\"" + kInt64},
      {"steps: 10", "steps: 0x10", "job.yaml:14:12: spec.train.steps is \"0x10\"" + kInt64},
      {"steps: 10", "steps: 010", "job.yaml:14:12: spec.train.steps is \"010\"" + kInt64},
      {"steps: 10", "steps: 1_000", "job.yaml:14:12: spec.train.steps is \"1_000\"" + kInt64},
      {"steps: 10", "steps: \"ten\"", "job.yaml:14:12: spec.train.steps is \"ten\"" + kInt64},
      {"steps: 10", "steps: 9223372036854775808",
       "job.yaml:14:12: spec.train.steps is \"9223372036854775808\"" + kInt64},
      {"steps: 10", "steps: ~", "job.yaml:14:5: spec.train.steps is ~" + kInt64},
      {"steps: 10", "steps:", "job.yaml:14:5: spec.train.steps has no value" + kInt64},
      {"steps: 10", "steps: [10]", "job.yaml:14:5: spec.train.steps is a list; allowed: one value"},
      {"steps: 10", "seed: -1\n    steps: 10",
       "job.yaml:14:11: spec.train.seed is \"-1\"" + kWhole + "0..18446744073709551615"},
      {"steps: 10", "steps: 10\n    steps: 11",
       "job.yaml:15:5: spec.train.steps occurs twice; the first is in line 14, keep one"},
      {"    steps: 10\n", "", "job.yaml:13:3: spec.train.steps is missing; allowed: 1..1000000000"},
      {"count: 2", "count: 99999999999",
       "job.yaml:7:20: spec.workers.count is \"99999999999\"" + kInt32},
      {"1e-3", "nan",
       "job.yaml:17:30: spec.train.optimizer.adamw.learning_rate is \"nan\"; allowed: a finite "
       "number such as 0.01 or 3e-3"},
      {"1e-3", "1e999",
       "job.yaml:17:30: spec.train.optimizer.adamw.learning_rate is \"1e999\"; allowed: a finite "
       "number such as 0.01 or 3e-3"},
      {"1e-3", "0",
       "job.yaml:17:30: spec.train.optimizer.adamw.learning_rate is 0; allowed: greater than 0, at "
       "most 100"},
      {"adamw: {learning_rate: 1e-3}", "sgd: {learning_rate: 1, nesterov: yes}",
       "job.yaml:17:41: spec.train.optimizer.sgd.nesterov is \"yes\"; allowed: true or false"},
      {"adamw: {learning_rate: 1e-3}", "sgd: {learning_rate: 1, nesterov: \"true\"}",
       "job.yaml:17:41: spec.train.optimizer.sgd.nesterov is \"true\"; allowed: true or false"},
  });
}

TEST_F(JobFileTest, PointsAtUnknownKeysAndBadDurations) {
  expect_errors({
      {"batch_size", "batchsize",
       "job.yaml:15:5: spec.train.batchsize is unknown; did you mean batch_size? allowed: seed, "
       "steps, batch_size, optimizer, schedule, eval_every_steps, eval_samples, clip_norm, "
       "precision, logit_adjustment, checkpoint"},
      {"local: {inner_steps: 4}", "sparse: {}",
       "job.yaml:19:5: spec.exchange.sparse is unknown; allowed: dense, local, convex, "
       "lazy, power_sgd, demo, ef21, auto, compressor, round_deadline, schedule, ranks_per_site, "
       "lanes, similarity"},
      {"local: {inner_steps: 4}", "local: {inner_steps: 4}\n    dense: {}",
       "job.yaml:20:5: spec.exchange.dense cannot stand beside local; allowed: one of dense, "
       "local, convex, lazy, power_sgd, demo, ef21, auto"},
      {"30s", "30", "job.yaml:20:21: spec.exchange.round_deadline is \"30\"" + kDuration},
      {"30s", "-30s", "job.yaml:20:21: spec.exchange.round_deadline is \"-30s\"" + kDuration},
      {"30s", "inf", "job.yaml:20:21: spec.exchange.round_deadline is \"inf\"" + kDuration},
      {"30s", "250ms", "job.yaml:20:21: spec.exchange.round_deadline is 0.25s; allowed: 1s..24h"},
      {"30s", "2d", "job.yaml:20:21: spec.exchange.round_deadline is 172800s; allowed: 1s..24h"},
  });
}

TEST_F(JobFileTest, PointsAtValuesOfTheWrongShape) {
  expect_errors({
      {"    conv:\n", "    torchscript: {file: m.pt, loss: L2}\n",
       "job.yaml:9:37: spec.model.torchscript.loss is \"L2\"; allowed: CROSS_ENTROPY, MSE, "
       "LOGISTIC"},
      {"    conv:\n", "    conv: 3\n",
       "job.yaml:9:11: spec.model.conv is not a map; allowed: channels, height, width, classes"},
      {"    conv:\n", "    conv: null\n",
       "job.yaml:9:5: spec.model.conv is null; allowed: {}, or leave the key out"},
      {"    conv:\n", "    mlp: {hidden: 64}\n",
       "job.yaml:9:19: spec.model.mlp.hidden is not a list; allowed: a list such as [128, 64]"},
      {"    conv:\n", "    mlp: {hidden: [64, 0]}\n",
       "job.yaml:9:24: spec.model.mlp.hidden[1] is 0; allowed: 1..65536"},
      {"{team: vision}", "vision",
       "job.yaml:5:11: metadata.labels is not a map; allowed: a map such as {team: vision}"},
      {"{team: vision}", "{a: b, a: c}",
       "job.yaml:5:18: metadata.labels.a occurs twice; the first is in line 5, keep one"},
      {"name: fashion", "name: Fashion",
       "job.yaml:4:9: metadata.name is \"Fashion\"; allowed: 1..63 of a-z, 0-9 and -, starting "
       "with a letter or digit, such as fashion-mnist"},
      {"local: {inner_steps: 4}", "dense: {}\n    compressor: {top_k: {density: 1.5}}",
       "job.yaml:20:35: spec.exchange.compressor.top_k.density is 1.5; allowed: greater than 0, "
       "at most 0.5"},
      {"local: {inner_steps: 4}", "dense: {}\n    compressor: {top_k: {density: 0}}",
       "job.yaml:20:35: spec.exchange.compressor.top_k.density is 0; allowed: greater than 0, at "
       "most 0.5"},
      {"  train:", "\ttrain:", "job.yaml:13:1: a tab in the indentation; YAML allows only spaces"},
      {"vision", "&a vision", ""},
      {"{team: vision}", "{a: &a vision, b: *a}",
       "job.yaml:5:29: aliases (*name) are not supported; write the value out"},
      {"steps: 10", "steps: !!int 10",
       "job.yaml:14:12: tags (!name) are not supported; the field decides how its value is read"},
      {"steps: 10", "? [a]\n    : 10",
       "job.yaml:14:7: a key is a list or a map; allowed: a plain word"},
      {"    round_deadline: 30s\n", "---\nkind: TrainJob\n",
       "job.yaml:20:1: a second document begins here; allowed: one job per file"},
  });
}

TEST_F(JobFileTest, ReportsAllMistakesOneALine) {
  const std::string text = absl::StrReplaceAll(
      kJob, {{"batch_size: 64", "batch_size: 0"}, {"count: 2", "count: 0"}, {"30s", "0s"}});
  EXPECT_EQ(error_of(text),
            "job.yaml:7:20: spec.workers.count is 0; allowed: 1..1024\n"
            "job.yaml:15:17: spec.train.batch_size is 0; allowed: 1..1000000\n"
            "job.yaml:20:21: spec.exchange.round_deadline is 0s; allowed: 1s..24h");
}

TEST_F(JobFileTest, RefusesWhatIsNoJobFile) {
  EXPECT_EQ(error_of(""),
            "job.yaml:1:1: the file is empty; docs/job-file.md shows a job to start from");
  EXPECT_THAT(error_of(" \n\n"), HasSubstr("the file is empty"));
  EXPECT_THAT(error_of("# only a comment\n"), HasSubstr("job.yaml:1:1: the job is not a map"));
  EXPECT_THAT(error_of("- a\n"), HasSubstr("job.yaml:1:1: the job is not a map"));
  EXPECT_THAT(error_of("hello"), HasSubstr("the job is not a map"));
  EXPECT_EQ(error_of(std::string("a: b\nc\0", 7)),
            "job.yaml:2:2: the byte 0x00 is not UTF-8 text; is this a job file?");
  EXPECT_THAT(error_of("\x7F"
                       "ELF\x02\x01"),
              HasSubstr("job.yaml:1:1: the byte 0x7F"));
  EXPECT_THAT(error_of("a: \xC0\xAF"), HasSubstr("job.yaml:1:4: the byte 0xC0"));
  EXPECT_THAT(error_of("a: [1, 2"), HasSubstr("job.yaml:1:"));
  EXPECT_THAT(error_of("a: \"b"), HasSubstr("job.yaml:1:"));
}

TEST_F(JobFileTest, RefusesFilesThatCannotBeReadAtAll) {
  EXPECT_THAT(load_job_file(directory_ / "none.yaml", {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none.yaml: no such file")));
  EXPECT_THAT(load_job_file(directory_, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a directory")));
  EXPECT_THAT(error_of(std::string(10'000'000, '#')), HasSubstr("is larger than 1 MiB"));
}

TEST_F(JobFileTest, RefusesHostileNestingAndCounts) {
  std::string keys;
  for (int i = 0; i < 33; ++i) {
    absl::StrAppend(&keys, std::string(static_cast<size_t>(i), ' '), "a:\n");
  }
  EXPECT_THAT(error_of(keys), HasSubstr("nested too deep; allowed: at most 32 levels"));
  EXPECT_THAT(error_of(std::string(1'000'000, '[')), HasSubstr("job.yaml:1:"));
  EXPECT_THAT(error_of("a: " + std::string(1'000'000, '{')), HasSubstr("job.yaml:1:"));
  std::string items = "a: [";
  for (int i = 0; i < 30'000; ++i) {
    items += "1,";
  }
  EXPECT_THAT(error_of(items + "]"), HasSubstr("too many values; allowed: at most 20000"));
}

TEST_F(JobFileTest, NeverCrashesOnDamagedFiles) {
  const std::string job = kJob;
  for (size_t i = 0; i < job.size(); ++i) {
    for (const char replacement : {'{', ':', '"', '-', '\n', '&', '|', '?'}) {
      std::string damaged = job;
      damaged[i] = replacement;
      error_of(damaged);
    }
    error_of(job.substr(0, i));
  }
}

TEST_F(JobFileTest, ReadsJsonInBothSpellings) {
  const std::string json = R"({
	"apiVersion": "laconic.v1", "kind": "TrainJob", "metadata": {"name": "a"},
	"spec": {"model": {"softmax": {}}, "data": {"libsvm": {"train_file": "/x"}, "local": {}},
	  "train": {"steps": "10", "batchSize": 8, "optimizer": {"sgd": {"learningRate": 0.1, "nesterov": true}}},
	  "exchange": {"dense": {}, "round_deadline": "90s"}}})";
  ASSERT_OK_AND_ASSIGN(const v1::TrainJob job, load(json, {}, "job.json"));
  EXPECT_EQ(job.spec().train().batch_size(), 8);
  EXPECT_EQ(job.spec().exchange().round_deadline().seconds(), 90);
  EXPECT_EQ(error_of(absl::StrReplaceAll(json, {{"\"batchSize\": 8", "\"batchSize\": 0"}}), {},
                     "job.json"),
            "job.json:4:42: spec.train.batch_size is 0; allowed: 1..1000000");
  EXPECT_THAT(error_of("{\"kind\": ", {}, "job.json"), HasSubstr("job.json:1:"));
}

TEST_F(JobFileTest, ReadsProtobufText) {
  const std::string text = R"(api_version: "laconic.v1" kind: "TrainJob" metadata { name: "a" }
spec {
  model { mlp { hidden: [ 8, 0 ] } }
  data { libsvm { train_file: "x" } local {} }
  train { steps: 10 batch_size: 0 optimizer { sgd { learning_rate: 0.1 } } }
  exchange { dense {} round_deadline { seconds: 5 } }
}
)";
  EXPECT_EQ(error_of(text, {}, "job.textproto"),
            "job.textproto:3:17: spec.model.mlp.hidden[1] is 0; allowed: 1..65536\n"
            "job.textproto:5:21: spec.train.batch_size is 0; allowed: 1..1000000");
  EXPECT_THAT(
      error_of("spec {\n  nothing: 1\n}", {}, "job.txtpb"),
      AllOf(HasSubstr("job.txtpb:2:10: Message type \"laconic.v1.TrainJobSpec\" has no field"),
            HasSubstr("docs/job-file.md lists what is allowed")));
  ASSERT_OK_AND_ASSIGN(
      const v1::TrainJob job,
      load(absl::StrReplaceAll(text, {{"batch_size: 0", ""}, {", 0", ""}}), {}, "job.txtpb"));
  EXPECT_EQ(job.spec().data().libsvm().train_file(), (directory_ / "x").string());
}

TEST_F(JobFileTest, AppliesOverridesTypedByTheirField) {
  ASSERT_OK_AND_ASSIGN(const v1::TrainJob job,
                       load(kJob, {"spec.train.steps=5", "metadata.name=1e3", "spec.train.steps=7",
                                   "spec.model.mlp={hidden: [3, 4]}", "spec.model.mlp.hidden=[64]",
                                   "metadata.labels={a: b}", "spec.exchange.dense={}"}));
  EXPECT_EQ(job.spec().train().steps(), 7);
  EXPECT_EQ(job.metadata().name(), "1e3");
  ASSERT_EQ(job.spec().model().mlp().hidden_size(), 1);
  EXPECT_EQ(job.spec().model().mlp().hidden(0), 64);
  EXPECT_EQ(job.metadata().labels().size(), 1U);
  EXPECT_TRUE(job.spec().exchange().has_dense());
}

TEST_F(JobFileTest, NamesTheOverrideThatIsWrong) {
  EXPECT_EQ(error_of(kJob, {"spec.train.steps=0"}),
            "--set spec.train.steps=0: spec.train.steps is 0; allowed: 1..1000000000");
  EXPECT_EQ(error_of(kJob, {"spec.train.step=1"}),
            "--set spec.train.step=1: spec.train.step is unknown; did you mean steps? allowed: "
            "seed, steps, batch_size, optimizer, schedule, eval_every_steps, eval_samples, "
            "clip_norm, precision, logit_adjustment, checkpoint");
  EXPECT_EQ(error_of(kJob, {"steps"}),
            "--set steps: is not PATH=VALUE; write for example --set spec.train.steps=10");
  EXPECT_EQ(error_of(kJob, {"spec.train.steps.x=1"}),
            "--set spec.train.steps.x=1: spec.train.steps has no field x; allowed: --set "
            "spec.train.steps=VALUE");
  EXPECT_EQ(error_of(kJob, {"spec.train.steps=[1]"}),
            "--set spec.train.steps=[1]: spec.train.steps is \"[1]\"; allowed: a whole number in "
            "decimal digits, -9223372036854775808..9223372036854775807");
  EXPECT_THAT(error_of(kJob, {"spec.model.mlp={hidden: [3"}), HasSubstr("the value is not YAML"));
}

TEST_F(JobFileTest, LoadsEveryExample) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(testing::source_dir()) / "examples")) {
    if (entry.path().extension() == ".yaml") {
      EXPECT_OK(load_job_file(entry.path(), {"spec.train.steps=30"}));
      ++examples;
    }
  }
  EXPECT_GE(examples, 5);
}

TEST_F(JobFileTest, ExampleGeneratorWritesTheSameFileEachTime) {
  const auto generate = [this](const std::string& name) {
    const std::string output = (directory_ / name).string();
    const std::string command =
        absl::StrCat("python3 ", testing::source_dir(),
                     "/examples/make_libsvm.py --rows 50 --output ", output, " > /dev/null");
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::ifstream file(output);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string first = generate("a");
  EXPECT_EQ(std::count(first.begin(), first.end(), '\n'), 50);
  EXPECT_EQ(generate("b"), first);
}

}  // namespace
}  // namespace laconic::cli
