#!/usr/bin/env python3
"""Writes dashboards/laconic-job.json: what one job does, and how the fleet stands.

  deploy/grafana/make_dashboard.py           write the file
  deploy/grafana/make_dashboard.py --check   exit 1 if the file differs from what would be written

Classic dashboard JSON (schemaVersion 42), which file provisioning accepts. Every panel has a title,
a description and a unit. tests/integration/dashboard_test.py runs every query against a real run.
"""

import json
import pathlib
import sys

OUTPUT = pathlib.Path(__file__).resolve().parent / "dashboards" / "laconic-job.json"
WIDTH = 24  # Grafana's grid has 24 columns.
JOB = 'job_id="$job_id"'
SENT = JOB + ',direction="sent"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def target(expression, legend):
    return expression, legend


def timeseries(title, description, unit, *targets, stack=False, width=12, minimum=None):
    custom = {"lineWidth": 2, "fillOpacity": 30 if stack else 0, "showPoints": "never",
              "spanNulls": True, "stacking": {"mode": "normal" if stack else "none", "group": "A"}}
    defaults = {"unit": unit, "custom": custom}
    if minimum is not None:
        defaults["min"] = minimum
    return {"type": "timeseries", "title": title, "description": description, "width": width,
            "targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"},
                        "tooltip": {"mode": "multi", "sort": "desc"}}}


def stat(title, description, unit, *targets, width=6, decimals=None):
    defaults = {"unit": unit}
    if decimals is not None:
        defaults["decimals"] = decimals
    return {"type": "stat", "title": title, "description": description, "width": width, "height": 4,
            "targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                        "colorMode": "none", "graphMode": "area", "textMode": "auto"}}


def xy_chart(title, description, unit, x_target, x_unit, *y_targets, width=12):
    """y over x: both are time series of the same scrapes, joined on time."""
    def by_name(name):
        return {"matcher": {"id": "byName", "options": name}}
    series = [{"name": {"fixed": legend}, "frame": {"matcher": {"id": "byIndex", "options": 0}},
               "x": by_name(x_target[1]), "y": by_name(legend)} for _, legend in y_targets]
    overrides = [{"matcher": {"id": "byName", "options": x_target[1]},
                  "properties": [{"id": "unit", "value": x_unit},
                                 {"id": "custom.axisLabel", "value": x_target[1]}]}]
    return {"type": "xychart", "title": title, "description": description, "width": width,
            "targets": (x_target, *y_targets),
            "transformations": [{"id": "joinByField",
                                 "options": {"byField": "Time", "mode": "outer"}}],
            "fieldConfig": {"defaults": {"unit": unit, "custom": {
                "show": "points+lines", "pointSize": {"fixed": 4}, "lineWidth": 2}},
                "overrides": overrides},
            "options": {"mapping": "manual", "series": series,
                        "legend": {"displayMode": "list", "placement": "bottom"},
                        "tooltip": {"mode": "single", "sort": "none"}}}


def learning_row():
    val = f'laconic_job_loss{{{JOB},split="val"}}'
    train = f'laconic_job_loss{{{JOB},split="train"}}'
    return [
        timeseries("Loss over time", "Mean training loss of all ranks, and held-out loss where it "
                   "was evaluated.", "short",
                   target(f"laconic_job_loss{{{JOB}}}", "{{split}}")),
        xy_chart("Loss over bytes", "The same losses over the frame bytes that all workers of the "
                 "job have sent. Steeper is better: it is what a byte buys.", "short",
                 target(f"sum(laconic_exchange_wire_bytes_total{{{SENT}}})", "bytes sent"), "bytes",
                 target(f"max({train})", "train loss"), target(f"max({val})", "held-out loss")),
        timeseries("Metrics", "What the evaluation reports, e.g. accuracy on held-out data, 0 to 1.",
                   "short", target(f"laconic_job_metric{{{JOB}}}", "{{name}}")),
        timeseries("Steps", "Optimizer steps that every rank has done.", "short",
                   target(f"laconic_job_step{{{JOB}}}", "step"), minimum=0),
    ]


def communication_row():
    wire = "laconic_exchange_wire_bytes_total"
    dense = "laconic_exchange_dense_bytes_total"
    rate = "[$__rate_interval]"
    return [
        stat("Bytes saved", "In the time range shown: bytes that a dense fp32 ring all-reduce at "
             "every step would have sent, minus the bytes that were sent.", "bytes",
             target(f"sum(increase({dense}{{{SENT}}}[$__range])) - "
                    f"sum(increase({wire}{{{SENT}}}[$__range]))", "saved"), width=8),
        stat("Bytes sent", "Frame bytes of all workers of the job since it began.", "bytes",
             target(f"sum({wire}{{{SENT}}})", "sent"), width=8),
        stat("Times less", "Dense bytes over bytes sent, since the job began.", "short",
             target(f"sum({dense}{{{SENT}}}) / sum({wire}{{{SENT}}})", "times"), width=8, decimals=1),
        timeseries("Compression ratio", "Dense bytes over bytes sent, now. Above 1 saves.", "short",
                   target(f"sum by (job_id) (rate({dense}{{{SENT}}}{rate})) / "
                          f"sum by (job_id) (rate({wire}{{{SENT}}}{rate}))", "ratio")),
        timeseries("Throughput", "Frame bytes per second of all workers, by direction.", "Bps",
                   target(f"sum by (direction) (rate({wire}{{{JOB}}}{rate}))", "{{direction}}")),
        timeseries("Round phases", "Where a rank's time goes: seconds of each phase per second, mean "
                   "over ranks.", "s",
                   target(f"sum by (phase) (rate(laconic_round_seconds_sum{{{JOB}}}{rate})) / on() "
                          f"group_left() count(laconic_worker_up{{{JOB}}})", "{{phase}}"), stack=True),
        timeseries("Rounds", "Rounds per second by outcome.", "cps",
                   target(f"sum by (outcome) (rate(laconic_rounds_total{{{JOB}}}{rate}))",
                          "{{outcome}}"), minimum=0),
        timeseries("Residual and gradient", "L2 norms after the last round: what compression has "
                   "kept back, and what the round was given to send.", "short",
                   target(f"laconic_residual_norm{{{JOB}}}", "residual"),
                   target(f"laconic_gradient_norm{{{JOB}}}", "given to send")),
        timeseries("Residual over gradient", "How much is kept back for later, in units of what a "
                   "round sends. A rising line means that compression is too strong.", "short",
                   target(f"laconic_residual_norm{{{JOB}}} / laconic_gradient_norm{{{JOB}}}",
                          "ratio")),
    ]


def workers_row():
    return [
        timeseries("Step of each worker", "Optimizer steps. Lines apart: a straggler.", "short",
                   target(f"laconic_worker_step{{{JOB}}}", "{{worker}}"), minimum=0),
        timeseries("Heartbeat age", "Seconds since the server heard of the worker's node. "
                   "Unreachable does not mean failed: training goes on.", "s",
                   target(f"laconic_worker_heartbeat_age_seconds{{{JOB}}}", "{{worker}}"), minimum=0),
        timeseries("Workers up", "1: its node is connected to the server. 0: it is not.", "short",
                   target(f"laconic_worker_up{{{JOB}}}", "{{worker}}"), minimum=0),
        timeseries("Bytes per worker", "Frame bytes per second that each worker sends.", "Bps",
                   target("sum by (worker) (rate(laconic_worker_wire_bytes_total"
                          f"{{{SENT}}}[$__rate_interval]))", "{{worker}}")),
    ]


def fleet_row():
    return [
        timeseries("Jobs", "Jobs by state.", "short",
                   target("sum by (state) (laconic_jobs)", "{{state}}"), minimum=0),
        timeseries("Slots", "Places for ranks by state.", "short",
                   target("sum by (state) (laconic_slots)", "{{state}}"), minimum=0),
    ]


def rows():
    return [("Learning", learning_row()), ("Communication", communication_row()),
            ("Workers", workers_row()), ("Fleet", fleet_row())]


def lay_out():
    """Panels with ids and places: left to right, a new line when a panel does not fit."""
    panels, y = [], 0
    for title, row in rows():
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False,
                       "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}, "panels": []})
        y, x, line_height = y + 1, 0, 0
        for panel in row:
            width, height = panel.pop("width"), panel.pop("height", 8)
            if x + width > WIDTH:
                x, y, line_height = 0, y + line_height, 0
            line_height = max(line_height, height)
            targets = [{"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend,
                        "range": True, "instant": False, "datasource": DATASOURCE}
                       for index, (expression, legend) in enumerate(panel.pop("targets"))]
            panels.append({"id": len(panels) + 1, **panel, "datasource": DATASOURCE,
                           "targets": targets,
                           "gridPos": {"h": height, "w": width, "x": x, "y": y}})
            x += width
        y += line_height
    return panels


def make_dashboard():
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source",
         "hide": 0, "current": {}, "refresh": 1},
        {"name": "job_id", "type": "query", "label": "Job", "datasource": DATASOURCE,
         "definition": "label_values(laconic_job_step, job_id)",
         "query": {"query": "label_values(laconic_job_step, job_id)", "refId": "job_id"},
         "refresh": 2, "sort": 2, "hide": 0, "multi": False, "includeAll": False, "current": {}}]
    return {"uid": "laconic-job", "title": "laconic: a job", "tags": ["laconic"],
            "description": "Loss over time and over bytes, bytes saved, phases, workers.",
            "schemaVersion": 42, "version": 1, "editable": False, "graphTooltip": 1,
            "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
            "annotations": {"list": []}, "links": [], "templating": {"list": variables},
            "panels": lay_out()}


def main():
    text = json.dumps(make_dashboard(), indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        OUTPUT.write_text(text, encoding="utf-8")
    elif not OUTPUT.exists() or OUTPUT.read_text(encoding="utf-8") != text:
        sys.exit(f"{OUTPUT} is not what make_dashboard.py writes: run it and commit the result")


if __name__ == "__main__":
    main()
