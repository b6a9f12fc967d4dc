#!/bin/bash
# Builds the device codecs and their exchange, and runs everything that needs a GPU. For a machine that has nvcc, cmake,
# ninja, g++ and a GPU; Abseil, xxhash, GoogleTest and CLI11 may lie anywhere CMAKE_PREFIX_PATH says:
#
#   apt-get download libabsl-dev libabsl20220623 libxxhash-dev libxxhash0 libgtest-dev libgmock-dev googletest libcli11-dev
#   for f in *.deb; do dpkg -x "$f" /tmp/deps; done
#   CMAKE_PREFIX_PATH=/tmp/deps/usr tests/compress_cuda/run_gpu.sh
#
# The figures of gpu_bench go to gpu.json, here or in $OUT. Exit code 3: there is no GPU, and nothing was run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; then
  echo "run_gpu.sh: NO GPU: nvidia-smi finds none, nothing was run" >&2
  exit 3
fi
# Its compiler may know warnings that ours does not.
cmake --preset gpu-only -DLACONIC_WERROR=OFF
cmake --build --preset gpu-only --parallel "$(nproc)"
ctest --test-dir build/gpu-only --output-on-failure --label-regex '^gpu$'

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 9 build/gpu-only/bin/gpu_test \
      --gtest_brief=1 --gtest_filter='-*LargeVectors*'
    compute-sanitizer --tool "$tool" --error-exitcode 9 build/gpu-only/bin/exchange_gpu_test \
      --gtest_brief=1 --gtest_filter='-*FaultAtEveryMessage*'
  done
else
  echo "run_gpu.sh: NO compute-sanitizer: memcheck, racecheck and synccheck were not run" >&2
fi
build/gpu-only/bin/gpu_bench --json "${OUT:-.}/gpu.json"
