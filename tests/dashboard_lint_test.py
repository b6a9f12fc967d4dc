#!/usr/bin/env python3
"""The dashboard's file is what its script writes, and follows the rules of dashboards as code."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = GRAFANA / "dashboards" / "laconic-job.json"


def find_overlaps(panels):
    """Pairs of titles whose places share a cell of the grid."""
    cells, overlaps = {}, []
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in cells:
                    overlaps.append((cells[(x, y)], panel["title"]))
                cells[(x, y)] = panel["title"]
    return overlaps


def lint(dashboard):
    """Complaints about one dashboard."""
    complaints = []
    if not dashboard.get("uid") or dashboard.get("editable") is not False:
        complaints.append("uid must be set, editable must be false")
    panels = dashboard["panels"]
    if len({panel["id"] for panel in panels}) != len(panels):
        complaints.append("panel ids occur twice")
    complaints += [f"{a} and {b} overlap" for a, b in find_overlaps(panels)]
    for panel in panels:
        title = panel.get("title")
        if not title:
            complaints.append(f"panel {panel['id']} has no title")
        if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24:
            complaints.append(f"{title}: wider than the grid")
        if panel["type"] == "row":
            continue
        if not panel.get("description") or not panel["fieldConfig"]["defaults"].get("unit"):
            complaints.append(f"{title}: needs a description and a unit")
        if not panel["targets"]:
            complaints.append(f"{title}: asks nothing")
        for target in panel["targets"]:
            if target["datasource"]["uid"] != "${datasource}":
                complaints.append(f"{title}: datasource is not the variable")
            if "rate(" in target["expr"] and "[$__rate_interval]" not in target["expr"]:
                complaints.append(f"{title}: rate over another interval than $__rate_interval")
    return complaints


class DashboardLintTest(unittest.TestCase):
    def setUp(self):
        self.dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))

    def test_committed_file_is_what_the_script_writes(self):
        run = subprocess.run([sys.executable, "-B", str(GRAFANA / "make_dashboard.py"), "--check"],
                             text=True, capture_output=True, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_dashboard_follows_the_rules(self):
        self.assertEqual(lint(self.dashboard), [])

    def test_each_rule_can_fail(self):
        def change(panel, key, value):
            dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
            (dashboard["panels"][panel] if panel is not None else dashboard)[key] = value
            return lint(dashboard)
        first = self.dashboard["panels"][1]
        target = first["targets"][0]
        for panel, key, value in (
                (None, "uid", ""), (None, "editable", True), (1, "id", 1), (1, "title", ""),
                (1, "description", ""), (1, "fieldConfig", {"defaults": {}}), (1, "targets", []),
                (2, "gridPos", first["gridPos"]), (1, "gridPos", {"x": 20, "y": 500, "w": 8, "h": 1}),
                (1, "targets", [dict(target, datasource={"uid": "x"})]),
                (1, "targets", [dict(target, expr="rate(a[5m])")])):
            with self.subTest(key=key, value=value):
                self.assertTrue(change(panel, key, value))

    def test_promtool_accepts_the_configuration(self):
        run = subprocess.run(["promtool", "check", "config", str(ROOT / "deploy/prometheus/prometheus.yml")],
                             text=True, capture_output=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_promtool_parses_every_query(self):
        rules = {"groups": [{"name": "queries", "rules": []}]}
        for panel in self.dashboard["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
                rules["groups"][0]["rules"].append({"record": f"query:n{panel['id']}{target['refId']}:x",
                                                    "expr": expression})
        with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
            json.dump(rules, file)  # JSON is YAML.
            file.flush()
            run = subprocess.run(["promtool", "check", "rules", file.name], text=True,
                                 capture_output=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    unittest.main()
