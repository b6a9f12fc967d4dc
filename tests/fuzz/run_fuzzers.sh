#!/bin/bash
# Runs the libFuzzer programs of a build of the preset "fuzz", two at a time.
#
#   tests/fuzz/run_fuzzers.sh BUILD_DIR SECONDS [TARGET...]
#
# FUZZ_SEED: of the random choices; the same number tries the same inputs, as far as time allows. Unset
# or 0: another one each time.
# Starts from tests/fuzz/corpus; what a run learns stays in BUILD_DIR/corpus for the next one.
# Prints executions per target. An input that breaks something is kept below BUILD_DIR/crashes, its
# path is printed, and the exit code is 1; BUILD_DIR/bin/fuzz_TARGET FILE repeats it.
set -euo pipefail

if [[ $# -lt 2 ]]; then
  echo "usage: run_fuzzers.sh BUILD_DIR SECONDS [TARGET...]" >&2
  exit 2
fi
build=$1 seconds=$2
shift 2
seeds=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/corpus
targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
  for program in "$build"/bin/fuzz_*; do targets+=("${program##*/fuzz_}"); done
fi

export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# Leak checks of the system's libraries are suppressed as in the preset "asan".
LSAN_OPTIONS=suppressions=$seeds/../../../cmake/lsan.supp:print_suppressions=0
TMPDIR=$build/scratch
export LSAN_OPTIONS TMPDIR
mkdir -p "$TMPDIR"

# Fuzzes one target; prints one line, and the end of the log if something broke.
fuzz() {
  local target=$1 corpus=$build/corpus/$1 crashes=$build/crashes/$1 status=0
  mkdir -p "$corpus" "$crashes"
  "$build/bin/fuzz_$target" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" -max_len=8192 -timeout=20 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$crashes/" "$corpus" "$seeds/$target" \
    >"$build/$target.log" 2>&1 || status=$?
  local executions
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$target.log")
  if [[ $status == 0 ]]; then
    printf '%-14s %10d executions in %d s\n' "$target" "$executions" "$seconds"
    return
  fi
  echo "$target: BROKEN, exit code $status"
  tail -n 60 "$build/$target.log"
  sed -n 's/.*Test unit written to /kept: /p' "$build/$target.log"
  return 1
}

failed=0
for ((i = 0; i < ${#targets[@]}; i += 2)); do
  running=()
  for target in "${targets[@]:i:2}"; do
    fuzz "$target" &
    running+=($!)
  done
  for process in "${running[@]}"; do wait "$process" || failed=1; done
done
rm -rf "$TMPDIR"
exit "$failed"
