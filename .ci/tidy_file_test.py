#!/usr/bin/env python3
""".ci/tidy_file.py skips a file only when nothing has changed that its verdict depends on.

Runs the script and clang-tidy on a tree of its own. .ci/run tidy starts it, because only the
packages of that stage have clang-tidy.
"""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent / "tidy_file.py"
SETTINGS = "Checks: '-*,modernize-use-nullptr'\nWarningsAsErrors: '*'\nHeaderFilterRegex: '.*'\n"
GOOD = '#include "a.h"\nint* f() { return nullptr; }\n'
BAD = GOOD + "int* g() { return 0; }\n"
EXCUSED = GOOD + "int* g() { return 0; }  // NOLINT: a reason\n"


class TidyFileTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.cache = self.scratch / "cache"
        self.make_tree("tree")

    def make_tree(self, name):
        self.tree = self.scratch / name
        (self.tree / ".ci").mkdir(parents=True)
        shutil.copy(SCRIPT, self.tree / ".ci")
        self.write(".clang-tidy", SETTINGS)
        self.write("a.h", "#define WIDTH 1\n")
        self.write("a.cc", GOOD)
        self.compile_with("clang++ -std=c++20")

    def write(self, name, text):
        (self.tree / name).write_text(text, encoding="utf-8")

    def compile_with(self, compiler):
        self.write("compile_commands.json", json.dumps([{
            "directory": str(self.tree), "file": str(self.tree / "a.cc"),
            "command": f"{compiler} -o a.o -c {self.tree}/a.cc"}]))

    def tidy(self, name="a.cc", *checks):
        done = subprocess.run([self.tree / ".ci" / SCRIPT.name, self.tree, self.cache,
                               self.tree / name, *checks],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def check_passes(self):
        code, output = self.tidy()
        self.assertEqual(code, 0, output)
        self.assertRegex(output, r"^clang-tidy a\.cc: passed, [\d.]+ CPU s\n$")

    def check_is_skipped(self):
        self.assertEqual(self.tidy(), (0, ""))

    def check_fails(self):
        code, output = self.tidy()
        self.assertEqual(code, 1, output)
        self.assertIn("a.cc: FAILED", output)
        self.assertIn("[modernize-use-nullptr,-warnings-as-errors]", output)

    def test_a_file_that_passed_is_skipped(self):
        self.check_passes()
        self.check_is_skipped()

    def test_a_file_that_failed_fails_again(self):
        self.write("a.cc", BAD)
        self.check_fails()
        self.check_fails()

    def test_a_change_of_the_file_counts(self):
        self.check_passes()
        self.write("a.cc", BAD)
        self.check_fails()

    def test_a_change_of_a_header_counts(self):
        self.check_passes()
        self.write("a.h", "inline int* h() { return 0; }\n")
        self.check_fails()

    def test_a_macro_that_nobody_uses_counts(self):
        self.check_passes()
        self.write("a.h", "#define WIDTH 2\n")
        self.check_passes()

    def test_an_excuse_taken_away_counts(self):
        self.write("a.cc", EXCUSED)
        self.check_passes()
        self.write("a.cc", BAD)
        self.check_fails()

    def test_a_change_of_the_settings_counts(self):
        self.check_passes()
        self.write(".clang-tidy", SETTINGS.replace("nullptr", "override"))
        self.check_passes()

    def test_checks_of_the_command_line_count(self):
        self.write("a.cc", BAD)
        self.assertEqual(self.tidy("a.cc", "-modernize-*,modernize-use-override")[0], 0)
        self.assertEqual(self.tidy("a.cc", "-modernize-*,modernize-use-override"), (0, ""))
        self.check_fails()

    def test_another_compile_command_counts(self):
        self.check_passes()
        self.compile_with("clang++ -std=c++20 -Wall")
        self.check_passes()

    def test_another_checkout_shares_what_passed(self):
        self.check_passes()
        self.make_tree("another")
        self.check_is_skipped()

    def test_a_file_that_is_not_compiled_is_refused(self):
        code, output = self.tidy("b.cc")
        self.assertEqual(code, 2)
        self.assertIn("b.cc: not in", output)
        self.assertIn("configure again", output)

    def test_a_missing_header_is_refused(self):
        (self.tree / "a.h").unlink()
        code, output = self.tidy()
        self.assertEqual(code, 2)
        self.assertIn("'a.h' file not found", output)


if __name__ == "__main__":
    unittest.main()
