#!/usr/bin/env python3
"""Tests of bench/train: what the arena makes of reports, and its picture. No training."""

import importlib
import json
import pathlib
import sys
import tempfile
import types
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench" / "train")]
arena = importlib.import_module("arena")
frontier_svg = importlib.import_module("frontier_svg").frontier_svg
methods = importlib.import_module("methods")


def report(**changes):
    """A report.json of two workers and 1000 parameters."""
    result = {"result": "SUCCEEDED", "world_size": 2, "digests": ["a", "a"], "parameters": 1000,
              "steps": 10, "rounds": 2, "wall_seconds": 1.5,
              "final": {"eval_loss": 2.5, "train_loss": 2.4},
              "bytes": {"sent_per_worker": [100, 250], "received_per_worker": [500, 100],
                        "dense_equivalent_per_worker": 40000},
              "history": [{"step": 5, "train_loss": 3.0}, {"step": 10, "eval_loss": 2.5}]}
    return result | changes


class Figures(unittest.TestCase):
    def test_bits_are_those_of_the_busier_direction_of_the_busiest_worker(self):
        figures = arena.figures(report())
        self.assertEqual(figures["bits_per_parameter"], 4.0)
        self.assertEqual(figures["times_less"], 80.0)
        self.assertEqual(figures["loss_on_the_way"], [[10, 2.5]])
        self.assertIsNone(figures["eval_accuracy"])
        self.assertIsNone(figures["delta_over_l"])
        measured = arena.figures(report(similarity=[{"smoothness": 2, "delta_rms": 1},
                                                    {"smoothness": 1, "delta_rms": 3}]))
        self.assertAlmostEqual(measured["delta_over_l"], 2 ** 0.5)

    def test_run_that_failed_or_whose_ranks_differ_proves_nothing(self):
        for bad in (report(result="FAILED"), report(digests=["a", "b"]), report(digests=["a"])):
            with self.assertRaises(ValueError):
                arena.figures(bad)

    def test_accuracy_decides_for_images_and_loss_for_text(self):
        accurate = {"eval_loss": 3.0, "eval_accuracy": 0.9}
        likely = {"eval_loss": 1.0, "eval_accuracy": 0.8}
        for work, better in (("conv_iid", accurate), ("byte_gpt", likely)):
            best = min([accurate, likely], key=lambda run: arena.score(work, run))
            self.assertEqual(best, better, work)

    def test_summary_is_over_the_seeds(self):
        runs = [arena.figures(report(final={"eval_loss": loss})) for loss in (2.0, 3.0, 2.5)]
        self.assertEqual(arena.summary(runs)["eval_loss"], {"mean": 2.5, "min": 2.0, "max": 3.0})


class Runs(unittest.TestCase):
    def test_run_that_is_done_is_read_and_not_repeated(self):
        with tempfile.TemporaryDirectory() as directory:
            options = types.SimpleNamespace(
                runs=pathlib.Path(directory), work="byte_gpt", set=[],
                bin=pathlib.Path("/nonexistent"))  # nothing there could train
            settings = ["spec.exchange.dense={}"]
            place = (options.runs / "byte_gpt" /
                     arena.run_name("m", [*settings, "spec.train.seed=3"], 3))
            place.mkdir(parents=True)
            (place / "report.json").write_text(json.dumps(report()), encoding="utf-8")
            (place / "commit").write_text("abc\n", encoding="utf-8")
            run = arena.run_once(options, "m", settings, 3)
            self.assertEqual((run["eval_loss"], run["commit"], run["seed"]), (2.5, "abc", 3))

    def test_directories_of_runs_with_other_settings_differ(self):
        self.assertNotEqual(arena.run_name("m", ["a=1"], 1), arena.run_name("m", ["a=2"], 1))
        self.assertNotEqual(arena.run_name("m", ["a=1"], 1), arena.run_name("m", ["a=1"], 2))

    def test_every_method_has_a_grid_and_a_source(self):
        for name, method in methods.METHODS.items():
            self.assertTrue(method.grid and method.source and method.settings, name)
        self.assertTrue(any(method.baseline for method in methods.METHODS.values()))


class Picture(unittest.TestCase):
    def test_is_an_svg_with_a_point_and_a_name_for_every_method(self):
        points = [("dense <1>", 48000.0, 1.7, True), ("a", 12.0, 1.8, False), ("b", 12.1, 1.801, False)]
        root = xml.etree.ElementTree.fromstring(frontier_svg(points))
        space = "{http://www.w3.org/2000/svg}"
        self.assertEqual(len(root.findall(space + "circle")), 3)
        labels = [text for text in root.findall(space + "text")
                  if text.text in ("dense <1>", "a", "b")]
        self.assertEqual(len(labels), 3)
        heights = sorted(float(label.get("y")) for label in labels)
        self.assertGreaterEqual(min(b - a for a, b in zip(heights, heights[1:])), 12)

    def test_one_point_is_enough(self):
        xml.etree.ElementTree.fromstring(frontier_svg([("only", 10.0, 2.0, False)]))


if __name__ == "__main__":
    unittest.main()
