"""Five hosts on one machine (network namespaces) with shaped links: a server on one, a worker on
each of four, started by hand as docs/operations.md says.

Needs root, iproute2 and the tbf qdisc: why_not() says what is missing.
"""

import json
import os
import pathlib
import signal
import subprocess
import tempfile

PREFIX = f"lac{os.getpid() % 100000}"
HOSTS = 5


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def address(host):
    return f"10.99.0.{host + 1}"


class Lab:
    """HOSTS namespaces on one bridge, each link shaped to `rate` ("100mbit") in both directions."""

    def __init__(self, rate):
        self.rate = rate
        self.names = []

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
            self.shape(name, "eth0")
            self.shape(self.switch, f"p{i}")

    def shape(self, name, device):
        subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "replace", "dev", device, "root", "tbf",
                        "rate", self.rate, "burst", "64kb", "latency", "200ms"],
                       check=True, capture_output=True)

    def __exit__(self, *_):
        for name in [*self.names, getattr(self, "switch", "")]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def command(self, host, *arguments):
        return ["ip", "netns", "exec", self.names[host], *map(str, arguments)]

    def sent_bytes(self, host):
        statistics = json.loads(ip("-n", self.names[host], "-s", "-j", "link", "show", "eth0"))
        return statistics[0]["stats64"]["tx"]["bytes"]


def why_not():
    """What is missing for a Lab; None: nothing."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    try:
        with Lab("100mbit"):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"cannot make shaped network namespaces: {getattr(error, 'stderr', '') or error}"


class Fleet:
    """The programs in `programs` on the hosts of a lab, while the block lasts."""

    def __init__(self, lab, programs):
        self.lab = lab
        self.programs = programs
        self.processes = []
        self.directory = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.directory.name)
        self.server = f"{address(0)}:7070"

    def __enter__(self):
        self.start(0, self.programs / "laconic-server", "--listen", self.server,
                   "--metrics-listen", "", "--data-dir", self.path / "server", "--insecure")
        for host in range(1, HOSTS):
            self.start(host, self.programs / "laconic-worker", "--server", self.server,
                       "--name", f"host{host}", "--slots", 1, "--work-dir", self.path / f"worker{host}",
                       "--peer-host", address(host), "--insecure")
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=20)
        self.directory.cleanup()

    def start(self, host, *arguments):
        log = open(self.path / f"host{host}.log", "w")
        self.processes.append(subprocess.Popen(self.lab.command(host, *arguments), stdout=log, stderr=log))

    def run_job(self, job_file, settings, timeout):
        """report.json of a job that succeeded, and under "record" all that the server knows of it.
        timeout: as --timeout of `laconic wait`."""
        laconic = [self.programs / "laconic", "--server", self.server]
        changes = [word for setting in settings for word in ("--set", setting)]
        # submit tries again until the server answers; the job waits until all four workers are in.
        job = subprocess.run(self.lab.command(0, *laconic, "submit", "-f", job_file, *changes),
                             check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        waited = subprocess.run(self.lab.command(0, *laconic, "wait", job, "--timeout", timeout),
                                capture_output=True, text=True)
        if waited.returncode != 0:
            raise AssertionError(f"laconic wait ended with {waited.returncode}: {waited.stderr}")
        report = self.path / f"report-{job}"
        subprocess.run(self.lab.command(0, *laconic, "report", job, "--out", report),
                       check=True, capture_output=True)
        status = subprocess.run(self.lab.command(0, *laconic, "status", job, "-o", "json"),
                                check=True, stdout=subprocess.PIPE, text=True).stdout
        return json.loads((report / "report.json").read_text()) | {"record": json.loads(status)["data"]}
