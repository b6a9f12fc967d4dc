"""A job on five hosts with links of 100 Mbit/s (five_hosts.py) succeeds, and the bytes in report.json
agree with what each host's interface counted.

Says loudly that it skips where namespaces cannot be made.
"""

import argparse
import pathlib
import sys
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "tests" / "integration")]
from five_hosts import HOSTS, Fleet, Lab, why_not  # noqa: E402

BIN = SOURCE / "build" / "release" / "bin"
# Frame bytes against interface bytes: TCP, IP and Ethernet headers, HTTP/2 framing, acknowledgements.
WIRE_OVERHEAD = 0.04


class FiveHostsTest(unittest.TestCase):
    def setUp(self):
        reason = why_not()
        if reason:
            print(f"SKIPPED: {reason}", file=sys.stderr)
            self.skipTest(reason)

    def test_reported_bytes_agree_with_the_interface_counters(self):
        with Lab("100mbit") as lab:
            before = [lab.sent_bytes(host) for host in range(HOSTS)]
            with Fleet(lab, BIN) as fleet:
                report = fleet.run_job(SOURCE / "examples" / "fashion_mnist.yaml",
                                       ["spec.train.steps=60", "spec.exchange.local.rounds=30",
                                        "spec.train.eval_samples=200"], "240s")
                after = [lab.sent_bytes(host) for host in range(HOSTS)]
        self.assertEqual(report["result"], "SUCCEEDED")
        self.assertEqual(len(set(report["digests"])), 1)
        wire = [end - begin for begin, end in zip(before, after)][1:]
        frames = report["bytes"]["sent_per_worker"]
        print("frame bytes per worker", frames, "interface bytes per worker", wire, file=sys.stderr)
        # Which host got which rank is the scheduler's choice: compare in order of size. Control
        # traffic is logs, heartbeats and metrics of a minute.
        control = 300_000
        for reported, counted in zip(sorted(frames), sorted(wire)):
            self.assertLessEqual(reported, counted)
            self.assertLessEqual(counted, reported * (1 + WIRE_OVERHEAD) + control)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, default=BIN, help="directory of laconic's programs")
    known, others = parser.parse_known_args()
    BIN = known.bin.resolve()
    unittest.main(argv=[sys.argv[0], *others], verbosity=2)
