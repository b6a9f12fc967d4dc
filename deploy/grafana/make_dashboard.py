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


def stat(title, description, unit, *targets, width=6, decimals=None, text="auto"):
    """One number each; text="name" shows the legend instead of the number."""
    defaults = {"unit": unit}
    if decimals is not None:
        defaults["decimals"] = decimals
    return {"type": "stat", "title": title, "description": description, "width": width, "height": 4,
            "targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                        "colorMode": "none", "graphMode": "none" if text == "name" else "area",
                        "textMode": text}}


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


def job_row():
    return [
        stat("Name", "Name of the job.", "none",
             target(f"laconic_job_info{{{JOB}}}", "{{name}}"), width=5, text="name"),
        stat("State", "Where the job is; `laconic status` says why.", "none",
             target(f"laconic_job_state{{{JOB}}} == 1", "{{state}}"), width=4, text="name"),
        stat("Progress", "Steps done over steps asked for.", "percentunit",
             target(f"laconic_job_progress_ratio{{{JOB}}}", "done"), width=5),
        stat("Time left", "Steps to go at the mean pace of the slowest rank so far.", "s",
             target(f"laconic_job_eta_seconds{{{JOB}}}", "left"), width=5),
        stat("Generation", "Version of the member list; it grows when members change.", "none",
             target(f"laconic_job_generation{{{JOB}}}", "generation"), width=5),
    ]


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
        timeseries("Steps", "Optimizer steps that every rank has done: those of the slowest.", "short",
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
        stat("Exchange", "Codec and schedule of the job, as its file or the planner chose them.", "short",
             target(f"laconic_exchange_info{{{JOB}}}", "{{codec}} by {{schedule}}"), width=12,
             text="name"),
        timeseries("Payload share", "Payload bytes over frame bytes sent: what is not headers.",
                   "percentunit",
                   target(f"sum(rate(laconic_exchange_payload_bytes_total{{{SENT}}}{rate})) / "
                          f"sum(rate({wire}{{{SENT}}}{rate}))", "payload")),
        timeseries("Throughput", "Frame bytes per second of all workers, by direction.", "Bps",
                   target(f"sum by (direction) (rate({wire}{{{JOB}}}{rate}))", "{{direction}}")),
        timeseries("Round phases", "Where rank 0's time goes: seconds of each phase per second. Below 1 "
                   "in sum: the rest is outside of rounds.", "s",
                   target(f"sum by (phase) (rate(laconic_round_seconds_sum{{{JOB}}}{rate}))",
                          "{{phase}}"), stack=True, minimum=0),
        timeseries("Phase of one round", "Mean seconds of each phase of a round, rank 0.", "s",
                   target(f"sum by (phase) (rate(laconic_round_seconds_sum{{{JOB}}}{rate})) / "
                          f"(sum by (phase) (rate(laconic_round_seconds_count{{{JOB}}}{rate})) > 0)",
                          "{{phase}}"), minimum=0),
        timeseries("Rounds", "Rounds per second by outcome.", "cps",
                   target(f"sum by (outcome) (rate(laconic_rounds_total{{{JOB}}}{rate}))",
                          "{{outcome}}"), minimum=0),
        timeseries("Decisions of the ranks", "What the ranks did in their rounds, per second, and "
                   "why. Silent ones let the others use their last message again.", "cps",
                   target(f"sum by (outcome, reason) "
                          f"(rate(laconic_round_decisions_total{{{JOB}}}{rate}))",
                          "{{outcome}}: {{reason}}"), minimum=0),
        timeseries("Residual and gradient", "L2 norms after the last round: what compression has "
                   "kept back, and what the round was given to send.", "short",
                   target(f"laconic_residual_norm{{{JOB}}}", "residual"),
                   target(f"laconic_gradient_norm{{{JOB}}}", "given to send")),
        timeseries("Residual over gradient", "How much is kept back for later, in units of what a "
                   "round sends. A rising line means that compression is too strong.", "short",
                   target(f"laconic_residual_norm{{{JOB}}} / laconic_gradient_norm{{{JOB}}}",
                          "ratio")),
        timeseries("Similarity", "How much the losses of the workers curve apart (delta) and together "
                   "(L), by exchange.similarity or the last iteration of exchange.convex.", "short",
                   target(f"laconic_similarity_delta{{{JOB}}}", "delta"),
                   target(f"laconic_smoothness{{{JOB}}}", "L"),
                   target(f"laconic_worker_similarity_delta{{{JOB}}}", "delta of {{worker}}")),
        timeseries("Messages", "exchange.convex: messages to the anchor worker per second; skipped "
                   "ones were not worth sending.", "cps",
                   target(f"sum by (outcome) (rate(laconic_messages_total{{{JOB}}}{rate}))",
                          "{{outcome}}"), minimum=0),
        timeseries("Compression error", "Squared error of the last round's compression over the "
                   "squared norm, rank 0. Below 1 the codec is contractive.", "short",
                   target(f"laconic_compression_error_ratio{{{JOB}}}", "error"), minimum=0),
    ]


def workers_row():
    return [
        timeseries("Step of each worker", "Optimizer steps. Lines apart: a straggler.", "short",
                   target(f"laconic_worker_step{{{JOB}}}", "{{worker}}"), minimum=0),
        timeseries("Heartbeat age", "Seconds since the server heard of the worker's node. "
                   "Unreachable does not mean failed: training goes on.", "s",
                   target(f"laconic_worker_heartbeat_age_seconds{{{JOB}}}", "{{worker}}"), minimum=0),
        timeseries("Workers up", "1: its process lives and its node can be reached. 0: not so.",
                   "short", target(f"laconic_worker_up{{{JOB}}}", "{{worker}}"), minimum=0),
        timeseries("Members", "Ranks that the job wants, that live, and whose node cannot be reached "
                   "(suspect).", "short",
                   target(f"sum by (state) (laconic_job_workers{{{JOB}}})", "{{state}}"), minimum=0),
        timeseries("Bytes per worker", "Frame bytes per second that each worker sends.", "Bps",
                   target("sum by (worker) (rate(laconic_worker_wire_bytes_total"
                          f"{{{SENT}}}[$__rate_interval]))", "{{worker}}")),
    ]


def fleet_row():
    return [
        timeseries("Jobs", "Jobs by state.", "short",
                   target("sum by (state) (laconic_jobs)", "{{state}}"), minimum=0),
        timeseries("Slots", "Places for ranks: total and used on live nodes, lost on unreachable "
                   "ones.", "short", target("sum by (state) (laconic_slots)", "{{state}}"), minimum=0),
        timeseries("Nodes", "Nodes by state.", "short",
                   target("sum by (state) (laconic_nodes)", "{{state}}"), minimum=0),
        timeseries("Queue", "Waiting jobs. Active ones fit the live nodes, inadmissible ones ask for "
                   "more slots than exist.", "short",
                   target("sum by (status) (laconic_queue_depth)", "{{status}}"), minimum=0),
        timeseries("Why jobs wait", "Waiting jobs by reason; docs/errors.md explains each.", "short",
                   target("sum by (reason) (laconic_pending_jobs)", "{{reason}}"), minimum=0),
        timeseries("Wait for slots", "Time from entering the queue to slots, all jobs since the "
                   "server started.", "s",
                   target("histogram_quantile(0.5, sum by (le) (laconic_queue_wait_seconds_bucket))",
                          "half of them below"),
                   target("histogram_quantile(0.95, sum by (le) (laconic_queue_wait_seconds_bucket))",
                          "95 % below"), minimum=0),
        timeseries("Submitted", "Jobs accepted since the server started.", "short",
                   target("sum(laconic_jobs_submitted_total)", "submitted"), minimum=0),
        timeseries("Finished", "Jobs that became final since the server started, by result and "
                   "reason.", "short",
                   target("sum by (result, reason) (laconic_jobs_finished_total)",
                          "{{result}} {{reason}}"), minimum=0),
        timeseries("Reservations given back", "Gangs given back because a worker did not confirm its "
                   "task in time.", "short",
                   target("sum(laconic_reservations_expired_total)", "given back"), minimum=0),
    ]


def service_row():
    return [
        stat("Version", "Version of the server.", "none",
             target("laconic_build_info", "{{version}}"), width=6, text="name"),
        stat("Insecure", "1: the server was started with --insecure, see docs/security.md.", "none",
             target("laconic_insecure", "insecure")),
        stat("Database", "The database and its write-ahead log.", "bytes",
             target("laconic_store_size_bytes", "size")),
        stat("Log bytes dropped", "Trainer output beyond the limit per log.", "bytes",
             target("laconic_log_dropped_bytes_total", "dropped")),
        timeseries("Calls", "Calls answered per second, by gRPC code.", "reqps",
                   target("sum by (code) (rate(laconic_rpc_server_handled_total"
                          "[$__rate_interval]))", "{{code}}"), width=8, minimum=0),
        timeseries("Open streams", "Worker sessions, and watchers of jobs.", "short",
                   target("sum by (kind) (laconic_sessions)", "{{kind}}"), width=8, minimum=0),
        timeseries("Transactions", "Mean seconds of one transaction of the database.", "s",
                   target("sum by (op) (rate(laconic_store_txn_seconds_sum[$__rate_interval])) / "
                          "(sum by (op) (rate(laconic_store_txn_seconds_count[$__rate_interval])) "
                          "> 0)", "{{op}}"), width=8, minimum=0),
    ]


def rows():
    return [("Job", job_row()), ("Learning", learning_row()),
            ("Communication", communication_row()), ("Workers", workers_row()),
            ("Fleet", fleet_row()), ("Service", service_row())]


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
         "definition": "label_values(laconic_job_info, job_id)",
         "query": {"query": "label_values(laconic_job_info, job_id)", "refId": "job_id"},
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
