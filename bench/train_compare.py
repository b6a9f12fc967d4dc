#!/usr/bin/env python3
"""Trains each job file with `laconic run` and writes what it cost next to what it reached.

  bench/train_compare.py --bin build/release/bin --out bench/results/train_compare.json \
      [--repetitions N] examples/fashion_mnist_dense.yaml examples/fashion_mnist.yaml

The first job file is the baseline. Every run must end SUCCEEDED with equal digests on all ranks,
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
            "sent_bytes_max": max(report["bytes"]["sent_per_worker"]),
            "times_less": report["bytes"]["times_less"]}


def run_job(laconic, job_file, directory):
    """Trains one job file; the progress goes to this program's standard error."""
    subprocess.run([laconic, "run", "-f", str(job_file), "--out", str(directory)], check=True,
                   stdin=subprocess.DEVNULL, stdout=sys.stderr)
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


def print_table(results):
    print(f"{'job':<34} {'accuracy':>9} {'sent bytes':>14} {'times less':>11} {'seconds':>9}")
    for result in results:
        def median(key, summary=result["summary"]):
            return summary[key]["median"] if key in summary else float("nan")
        print(f"{result['job_file']:<34} {median('eval_accuracy'):>9.4f} "
              f"{median('sent_bytes_max'):>14,.0f} {median('times_less'):>11.1f} "
              f"{median('wall_seconds'):>9.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bin", required=True, type=pathlib.Path, help="directory of laconic")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="JSON file to write")
    parser.add_argument("--repetitions", type=int, default=1, help="runs of each job, at least 1")
    parser.add_argument("job_files", nargs="+", type=pathlib.Path, help="baseline first")
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")

    results = []
    for job_file in options.job_files:
        runs = []
        for _ in range(options.repetitions):
            with tempfile.TemporaryDirectory(prefix="laconic-bench-") as directory:
                runs.append(run_job(options.bin.resolve() / "laconic", job_file,
                                    pathlib.Path(directory) / "run"))
        results.append({"job_file": str(job_file), "runs": runs, "summary": summarize(runs)})
    document = {"schema_version": 1, "machine": describe_machine(), "commit": describe_commit(),
                "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
                "command": shlex.join(sys.argv), "repetitions": options.repetitions,
                "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print_table(results)
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
