#!/usr/bin/env python3
"""Trains one job by exchange.auto over links of several rates and writes what it chose on each.

  bench/train/auto_links.py --bin build/release/bin --rates 10gbit,1gbit,100mbit,10mbit \
      --out bench/results/auto_links.json

Four hosts on this machine, network namespaces with shaped links; needs root. The job is work (b) of
the arena by the optimizer of the preset LACONIC. Written are the sentence that says what was chosen
and why, and beside the predicted wait the measured one: rank 0's seconds of exchanging over its
seconds of training.
"""

import argparse
import datetime
import json
import pathlib
import shlex
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "integration")]
from five_hosts import Fleet, Lab, why_not  # noqa: E402
from train_compare import describe_commit, describe_machine  # noqa: E402

JOB = ROOT / "bench" / "train" / "works" / "conv_iid.yaml"


def wait_share(report):
    """Part of rank 0's time that went into exchanging. The others wait in their exchanges while rank 0
    evaluates, which is no wait for the link."""
    phases = report["record"]["ranks"][0]["finished"]["phases"]
    parts = {name: phases[name] for name in ("compute", "compress", "exchange", "decompress")}
    return 1 - parts["compute"] / sum(parts.values())


def run_over(rate, options):
    settings = ["spec.preset=LACONIC", f"spec.exchange.auto={{wait: {options.wait}}}", *options.set]
    with Lab(rate) as lab, Fleet(lab, options.bin.resolve()) as fleet:
        report = fleet.run_job(JOB, settings, "3600s")
    if len(set(report["digests"])) != 1:
        sys.exit(f"auto_links: {rate}: ranks end with unequal parameters: {report['digests']}")
    busiest = max(*report["bytes"]["sent_per_worker"], *report["bytes"]["received_per_worker"])
    return {"rate": rate, "method": report["exchange"]["method"], "rounds": report["rounds"],
            "eval_accuracy": report["final"]["eval_accuracy"],
            "times_less": report["bytes"]["dense_equivalent_per_worker"] / busiest,
            "wait_share": wait_share(report), "wall_seconds": report["wall_seconds"]}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bin", required=True, type=pathlib.Path, help="directory of laconic")
    parser.add_argument("--rates", required=True, help="comma-separated, as tc writes them: 100mbit")
    parser.add_argument("--wait", type=float, default=0.1, help="exchange.auto.wait; default: 0.1")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE",
                        help="replace a field of the job (repeatable)")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="JSON file to write")
    return parser.parse_args()


def main():
    options = parse_arguments()
    if reason := why_not():
        sys.exit(f"auto_links: {reason}")
    results = []
    for rate in options.rates.split(","):
        results.append(run_over(rate, options))
        print(json.dumps(results[-1], indent=1), flush=True)
    document = {"schema_version": 1, "machine": describe_machine(), "commit": describe_commit(),
                "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
                "command": shlex.join(sys.argv), "wait": options.wait, "results": results}
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
