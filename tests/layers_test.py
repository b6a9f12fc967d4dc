#!/usr/bin/env python3
"""An edge that cmake/Layers.cmake does not list stops the configure step.

  tests/layers_test.py --cmake PATH

Configures a small project of two layers with the real table.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CMAKE = "cmake"

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(layers LANGUAGES NONE)
function(laconic_warnings target)
endfunction()
include({root}/cmake/Layers.cmake)
add_library(external_absl INTERFACE)
add_library(external_xxhash INTERFACE)
add_library(external_torch INTERFACE)
if(NOT "{layer}" STREQUAL "core")
  add_library(laconic_core INTERFACE)
endif()
set(CMAKE_CXX_LINK_EXECUTABLE "unused")
laconic_layer({layer} USES {uses})
message(FATAL_ERROR "every edge was accepted")
"""


def configure(layer, uses):
    """What cmake says about `layer` when it uses `uses`."""
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory)
        (source / "part.cc").write_text("int part() { return 1; }\n", encoding="utf-8")
        (source / "CMakeLists.txt").write_text(
            PROJECT.format(root=ROOT, layer=layer, uses=uses), encoding="utf-8")
        run = subprocess.run([CMAKE, "-S", directory, "-B", directory + "/build"], text=True,
                             capture_output=True, check=False)
        return " ".join((run.stdout + run.stderr).split())


class LayersTest(unittest.TestCase):
    def test_listed_edge_is_accepted(self):
        self.assertIn("every edge was accepted", configure("compress", "core absl"))

    def test_unlisted_edge_between_layers_stops(self):
        said = configure("core", "absl compress")
        self.assertIn("layer 'core' may not use 'compress'", said)
        self.assertNotIn("every edge was accepted", said)

    def test_gpu_path_without_nvcc_is_refused(self):
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "CMakeLists.txt").write_text(
                "cmake_minimum_required(VERSION 3.25)\nproject(cuda LANGUAGES NONE)\n"
                "set(CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH OFF)\n"
                "set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)\n"
                f"include({ROOT}/cmake/Cuda.cmake)\n", encoding="utf-8")
            run = subprocess.run(
                [CMAKE, "-S", directory, "-B", directory + "/build", "-DLACONIC_ENABLE_CUDA=ON",
                 "-DLACONIC_CUDA_ROOT=/nonexistent"], text=True, capture_output=True, check=False,
                env={k: v for k, v in os.environ.items() if k != "CUDACXX"})
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("LACONIC_ENABLE_CUDA is ON, but there is no nvcc", " ".join(run.stderr.split()))

    def test_unlisted_outside_dependency_stops(self):
        said = configure("server", "core torch")
        self.assertIn("layer 'server' may not use 'torch'", said)
        self.assertNotIn("every edge was accepted", said)

    def test_unknown_layer_may_use_nothing(self):
        self.assertIn("layer 'novelty' may not use 'core'", configure("novelty", "core"))


if __name__ == "__main__":
    if "--cmake" in sys.argv:
        position = sys.argv.index("--cmake")
        CMAKE = sys.argv[position + 1]
        del sys.argv[position:position + 2]
    unittest.main()
