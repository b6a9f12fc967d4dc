#!/usr/bin/env python3
"""Checks what no compiler checks: layers, sizes, words, documents. One ctest, below two seconds.

  tests/tidy_test.py [--build-dir build/release]

`RulesCanFail` gives every rule of tidy_rules.py a bad snippet; `Tree` applies them to every file
that git tracks or would track.
"""

import functools
import json
import pathlib
import re
import subprocess
import sys
import unittest

import tidy_rules as rules

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD_DIR = None  # Set by --build-dir.
NO_TRAINER = ("tests/trainer/", "tests/integration/")  # Not built without libtorch.


@functools.cache
def list_files():
    try:
        listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others",
                                 "--exclude-standard"], check=True, capture_output=True, text=True)
        paths = listed.stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):  # An unpacked archive has no git.
        paths = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                 if p.relative_to(ROOT).parts[0] not in ("build", "runs", ".git")]
    return sorted({p for p in paths if p and (ROOT / p).is_file() and "__pycache__" not in p})


@functools.cache
def read(path):
    """The text of a file of the tree; None if there is none."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def texts(*suffixes):
    return [(path, read(path)) for path in list_files()
            if path.endswith(suffixes) and read(path) is not None]


class Tree(unittest.TestCase):
    """The rules, applied to every file."""

    def check(self, complaints):
        self.assertFalse(complaints, "\n  " + "\n  ".join(complaints))

    def test_layers_include_only_what_the_table_allows(self):
        may_use = rules.parse_layers(read("cmake/Layers.cmake"))
        self.assertEqual(set(rules.LAYER_OF_DIRECTORY.values()) - set(may_use), set())
        self.check([c for path, text in texts(".cc", ".h", ".cu", ".cuh")
                    for c in rules.check_includes(path, text, may_use)])

    def test_architecture_shows_the_same_layers(self):
        may_use = rules.parse_layers(read("cmake/Layers.cmake"))
        self.check(rules.check_layer_table(read("ARCHITECTURE.md"), may_use))

    def test_files_and_functions_are_short(self):
        self.check([c for path, text in texts(".cc", ".h", ".cu", ".cuh", ".py", ".sh", ".proto", ".cmake")
                    for c in rules.check_sizes(path, text)])

    def test_no_file_is_large(self):
        self.check([f"{path}: {(ROOT / path).stat().st_size} bytes, limit is "
                    f"{rules.FILE_BYTES_MAX}" for path in list_files()
                    if (ROOT / path).stat().st_size > rules.FILE_BYTES_MAX])

    def test_banned_words_do_not_occur(self):
        self.check([c for path, text in texts("") for c in rules.check_words(path, text)])

    def test_file_names_say_what_is_inside(self):
        self.check([c for path in list_files() for c in rules.check_file_name(path)])

    def test_tests_are_named_by_behaviour(self):
        self.check([c for path, text in texts("_test.cc")
                    for c in rules.check_test_names(path, text)])

    def test_every_proto_field_has_a_comment(self):
        self.check([c for path, text in texts(".proto") for c in rules.check_proto(path, text)])

    def test_every_flag_has_a_help_text(self):
        self.check([c for path, text in texts(".cc") for c in rules.check_flags(path, text)
                    if not path.startswith("tests/")])

    def test_code_blocks_equal_their_files(self):
        self.check([c for path, text in texts(".md")
                    for c in rules.check_code_blocks(path, text, read)])

    def test_links_lead_somewhere(self):
        self.check([c for path, text in texts(".md") for c in
                    rules.check_links(path, text, lambda target: (ROOT / target).exists())])

    def test_every_metric_is_documented_and_on_a_dashboard(self):
        names = set().union(*(rules.find_metric_names(text) for path, text in texts(".cc", ".h")
                              if path.startswith(("common/metrics/", "server/", "worker/"))))
        if not names:
            self.skipTest("NO METRIC IN THE CODE YET: nothing to look up")
        self.assertIsNotNone(read("docs/metrics.md"), "docs/metrics.md is missing")
        dashboards = "".join(text for path, text in texts(".json")
                             if path.startswith("deploy/grafana/"))
        self.check(rules.check_metrics(names, read("docs/metrics.md"), dashboards))
        self.check(rules.check_dashboard(dashboards, names))

    def test_ctest_runs_every_test_of_the_tree(self):
        if BUILD_DIR is None:
            self.skipTest("NO --build-dir: what ctest runs is unknown")
        cache = (BUILD_DIR / "CMakeCache.txt").read_text(encoding="utf-8")
        no_trainer = re.search(r"^LACONIC_BUILD_TRAINER:\w+=(OFF|0|FALSE)$", cache, re.M)
        tree_tests = [path for path in list_files() if path.startswith("tests/") and
                      path.endswith(("_test.cc", "_test.py")) and
                      not (no_trainer and path.startswith(NO_TRAINER))]
        compiled = {}
        for entry in json.loads((BUILD_DIR / "compile_commands.json").read_text(encoding="utf-8")):
            path = entry["file"].removeprefix(str(ROOT) + "/")
            program = re.search(r"-o \S*?/CMakeFiles/(\w+)\.dir/", entry["command"])
            if path.startswith("tests/") and path.endswith("_test.cc") and program:
                compiled[path] = program.group(1)
        ctest_files = "".join(path.read_text(encoding="utf-8") for path in
                              (BUILD_DIR / "tests").glob("**/CTestTestfile.cmake"))
        programs = set(re.findall(r"/(\w+)\[1\]_include\.cmake", ctest_files))
        scripts = set(re.findall(re.escape(str(ROOT)) + r"/(tests/[\w/]+_test\.py)", ctest_files))
        self.check(rules.check_registration(tree_tests, compiled, programs, scripts))


class RulesCanFail(unittest.TestCase):
    """One bad snippet per rule, beside one that passes."""

    def test_includes(self):
        may_use = {"core": {"absl"}, "server": {"core", "threads"}}
        for header in ('"common/wire/status.h"', "<torch/torch.h>", "<thread>", "<grpcpp/grpcpp.h>",
                       '"laconic/v1/job.pb.h"'):
            bad = f"#include {header}\n"
            self.assertTrue(rules.check_includes("common/core/a.cc", bad, may_use), header)
        good = '#include "absl/status/status.h"\n#include <vector>\n#include "common/core/b.h"\n'
        self.assertFalse(rules.check_includes("common/core/a.cc", good, may_use))
        self.assertFalse(rules.check_includes("server/a.cc", "#include <thread>\n", may_use))

    def test_layer_table(self):
        row = "| `common/core` | `core` | holds | absl, xxhash |\n"
        self.assertFalse(rules.check_layer_table(row, {"core": {"xxhash", "absl"}}))
        self.assertTrue(rules.check_layer_table(row, {"core": {"absl"}}))
        self.assertTrue(rules.check_layer_table("", {"core": {"absl"}}))

    def test_function_length(self):
        body = "  int a = 0;\n" * 71
        for start in ("int f() {\n", "Foo::Foo(int b) : a_{b}, c_(b) {\n",
                      "namespace x {\nclass A {\n  int f() const {\n", "TEST(A, B) {\n",
                      "auto f(int a) -> int {\n  auto g = [](int c) {\n"):
            text = start + body + "}\n" * start.count("{")
            lengths = [length for _, length in rules.measure_functions(text)]
            self.assertTrue(any(length > 70 for length in lengths), start)
        short = "namespace a {\n" + "int f() { return 1; }\nstd::string s = \"{(\"; // {(\n" * 80 + "}\n"
        self.assertEqual([n for _, n in rules.measure_functions(short)], [1] * 80)
        self.assertTrue(rules.check_sizes("a.py", "def f():\n" + "    x = 1\n" * 71))

    def test_file_length(self):
        self.assertTrue(rules.check_sizes("common/core/a.cc", "\n" * 501))
        self.assertFalse(rules.check_sizes("common/core/a.cc", "\n" * 500))
        self.assertTrue(rules.check_sizes("server/main.cc", "\n" * 121))

    def test_words(self):
        for path, bad in (("a.md", "TO" + "DO: x"), ("common/core/a.cc", "std::cout << 1;"),
                          ("tests/core/a_test.cc", "std::this_thread::sleep_for(s);"),
                          ("cli/a.cc", "int a = rand();"), ("cli/a.h", "using namespace std;"),
                          ("common/sync/a.cc", "std::mt19937 g;"), ("server/a.cc", "printf(\"\");")):
            self.assertTrue(rules.check_words(path, bad), bad)
        for path, good in (("cli/a.cc", "std::cout << 1;"), ("server/a.cc", "snprintf(a, 1);"),
                           ("common/core/a.cc", "int b = operand(1); // not rand()")):
            self.assertFalse(rules.check_words(path, good), good)

    def test_names(self):
        for bad in ("common/core/utils.h", "server/string_util.cc", "cli/job_manager.h"):
            self.assertTrue(rules.check_file_name(bad), bad)
        self.assertFalse(rules.check_file_name("common/core/digest.h"))
        for bad in ("TEST(ATest, Basic) {", "TEST_F(ATest, Does_It) {", "TEST_P(ATest, Test1) {"):
            self.assertTrue(rules.check_test_names("tests/a_test.cc", bad), bad)
        good = "TEST(TopKTest, BreaksTiesTowardLowerIndex) {"
        self.assertFalse(rules.check_test_names("tests/a_test.cc", good))

    def test_proto_comments(self):
        for bad in ("message A {\n  int32 a = 1;\n}", "message A {\n  map<string, int32> a = 1;\n}",
                    "enum A {\n  B = 1;\n}", "message A {\n  repeated x.Y a = 2 [packed = true];\n}",
                    "message A {\n  int32 a = 1;  //\n}"):
            self.assertTrue(rules.check_proto("a.proto", bad), bad)
        good = ("enum A {\n  A_UNSPECIFIED = 0;\n  B = 1;  // Text.\n}\nmessage C {\n"
                "  // Above.\n  optional int32 a = 1;\n}\n")
        self.assertFalse(rules.check_proto("a.proto", good))

    def test_flags(self):
        for bad in ('app.add_option("--a", a);', 'app.add_flag("--a", a, "");',
                    'app.add_option_function<std::string>("--a", f);', 'app.add_subcommand("run");'):
            self.assertTrue(rules.check_flags("cli/a.cc", bad), bad)
        for good in ('void add_options(CLI::App& app) {', 'app.add_option("--a,-a", a, "Steps, 1..9")->required();',
                     'app.add_flag("--a", [&](int n) { g(n, "x"); }, "Help, with (brackets).");',
                     'app.add_subcommand("run", "Runs.");'):
            self.assertFalse(rules.check_flags("cli/a.cc", good), good)

    def test_code_blocks(self):
        source = "a\n# docs-begin: part\nb\n# docs-end: part\n"
        read_source = {"x.yaml": source}.get
        good = "<!-- from: x.yaml#part -->\n```yaml\nb\n```\n"
        self.assertFalse(rules.check_code_blocks("a.md", good, read_source))
        for bad in (good.replace("b\n`", "c\n`"), good.replace("part", "other"),
                    good.replace("x.yaml", "y.yaml"), "<!-- from: x.yaml -->\ntext\n"):
            self.assertTrue(rules.check_code_blocks("a.md", bad, read_source), bad)

    def test_links(self):
        def exists(target):
            return target in ("docs/cli.md", "README.md")
        for bad in ("[a](docs/none.md)", "[a](docs/none.md#b)"):
            self.assertTrue(rules.check_links("README.md", bad, exists), bad)
        self.assertFalse(rules.check_links("docs/x.md", "[a](cli.md) [b](../README.md#c) "
                                           "[c](https://example.org/x)", exists))

    def test_metrics(self):
        code = 'constexpr char kLoss[] = "laconic_job_loss"; f("laconic_rounds_total");'
        names = rules.find_metric_names(code)
        self.assertEqual(names, {"laconic_job_loss", "laconic_rounds_total"})
        everywhere = "laconic_job_loss laconic_rounds_total"
        self.assertFalse(rules.check_metrics(names, everywhere, everywhere))
        self.assertEqual(len(rules.check_metrics(names, "laconic_job_loss_x", everywhere)), 2)
        self.assertEqual(len(rules.check_metrics(names, everywhere, "laconic_job_loss")), 1)
        self.assertFalse(rules.check_dashboard("laconic_job_loss_sum{a=\"b\"}", names))
        self.assertTrue(rules.check_dashboard("laconic_job_losses", names))

    def test_registration(self):
        tree = ["tests/core/a_test.cc", "tests/b_test.py"]
        compiled = {"tests/core/a_test.cc": "core_test"}
        self.assertFalse(rules.check_registration(tree, compiled, {"core_test"}, {"tests/b_test.py"}))
        self.assertTrue(rules.check_registration(tree, {}, {"core_test"}, {"tests/b_test.py"}))
        self.assertTrue(rules.check_registration(tree, compiled, set(), {"tests/b_test.py"}))
        self.assertTrue(rules.check_registration(tree, compiled, {"core_test"}, set()))
        self.assertTrue(rules.check_registration(tree[1:], compiled, {"core_test"},
                                                 {"tests/b_test.py"}))


if __name__ == "__main__":
    if "--build-dir" in sys.argv:
        position = sys.argv.index("--build-dir")
        BUILD_DIR = pathlib.Path(sys.argv[position + 1]).resolve()
        del sys.argv[position:position + 2]
    unittest.main()
