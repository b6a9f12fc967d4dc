#!/usr/bin/env python3
"""Which worker is the anchor: rank 0, or the one most like all, on shares of unlike classes.

    python3 bench/convex_anchor.py --json bench/results/convex_anchor.json

The problem of convex_compare.py with class proportions from Dirichlet(0.3), a few partitions;
each method once with either anchor. Bytes are exact; seconds are those of this machine.
"""
import json
import pathlib
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from convex_compare import RUNS, describe, parse_options, run_job  # noqa: E402
from train_compare import describe_commit  # noqa: E402

SEEDS = (1, 2, 3, 4, 5)
ANCHORS = ("RANK_0", "MOST_ALIKE")


def main():
    options = parse_options(__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for method in ("aeg", "olga_4bit"):
            for seed in SEEDS:
                for anchor in ANCHORS:
                    settings = [*RUNS[method], f"spec.exchange.convex.anchor={anchor}",
                                f"spec.data.shared={{dirichlet: {{alpha: 0.3, seed: {seed}}}}}"]
                    report = run_job(options.laconic, settings,
                                     pathlib.Path(directory) / f"{method}-{seed}-{anchor}")
                    rows.append({"method": method, "partition": seed, "anchor": anchor,
                                 "anchor_rank": report["convex"]["anchor"], **describe(report)})
                    print(rows[-1], flush=True)
    summary = []
    for method in ("aeg", "olga_4bit"):
        bytes_of = {anchor: [row["up_and_down_bytes"] for row in rows
                             if row["method"] == method and row["anchor"] == anchor]
                    for anchor in ANCHORS}
        ratios = [alike / first for first, alike in zip(bytes_of["RANK_0"], bytes_of["MOST_ALIKE"])]
        summary.append({"method": method, "bytes_over_rank_0_median": statistics.median(ratios),
                        "bytes_over_rank_0": ratios})
    options.json.write_text(json.dumps(
        {"commit": describe_commit(), "command": "python3 bench/convex_anchor.py --json FILE",
         "job": "examples/convex_olga.yaml", "workers": 4, "shares": "Dirichlet(0.3)",
         "tolerance": 1e-5, "summary": summary, "results": rows}, indent=1) + "\n",
        encoding="utf-8")


if __name__ == "__main__":
    main()
