#!/usr/bin/env python3
"""No program but laconic-trainer loads libtorch, CUDA or NCCL.

  tests/links_test.py PROGRAM...

Reads what the dynamic loader would load (`ldd`), so an edge that slipped in through another library
shows as well.
"""

import pathlib
import re
import subprocess
import sys
import unittest

PROGRAMS = []
FORBIDDEN = re.compile(r"^lib(torch|c10|caffe2|cuda|cudart|cublas|cudnn|nccl)[\w.+-]*\.so", re.I)


def find_forbidden(ldd_output):
    """Names of forbidden libraries in the output of ldd."""
    names = [line.split()[0].rsplit("/", 1)[-1] for line in ldd_output.splitlines() if line.split()]
    return [name for name in names if FORBIDDEN.match(name)]


class LinksTest(unittest.TestCase):
    def test_forbidden_libraries_are_found(self):
        output = ("\tlinux-vdso.so.1 (0x1)\n\tlibtorch_cpu.so.1.13 => /usr/lib/libtorch_cpu.so.1.13\n"
                  "\tlibnccl.so.2 => not found\n\tlibgrpc.so.29 => /usr/lib/libgrpc.so.29 (0x2)\n")
        self.assertEqual(find_forbidden(output), ["libtorch_cpu.so.1.13", "libnccl.so.2"])

    def test_programs_load_none(self):
        self.assertTrue(PROGRAMS, "name at least one program")
        for program in PROGRAMS:
            with self.subTest(program=pathlib.Path(program).name):
                run = subprocess.run(["ldd", program], text=True, capture_output=True, check=False)
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertIn("libc.so", run.stdout)
                self.assertEqual(find_forbidden(run.stdout), [])


if __name__ == "__main__":
    PROGRAMS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
