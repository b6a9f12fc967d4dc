#!/usr/bin/env python3
"""Trains job files with `laconic run` and writes what each cost next to what it reached.

  bench/train_compare.py --bin build/release/bin --out bench/results/train_compare.json \
      [--repetitions N] [--set-all PATH=VALUE] \
      --baseline examples/fashion_mnist_dense.yaml \
      --vary spec.train.optimizer.adamw.learning_rate=1e-3,3e-3,5e-3 examples/fashion_mnist.yaml

The baseline is trained once for every value of --vary; its most accurate run is the one that the
other job files are compared with. Every run must end SUCCEEDED with equal digests on all ranks,
or nothing is written. Numbers hold for the machine, commit and command in the file, no others.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def describe_machine():
    """The facts that a reader needs to judge the seconds; no host name."""
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "memory_bytes": memory_bytes,
            "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
            "kernel": platform.release()}


def describe_commit():
    """The commit, with "+changes" when the tree differs from it."""
    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, text=True,
                              capture_output=True).stdout.strip()
    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def check_report(report, job_file):
    """Returns the report's numbers of interest; stops the benchmark on an unusable run."""
    if report["result"] != "SUCCEEDED":
        sys.exit(f"train_compare: {job_file}: ended {report['result']}, wanted SUCCEEDED")
    if len(report["digests"]) != report["world_size"] or len(set(report["digests"])) != 1:
        sys.exit(f"train_compare: {job_file}: ranks end with unequal parameters: {report['digests']}")
    return {"steps": report["steps"], "rounds": report["rounds"],
            "world_size": report["world_size"], "parameters": report["parameters"],
            "wall_seconds": report["wall_seconds"],
            "eval_accuracy": report["final"].get("eval_accuracy"),
            "eval_loss": report["final"].get("eval_loss"),
            "train_loss": report["final"].get("train_loss"),
            "sent_bytes_max": max(report["bytes"]["sent_per_worker"]),
            "times_less": report["bytes"]["times_less"]}


def run_job(laconic, job_file, settings, directory):
    """Trains one job file; the progress goes to this program's standard error."""
    command = [str(laconic), "run", "-f", str(job_file), "--out", str(directory)]
    for setting in settings:
        command += ["--set", setting]
    print(f"train_compare: {shlex.join(command)}", file=sys.stderr, flush=True)
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if ended.returncode != 0:
        sys.exit(f"train_compare: {job_file}: laconic run ended with {ended.returncode}, wanted 0; "
                 "nothing is written")
    return check_report(json.loads((directory / "report.json").read_text(encoding="utf-8")), job_file)


def summarize(runs):
    """Median and spread over the repetitions of every number."""
    summary = {}
    for key in runs[0]:
        values = [run[key] for run in runs if run[key] is not None]
        if values:
            summary[key] = {"median": statistics.median(values), "min": min(values),
                            "max": max(values)}
    return summary


def train(options, job_file, settings, is_baseline):
    """All repetitions of one job file with one list of settings."""
    runs = []
    for _ in range(options.repetitions):
        with tempfile.TemporaryDirectory(prefix="laconic-bench-") as directory:
            runs.append(run_job(options.bin.resolve() / "laconic", job_file,
                                options.set_all + settings, pathlib.Path(directory) / "run"))
    return {"job_file": str(job_file), "settings": options.set_all + settings,
            "baseline": is_baseline, "runs": runs, "summary": summarize(runs)}


def median(result, key):
    return result["summary"][key]["median"] if key in result["summary"] else float("nan")


def compare(results):
    """Each job next to the most accurate of the baseline's runs; none without an accuracy."""
    baselines = [result for result in results
                 if result["baseline"] and "eval_accuracy" in result["summary"]]
    if not baselines:
        return None
    best = max(baselines, key=lambda result: median(result, "eval_accuracy"))
    return {"best_baseline_settings": best["settings"],
            "best_baseline_eval_accuracy": median(best, "eval_accuracy"),
            "jobs": [{"job_file": result["job_file"],
                      "eval_accuracy": median(result, "eval_accuracy"),
                      "points_below_best_baseline":
                          100 * (median(best, "eval_accuracy") - median(result, "eval_accuracy")),
                      "times_less_than_best_baseline_sent":
                          median(best, "sent_bytes_max") / median(result, "sent_bytes_max")}
                     for result in results
                     if not result["baseline"] and "eval_accuracy" in result["summary"]
                     and median(result, "sent_bytes_max") > 0]}


def print_table(results):
    print(f"{'job':<34} {'accuracy':>9} {'loss':>8} {'sent bytes':>14} {'times less':>11} "
          f"{'seconds':>8}  settings")
    for result in results:
        print(f"{result['job_file']:<34} {median(result, 'eval_accuracy'):>9.4f} "
              f"{median(result, 'eval_loss'):>8.4f} {median(result, 'sent_bytes_max'):>14,.0f} "
              f"{median(result, 'times_less'):>11.1f} {median(result, 'wall_seconds'):>8.1f}  "
              f"{' '.join(result['settings'])}".rstrip())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bin", required=True, type=pathlib.Path, help="directory of laconic")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="JSON file to write")
    parser.add_argument("--repetitions", type=int, default=1, help="runs of each job, at least 1")
    parser.add_argument("--set-all", action="append", default=[], metavar="PATH=VALUE",
                        help="replace a field in every job, for a short trial (repeatable)")
    parser.add_argument("--baseline", required=True, type=pathlib.Path, help="job file")
    parser.add_argument("--vary", metavar="PATH=VALUE,VALUE",
                        help="train the baseline once for every value")
    parser.add_argument("job_files", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    options.variants = [[]]
    if options.vary is not None:
        path, equals, values = options.vary.partition("=")
        if not path or not equals or not all(values.split(",")):
            parser.error(f"--vary is {options.vary!r}; write PATH=VALUE,VALUE")
        options.variants = [[f"{path}={value}"] for value in values.split(",")]
    return options


def main():
    options = parse_arguments()
    results = [train(options, options.baseline, settings, True) for settings in options.variants]
    results += [train(options, job_file, [], False) for job_file in options.job_files]
    document = {"schema_version": 2, "machine": describe_machine(), "commit": describe_commit(),
                "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
                "command": shlex.join(sys.argv), "repetitions": options.repetitions,
                "results": results, "comparison": compare(results)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print_table(results)
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
