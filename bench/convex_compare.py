#!/usr/bin/env python3
"""Convex methods through the real path, to one gradient norm: bytes of one worker, headers counted.

    python3 bench/convex_compare.py --json bench/results/convex_jobs.json

Runs examples/convex_olga.yaml (4 workers, Fashion-MNIST, one class against the rest) with each
method by `laconic run`, and reads report.json. Bytes are exact; seconds are those of this machine.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from train_compare import describe_commit  # noqa: E402

BASE = "spec.exchange.convex={algorithm: %s, l2: 0.1, tolerance: 1e-5%s}"
FOUR_BITS = ", inner_rounds: 3, gather_bits: 4, downlink_bits: 4"
RUNS = {
    "aeg": (BASE % ("AEG", ""), "spec.exchange.compressor={none: {}}"),
    "olga_4bit": (BASE % ("OLGA", FOUR_BITS),
                  "spec.exchange.compressor={quantize: {bits: 4, stochastic: true}}"),
    "agd": (BASE % ("AGD", ""), "spec.exchange.compressor={none: {}}"),
    "laq_8bit": (BASE % ("LAQ", ""), "spec.exchange.compressor={quantize: {bits: 8}}"),
}


def run_job(laconic, settings, out):
    """report.json of one run."""
    command = [laconic, "run", "-q", "-f", ROOT / "examples" / "convex_olga.yaml", "--out", out,
               "--set", "spec.train.steps=600", "--set", "spec.train.eval_every_steps=600"]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def describe(report):
    """What the first worker that is not the anchor worker sent to that and got from it."""
    anchor = report["convex"]["anchor"]
    worker = 1 if anchor == 0 else 0
    bytes_up = report["bytes"]["sent_per_worker"][worker]
    bytes_down = report["bytes"]["received_per_worker"][worker]
    return {"iterations": report["steps"], "rounds": report["rounds"], "up_bytes": bytes_up,
            "down_bytes": bytes_down, "up_and_down_bytes": bytes_up + bytes_down,
            "anchor_sent_bytes": report["bytes"]["sent_per_worker"][anchor],
            "gradient_norm": report["convex"]["gradient_norm"],
            "converged": report["convex"]["converged"],
            "accuracy": report["final"]["eval_accuracy"], "seconds": report["wall_seconds"]}


def parse_options(description):
    """--laconic and --json of a program that compares convex jobs."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--laconic", default=ROOT / "build" / "release" / "bin" / "laconic")
    parser.add_argument("--json", type=pathlib.Path, required=True)
    return parser.parse_args()


def main():
    options = parse_options(__doc__)
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, settings in RUNS.items():
            results[name] = describe(run_job(options.laconic, settings,
                                             pathlib.Path(directory) / name))
            print(name, results[name], flush=True)
    options.json.write_text(json.dumps(
        {"commit": describe_commit(), "command": "python3 bench/convex_compare.py --json FILE",
         "job": "examples/convex_olga.yaml", "workers": 4, "tolerance": 1e-5,
         "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
