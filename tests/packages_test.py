#!/usr/bin/env python3
"""deploy/install_packages.sh says exactly what is missing, and nothing when nothing is."""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "deploy" / "install_packages.sh"
LIST = """# comment
build      | present-one | cmd:sh                    | a shell
build,test | absent-one  | cmd:laconic-no-such-thing | a program that no system has
run        | absent-two  | file:share/laconic-none/* | a file that no system has
"""


class PackagesTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def run_script(self, *arguments, system="ID=other\nVERSION_ID=1\n", packages=LIST):
        directory = pathlib.Path(self.directory.name)
        (directory / "os-release").write_text(system, encoding="utf-8")
        (directory / "packages.txt").write_text(packages, encoding="utf-8")
        environment = dict(os.environ, LACONIC_OS_RELEASE=str(directory / "os-release"),
                           LACONIC_PACKAGES=str(directory / "packages.txt"))
        return subprocess.run([str(SCRIPT), *arguments], env=environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def test_other_system_shows_exactly_what_is_missing_and_stops(self):
        run = self.run_script("build", "test")
        self.assertEqual(run.returncode, 1)
        self.assertIn("absent-one", run.stderr)
        self.assertIn("a program that no system has", run.stderr)
        self.assertNotIn("present-one", run.stderr)
        self.assertNotIn("absent-two", run.stderr)
        self.assertEqual(run.stdout, "")

    def test_other_system_missing_files_are_seen(self):
        run = self.run_script("run")
        self.assertEqual(run.returncode, 1)
        self.assertIn("absent-two", run.stderr)

    def test_nothing_missing_is_silent(self):
        present = "\n".join(LIST.splitlines()[:2]) + "\n"
        run = self.run_script("build", packages=present)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))

    def test_debian_asks_dpkg_not_the_probe(self):
        installed = "build | dpkg | cmd:laconic-no-such-thing | always installed\n"
        run = self.run_script("build", system="ID=debian\nVERSION_ID=12\n", packages=installed)
        if not pathlib.Path("/usr/bin/dpkg-query").exists():
            self.skipTest("NO dpkg ON THIS SYSTEM")
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))

    def test_list_prints_names_only(self):
        run = self.run_script("--list", "build", "run")
        self.assertEqual((run.returncode, run.stdout), (0, "present-one\nabsent-one\nabsent-two\n"))

    def test_unknown_group_is_refused(self):
        run = self.run_script("bulid")
        self.assertEqual(run.returncode, 2)
        self.assertIn("unknown group 'bulid'", run.stderr)

    def test_unknown_probe_is_refused(self):
        run = self.run_script("build", packages="build | a | path:b | c\n")
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("unknown probe 'path:b'", run.stderr)

    def test_real_list_is_well_formed(self):
        names = []
        for line in (ROOT / "deploy" / "packages.txt").read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                columns = [column.strip() for column in line.split("|")]
                self.assertEqual(len(columns), 4, line)
                groups, package, probe, reason = columns
                self.assertLessEqual(set(groups.split(",")),
                                     {"build", "torch", "run", "test", "lint", "arena", "server",
                                      "trainer"}, line)
                self.assertRegex(package, r"^[a-z0-9][a-z0-9+.-]+$")
                self.assertRegex(probe, r"^(cmd|file):\S+$")
                self.assertTrue(reason, line)
                names.append(package)
        self.assertEqual(len(names), len(set(names)), "a package stands twice")


if __name__ == "__main__":
    unittest.main()
