#!/usr/bin/env python3
"""Trains one work by many methods and writes what each reached for its bytes.

  bench/train/arena.py --bin build/release/bin --work byte_gpt --seeds 1,2,3 \
      --out bench/results/arena_byte_gpt.json

Every run is a real one: server, worker, four trainers, gRPC, bytes counted at the frames, in both
directions. All methods of a work share initial weights, sample order and number of samples. A run
that is done is kept below --runs and not repeated, so an arena that was interrupted goes on where it
was, and new methods join old ones. Beside the JSON stands a picture, the loss over the bits per
parameter of the whole run.
"""

import argparse
import datetime
import hashlib
import json
import math
import pathlib
import shlex
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench" / "train")]
from frontier_svg import frontier_svg  # noqa: E402
from methods import METHODS  # noqa: E402
from train_compare import describe_commit, describe_machine  # noqa: E402

WORKS = {path.stem: path for path in (ROOT / "bench" / "train" / "works").glob("*.yaml")}


def run_name(method, settings, seed):
    """Directory of a run: changes with whatever changes the run."""
    digest = hashlib.sha256("\n".join(settings).encode()).hexdigest()[:12]
    return f"{method}-{digest}-seed{seed}"


def delta_over_l(similarity):
    """How unlike the workers were, over the whole run; None where it was not measured."""
    curved = sum(one["smoothness"] ** 2 for one in similarity)
    apart = sum(one["delta_rms"] ** 2 for one in similarity)
    return math.sqrt(apart / curved) if curved > 0 else None


def silent_share(decisions):
    """The part of the messages that were not sent; None where the method knows no rounds."""
    counts = decisions.get("per_worker", [])
    rounds = sum(sum(worker.values()) for worker in counts)
    return sum(worker.get("SMALL_CHANGE", 0) for worker in counts) / rounds if rounds else None


def figures(report):
    """What the arena compares; exits on a run that proves nothing."""
    if report["result"] != "SUCCEEDED":
        raise ValueError(f"ended {report['result']}, wanted SUCCEEDED")
    if len(report["digests"]) != report["world_size"] or len(set(report["digests"])) != 1:
        raise ValueError(f"ranks end with unequal parameters: {report['digests']}")
    sent = max(report["bytes"]["sent_per_worker"])
    received = max(report["bytes"]["received_per_worker"])
    busiest = max(sent, received)
    dense = report["bytes"]["dense_equivalent_per_worker"]
    return {"eval_loss": report["final"]["eval_loss"],
            "eval_accuracy": report["final"].get("eval_accuracy"),
            "rounds": report["rounds"], "steps": report["steps"],
            "sent_bytes_max": sent, "received_bytes_max": received,
            "bits_per_parameter": 8 * busiest / report["parameters"],
            "times_less": dense / busiest, "wall_seconds": report["wall_seconds"],
            "delta_over_l": delta_over_l(report.get("similarity", [])),
            "silent": silent_share(report.get("decisions", {})),
            "overlap": [[entry["first_round"], entry["reason"], entry["overlap"]]
                        for entry in report.get("decisions", {}).get("of_rank_0", [])
                        if entry.get("overlap")],
            "loss_on_the_way": [[point["step"], point["eval_loss"]] for point in report["history"]
                                if point.get("eval_loss") is not None]}


def run_once(options, method, settings, seed):
    """One run's figures: read where it is done, else made."""
    settings = [*settings, f"spec.train.seed={seed}", *options.set]
    directory = options.runs / options.work / run_name(method, settings, seed)
    report = directory / "report.json"
    if not report.is_file():
        command = [str(options.bin.resolve() / "laconic"), "run", "-f", str(WORKS[options.work]),
                   "--out", str(directory)]
        for setting in settings:
            command += ["--set", setting]
        print(f"arena: {shlex.join(command)}", file=sys.stderr, flush=True)
        ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        if ended.returncode != 0:
            sys.exit(f"arena: {method}, seed {seed}: laconic run ended with {ended.returncode}, "
                     "wanted 0; runs that were done are kept, the next call goes on from there")
        (directory / "commit").write_text(describe_commit() + "\n", encoding="utf-8")
    try:
        result = figures(json.loads(report.read_text(encoding="utf-8")))
    except (ValueError, KeyError) as error:
        sys.exit(f"arena: {report}: {error}; remove the directory to run it again")
    commit = directory / "commit"
    return result | {"seed": seed, "settings": settings,
                     "commit": commit.read_text(encoding="utf-8").strip()}


def score(work, run):
    """Lower is better: classifiers are judged by accuracy, text by loss."""
    return -run["eval_accuracy"] if work.startswith("conv") else run["eval_loss"]


def summary(runs):
    """Mean, least and greatest over the seeds."""
    result = {}
    for key in ("eval_loss", "eval_accuracy", "bits_per_parameter", "times_less", "wall_seconds",
                "sent_bytes_max", "received_bytes_max", "delta_over_l", "rounds", "silent"):
        values = [run[key] for run in runs if run[key] is not None]
        if values:
            result[key] = {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}
    return result


def train_method(options, name):
    """The grid with the first seed, then the best value with all seeds."""
    method = METHODS[name]
    first = options.seeds[0]
    tried = []
    for rate in method.grid:
        run = run_once(options, name, [*method.settings, f"{method.rate}={rate}"], first)
        tried.append({"learning_rate": rate} | run)
    best = min(tried, key=lambda run: score(options.work, run))
    settings = [*method.settings, f"{method.rate}={best['learning_rate']}"]
    runs = [run_once(options, name, settings, seed) for seed in options.seeds]
    return {"method": name, "source": method.source, "baseline": method.baseline,
            "learning_rate": best["learning_rate"],
            "grid": [{key: run[key] for key in ("learning_rate", "eval_loss", "eval_accuracy")}
                     for run in tried],
            "runs": runs, "summary": summary(runs)}


def mean(result, key):
    return result["summary"].get(key, {}).get("mean", float("nan"))


def print_table(results):
    print(f"{'method':<22} {'rate':>7} {'loss':>8} {'spread':>8} {'accuracy':>9} {'times less':>11} "
          f"{'bits/param':>11} {'seconds':>8}")
    for result in sorted(results, key=lambda r: mean(r, "bits_per_parameter")):
        loss = result["summary"]["eval_loss"]
        print(f"{result['method']:<22} {result['learning_rate']:>7g} {loss['mean']:>8.4f} "
              f"{loss['max'] - loss['min']:>8.4f} {mean(result, 'eval_accuracy'):>9.4f} "
              f"{mean(result, 'times_less'):>11.1f} {mean(result, 'bits_per_parameter'):>11.2f} "
              f"{mean(result, 'wall_seconds'):>8.0f}")


def numbers(text):
    values = [int(word) for word in text.split(",")]
    if not values or min(values) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}; write seeds as 1,2,3")
    return values


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bin", required=True, type=pathlib.Path, help="directory of laconic")
    parser.add_argument("--work", required=True, choices=sorted(WORKS), help="what is trained")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated; default: all")
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3], help="default: 1,2,3")
    parser.add_argument("--runs", type=pathlib.Path, default=ROOT / "runs" / "arena",
                        help="where runs are kept; default: runs/arena")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE",
                        help="replace a field in every run, for a short trial (repeatable)")
    parser.add_argument("--out", required=True, type=pathlib.Path,
                        help="JSON file to write; the picture gets the same name with .svg")
    options = parser.parse_args()
    options.methods = options.methods.split(",")
    unknown = [name for name in options.methods if name not in METHODS]
    if unknown:
        parser.error(f"unknown method {', '.join(unknown)}; known are: {', '.join(METHODS)}")
    return options


def main():
    options = parse_arguments()
    results = [train_method(options, name) for name in options.methods]
    document = {"schema_version": 1, "machine": describe_machine(), "commit": describe_commit(),
                "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
                "command": shlex.join(sys.argv), "work": options.work, "seeds": options.seeds,
                "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    picture = options.out.with_suffix(".svg")
    points = [(result["method"], mean(result, "bits_per_parameter"), mean(result, "eval_loss"),
               result["baseline"]) for result in results]
    picture.write_text(frontier_svg(points), encoding="utf-8")
    print_table(results)
    print(f"written: {options.out}, {picture}")


if __name__ == "__main__":
    main()
