#!/usr/bin/env python3
"""Writes generated/classes.libsvm beside this file: two linearly separable classes with noise.

Sparse rows: about 20 of 200 features are set. The same seed gives the same file.
"""

import argparse
import pathlib
import random


def make_line(rng, weights, features):
    columns = sorted(rng.sample(range(1, features + 1), 20))
    values = [rng.gauss(0, 1) for _ in columns]
    score = sum(weights[c] * v for c, v in zip(columns, values))
    label = 1 if score + rng.gauss(0, 0.5) > 0 else 0
    return " ".join([str(label)] + [f"{c}:{v:.4f}" for c, v in zip(columns, values)])


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=here / "generated/classes.libsvm")
    parser.add_argument("--rows", type=int, default=4000, help="lines to write")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    features = 200
    rng = random.Random(arguments.seed)
    weights = [rng.gauss(0, 1) for _ in range(features + 1)]
    lines = [make_line(rng, weights, features) for _ in range(arguments.rows)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n".join(lines) + "\n")
    print(f"{arguments.output}: {len(lines)} rows, {features} features, 2 classes")


if __name__ == "__main__":
    main()
