#!/usr/bin/env python3
"""Every panel of the Grafana dashboard shows data of a real run in a real Prometheus.

  tests/integration/dashboard_test.py --bin build/release/bin

Starts a server, a worker with two slots and Debian's prometheus, all on free ports of 127.0.0.1. One
small job runs to its end, one trains until it has been scraped long enough, one waits for more slots
than exist: so panels of all states have something to show. Then every query of every panel goes
through /api/v1/query_range.
"""

import json
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = GRAFANA / "dashboards" / "laconic-job.json"
BIN = ROOT / "build" / "release" / "bin"
DEADLINE_SECONDS = 90  # For each wait; a sanitizer build on two busy cores needs most of it.
WINDOW_SECONDS = 5     # What $__rate_interval becomes; Prometheus scrapes every second.

JOB = """
api_version: laconic.v1
kind: TrainJob
metadata: {{name: {name}}}
spec:
  workers: {{count: {count}}}
  model: {{softmax: {{}}}}
  data: {{libsvm: {{train_file: {data}}}, shared: {{iid: {{}}}}}}
  train:
    steps: {steps}
    batch_size: 8
    optimizer: {{sgd: {{learning_rate: 0.01}}}}
    eval_every_steps: 1000
  exchange:
    local: {{inner_steps: 10}}
    compressor: {{quantize: {{bits: 4, block: 16}}}}
    similarity: {{every_steps: 200}}
"""

# Ends when it is cancelled; its metrics are those of no other exchange.
CONVEX_JOB = """
api_version: laconic.v1
kind: TrainJob
metadata: {{name: {name}}}
spec:
  workers: {{count: {count}}}
  model: {{linear: {{loss: LOGISTIC}}}}
  data: {{libsvm: {{train_file: {data}}}, shared: {{iid: {{}}}}}}
  train: {{steps: {steps}, eval_every_steps: 1000000}}
  exchange:
    convex: {{algorithm: AEG, l2: 0.01, similarity: 0.1}}
"""
CONVEX_METRICS = ("laconic_messages_total",)


def wait_for(what, condition):
    """The first true result of `condition`; fails the test at the deadline."""
    pause = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < pause:
        result = condition()
        if result:
            return result
        time.sleep(0.1)  # Other processes: their state can only be asked for.
    raise AssertionError(f"waited {DEADLINE_SECONDS} s for {what}")


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode("utf-8")


def write_data(path):
    """300 samples of two overlapping classes in four columns, LibSVM format."""
    numbers = random.Random(1)
    lines = []
    for index in range(300):
        values = [numbers.gauss(index % 2, 1.0) for _ in range(4)]
        lines.append(f"{index % 2} " + " ".join(f"{c + 1}:{v:.4f}" for c, v in enumerate(values)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def list_queries(dashboard):
    """[(panel title, expression)] of all targets, rows and panels inside rows included."""
    queries = []
    for panel in dashboard["panels"]:
        for inner in [panel, *panel.get("panels", [])]:
            queries += [(inner["title"], target["expr"]) for target in inner.get("targets", [])]
    return queries


class Fleet:
    """A server, a worker, a running job and the Prometheus that scrapes them."""

    def __init__(self, directory):
        self.directory = directory
        self.processes = []
        self.job_id = self.waiting_id = self.convex_id = None
        self.server = self.metrics = self.prometheus = ""

    def start_process(self, name, *command):
        log = (self.directory / f"{name}.log").open("wb")
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT)
        log.close()
        self.processes.append((name, process))

    def read_log(self, name):
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def read_ready_file(self, name):
        path = self.directory / f"{name}.ready"
        for other, process in self.processes:
            if process.poll() is not None:
                raise AssertionError(f"{other} ended with {process.returncode}:\n"
                                     + self.read_log(other))
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def laconic(self, *arguments):
        run = subprocess.run([BIN / "laconic", *arguments], text=True,
                             env=dict(os.environ, LACONIC_SERVER=self.server), timeout=DEADLINE_SECONDS,
                             stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if run.returncode != 0:
            raise AssertionError(f"laconic {' '.join(arguments)}: exit {run.returncode}\n"
                                 f"{run.stdout}\n{run.stderr}")
        return run.stdout

    def start(self):
        self.start_process("server", BIN / "laconic-server", "--listen", "127.0.0.1:0",
                           "--metrics-listen", "127.0.0.1:0", "--data-dir", self.directory / "data",
                           "--ready-file", self.directory / "server.ready", "--die-with-parent")
        ready = wait_for("the server", lambda: self.read_ready_file("server"))
        self.server, self.metrics = ready["address"], ready["metrics_address"]
        self.start_process("worker", BIN / "laconic-worker", "--server", self.server,
                           "--name", "node-1", "--slots", "4", "--work-dir", self.directory / "work",
                           "--ready-file", self.directory / "worker.ready", "--die-with-parent")
        wait_for("the worker", lambda: self.read_ready_file("worker"))
        self.start_prometheus()
        write_data(self.directory / "train.libsvm")
        self.laconic("wait", self.submit(name="short", count=2, steps=20))
        # Steps without end: it is cancelled when the test has seen enough.
        self.job_id = self.submit(name="endless", count=2, steps=1_000_000_000)
        self.convex_id = self.submit(CONVEX_JOB, name="convex", count=2, steps=1_000_000_000)
        self.waiting_id = self.submit(name="too-large", count=64, steps=20)

    def submit(self, job=JOB, **values):
        """Submits `job` with these values; returns its id."""
        job_file = self.directory / f"{values['name']}.yaml"
        job_file.write_text(job.format(data=self.directory / "train.libsvm", **values),
                            encoding="utf-8")
        return self.laconic("submit", "-f", str(job_file)).split()[0]

    def start_prometheus(self):
        """The committed configuration with another target and a faster clock."""
        text = (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
        text, targets = re.subn(r'"server:7071"', json.dumps(self.metrics), text)
        text, clocks = re.subn(r"scrape_interval: \S+", "scrape_interval: 1s", text)
        if (targets, clocks) != (1, 1):
            raise AssertionError("prometheus.yml has no target server:7071 or no scrape_interval")
        config = self.directory / "prometheus.yml"
        config.write_text(text, encoding="utf-8")
        self.start_process("prometheus", "prometheus", f"--config.file={config}",
                           f"--storage.tsdb.path={self.directory / 'tsdb'}",
                           "--web.listen-address=127.0.0.1:0")
        address = wait_for("prometheus", lambda: re.search(
            r'msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)', self.read_log("prometheus")))
        self.prometheus = f"http://{address.group(1)}"

    def stop(self):
        for _, process in reversed(self.processes):
            process.terminate()
        for _, process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def query(self, expression):
        """The series of `expression` over the last seconds, variables put in as Grafana does."""
        convex = any(name in expression for name in CONVEX_METRICS)
        for variable, value in (("$job_id", self.convex_id if convex else self.job_id), ("$__range", "30s"),
                                ("$__rate_interval", f"{WINDOW_SECONDS}s")):
            expression = expression.replace(variable, value)
        if "$" in expression:
            raise AssertionError(f"unknown variable in {expression}")
        end = time.time()
        arguments = urllib.parse.urlencode({"query": expression, "start": end - WINDOW_SECONDS,
                                            "end": end, "step": 1})
        answer = json.loads(fetch(f"{self.prometheus}/api/v1/query_range?{arguments}"))
        return answer["data"]["result"]

    def find_empty(self, queries):
        """Complaints about queries without series, or with a value that is no number."""
        complaints = []
        for title, expression in queries:
            series = self.query(expression)
            values = [float(value) for one in series for _, value in one["values"]]
            if not values:
                complaints.append(f"{title}: no data: {expression}")
            elif not all(math.isfinite(value) for value in values):
                complaints.append(f"{title}: not finite: {expression}")
        return complaints


class DashboardTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.fleet = Fleet(pathlib.Path(cls.temporary.name))
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.start()
        sent = f'laconic_exchange_wire_bytes_total{{job_id="{cls.fleet.job_id}",direction="sent"}}'
        wait_for("a trained and scraped round\n" + cls.fleet.read_log("server"),
                 lambda: cls.fleet.query(f"sum({sent}) > 0"))
        # From here on the rate over the whole query window has samples, and rounds, behind it.
        wait_for(f"{2 * WINDOW_SECONDS + 2} scrapes with growing bytes", lambda: cls.fleet.query(
            f"count_over_time((sum(rate({sent}[{WINDOW_SECONDS}s])) > 0)"
            f"[{2 * WINDOW_SECONDS + 2}s:1s]) >= {2 * WINDOW_SECONDS + 2}"))
        wait_for("a held-out loss", lambda: cls.fleet.query(
            f'count_over_time(laconic_job_loss{{job_id="{cls.fleet.job_id}",split="val"}}[1m])'
            f" >= {WINDOW_SECONDS + 2}"))
        wait_for("a convex job's messages", lambda: cls.fleet.query(
            f'count_over_time((sum(laconic_messages_total{{job_id="$job_id"}}) > 0)[1m:1s])'
            f" >= {WINDOW_SECONDS + 2}"))
        cls.dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))

    def test_every_panel_shows_finite_data(self):
        queries = list_queries(self.dashboard)
        self.assertGreaterEqual(len(queries), 15)
        self.assertEqual(self.fleet.find_empty(queries), [])

    def test_renamed_metric_is_found(self):
        for metric in ("laconic_job_loss", "laconic_exchange_wire_bytes_total", "laconic_slots"):
            renamed = [(title, re.sub(rf"\b{metric}\b", metric + "_renamed", expression))
                       for title, expression in list_queries(self.dashboard)
                       if re.search(rf"\b{metric}\b", expression)]
            self.assertTrue(renamed, metric)
            self.assertEqual(len(self.fleet.find_empty(renamed)), len(renamed), metric)

    def test_bytes_and_dense_bytes_have_the_same_labels(self):
        labels = []
        for name in ("wire", "dense", "payload"):
            series = self.fleet.query(f'laconic_exchange_{name}_bytes_total{{job_id="$job_id"}}')
            labels.append(sorted(sorted(one["metric"].items()) for one in (
                {"metric": {k: v for k, v in one["metric"].items() if k != "__name__"}}
                for one in series)))
        self.assertEqual(labels[0], labels[1])
        self.assertEqual(labels[0], labels[2])

    def test_promtool_accepts_the_metrics(self):
        text = fetch(f"http://{self.fleet.metrics}/metrics")
        own = "".join(line + "\n" for line in text.splitlines() if "laconic_" in line)
        run = subprocess.run(["promtool", "check", "metrics"], input=own, text=True,
                             capture_output=True, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""), run.stdout + run.stderr)

    def test_job_variable_finds_the_job(self):
        variable = next(v for v in self.dashboard["templating"]["list"] if v["name"] == "job_id")
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
        self.assertIn(self.fleet.job_id, {one["metric"][label] for one in self.fleet.query(metric)})

    @classmethod
    def tearDownClass(cls):
        for job_id in (cls.fleet.waiting_id, cls.fleet.convex_id, cls.fleet.job_id):
            cls.fleet.laconic("cancel", job_id)


if __name__ == "__main__":
    if "--bin" in sys.argv:
        position = sys.argv.index("--bin")
        BIN = pathlib.Path(sys.argv[position + 1]).resolve()
        del sys.argv[position:position + 2]
    unittest.main()
