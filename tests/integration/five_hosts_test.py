"""Five hosts on one machine (network namespaces), links of 100 Mbit/s: a server on one, a worker on
each of four, started by hand as docs/operations.md says. The job succeeds, and the bytes in
report.json agree with what each host's interface counted.

Needs root, iproute2 and the tbf qdisc; says so loudly and skips where they are missing.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BIN = SOURCE / "build" / "release" / "bin"
PREFIX = f"lac{os.getpid() % 100000}"
RATE = "100mbit"
HOSTS = 5
# Frame bytes against interface bytes: TCP, IP and Ethernet headers, HTTP/2 framing, acknowledgements.
WIRE_OVERHEAD = 0.04


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def address(host):
    return f"10.99.0.{host + 1}"


class Lab:
    """HOSTS namespaces on one bridge, each link shaped to RATE."""

    def __enter__(self):
        self.switch = f"{PREFIX}s"
        self.names = [f"{PREFIX}h{i}" for i in range(HOSTS)]
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def build(self):
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for i, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("-n", self.switch, "link", "add", f"p{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", self.switch, "link", "set", f"p{i}", "master", "br0", "up")
            ip("-n", name, "addr", "add", f"{address(i)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf",
                            "rate", RATE, "burst", "64kb", "latency", "200ms"], check=True, capture_output=True)

    def __exit__(self, *_):
        for name in [*getattr(self, "names", []), getattr(self, "switch", "")]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def command(self, host, *arguments):
        return ["ip", "netns", "exec", self.names[host], *map(str, arguments)]

    def sent_bytes(self, host):
        statistics = json.loads(ip("-n", self.names[host], "-s", "-j", "link", "show", "eth0"))
        return statistics[0]["stats64"]["tx"]["bytes"]


def why_not():
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    try:
        with Lab():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"cannot make shaped network namespaces: {getattr(error, 'stderr', '') or error}"


class FiveHostsTest(unittest.TestCase):
    def setUp(self):
        reason = why_not()
        if reason:
            print(f"SKIPPED: {reason}", file=sys.stderr)
            self.skipTest(reason)
        self.processes = []
        self.directory = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.directory.name)

    def tearDown(self):
        for process in reversed(getattr(self, "processes", [])):
            process.send_signal(signal.SIGTERM)
        for process in getattr(self, "processes", []):
            process.wait(timeout=20)
        if hasattr(self, "directory"):
            self.directory.cleanup()

    def start(self, lab, host, *arguments):
        log = open(self.path / f"host{host}.log", "w")
        self.processes.append(subprocess.Popen(lab.command(host, *arguments), stdout=log, stderr=log))

    def run_job(self, lab):
        server = f"{address(0)}:7070"
        self.start(lab, 0, BIN / "laconic-server", "--listen", server,
                   "--metrics-listen", "", "--data-dir", self.path / "server", "--insecure")
        for host in range(1, HOSTS):
            self.start(lab, host, BIN / "laconic-worker", "--server", server,
                       "--name", f"host{host}", "--slots", 1, "--work-dir", self.path / f"worker{host}",
                       "--peer-host", address(host), "--insecure")
        laconic = [BIN / "laconic", "--server", server]
        # submit tries again until the server answers; the job waits until all four workers are in.
        job = subprocess.run(
            lab.command(0, *laconic, "submit", "-f", SOURCE / "examples" / "fashion_mnist.yaml",
                        "--set", "spec.train.steps=60", "--set", "spec.exchange.local.rounds=30",
                        "--set", "spec.train.eval_samples=200"),
            check=True, capture_output=True, text=True).stdout.strip()
        waited = subprocess.run(lab.command(0, *laconic, "wait", job, "--timeout", "240s"),
                                capture_output=True, text=True)
        self.assertEqual(waited.returncode, 0, waited.stderr)
        subprocess.run(lab.command(0, *laconic, "report", job, "--out", self.path / "report"),
                       check=True, capture_output=True)
        return json.loads((self.path / "report" / "report.json").read_text())

    def test_reported_bytes_agree_with_the_interface_counters(self):
        with Lab() as lab:
            before = [lab.sent_bytes(host) for host in range(HOSTS)]
            report = self.run_job(lab)
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
