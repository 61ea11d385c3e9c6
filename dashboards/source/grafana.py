"""What Grafana's dashboards are made of, as far as ours need it.

A dashboard is a `Board`; rows and panels are laid out in the order in which they are added, 24
columns wide. Every panel has a title, a description and a unit: without them it is not made.
"""

import pathlib
import re

WORKFLOW = pathlib.Path(__file__).resolve().parents[2] / "workflow.toml"
WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
BOARDS = {
    "overview": "Overview",
    "stages": "Stages",
    "queues": "Queues and dead letters",
    "separate": "Separate and GPU",
    "nats": "NATS",
}
GREEN, YELLOW, RED = "green", "yellow", "red"

# How a stage's outcomes and what becomes of a song are coloured, wherever they are shown.
COLOURS = {
    "ok": GREEN, "done": GREEN, "retry": YELLOW, "interrupted": "blue", "moot": "text",
    "begun": "blue", "joined": "purple", "cancelled": "text", "failed": "orange", "dead": RED,
}


def query(expr, legend="", instant=False, table=False):
    """A PromQL query; `legend` is a template over its labels."""
    target = {"expr": " ".join(expr.split()), "legendFormat": legend or "__auto", "editorMode": "code"}
    if instant:
        target |= {"instant": True, "range": False}
    if table:
        target |= {"format": "table"}
    return target


def steps(*bounds):
    """Thresholds: green, then yellow and red from the bounds on; one bound is that of red."""
    colours = [YELLOW, RED] if len(bounds) == 2 else [RED]
    return [{"color": GREEN, "value": None}] + [
        {"color": colour, "value": bound} for colour, bound in zip(colours, bounds)
    ]


def falling(*bounds):
    """Thresholds where little is bad: red, then yellow and green from the bounds on."""
    colours = [YELLOW, GREEN] if len(bounds) == 2 else [GREEN]
    return [{"color": RED, "value": None}] + [
        {"color": colour, "value": bound} for colour, bound in zip(colours, bounds)
    ]


class Board:
    def __init__(self, name, description, variables=()):
        self.name, self.description = name, description
        self.variables = [datasource(), *variables]
        self.panels, self.row_y, self.x, self.row_height = [], 0, 0, 0

    def row(self, title, repeat=None):
        self._break()
        row = {"type": "row", "title": title, "collapsed": False, "panels": []}
        if repeat:
            row["repeat"] = repeat
        self._place(row, WIDTH, 1)

    def stat(self, title, description, unit, expr, thresholds=None, **more):
        """One number, its colour told by thresholds. `empty` is shown where there is nothing.

        Asked of this moment alone: of a range Grafana would go on to show the last number there was, hours
        after whoever told it is gone.
        """
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if thresholds else "value",
            "graphMode": "none",
            "textMode": "auto",
        }
        targets = [query(expr, instant=True)]
        self._panel("stat", title, description, unit, targets, options, thresholds, 4, 4, **more)

    def series(self, title, description, unit, *queries, thresholds=None, stack=False, **more):
        """Lines over time."""
        custom = {
            # A line above what is nothing would hide that of the layer below it.
            "lineWidth": 0 if stack else 1, "fillOpacity": 60 if stack else 8, "showPoints": "never",
            "stacking": {"mode": "normal" if stack else "none"},
            "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        self._panel(
            "timeseries", title, description, unit, list(queries), options, thresholds, 12, 8,
            custom=custom, **more,
        )

    def heatmap(self, title, description, unit, expr, **more):
        """How a histogram's buckets fill over time."""
        target = query(expr, "{{le}}") | {"format": "heatmap"}
        options = {
            "calculate": False, "yAxis": {"unit": unit},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "cellGap": 1, "tooltip": {"mode": "single", "yHistogram": False},
        }
        self._panel("heatmap", title, description, unit, [target], options, None, 12, 8, **more)

    def timeline(self, title, description, expr, legend, **more):
        """Who has a role, over time; not to have it is nothing bad."""
        options = {"mergeValues": True, "showValue": "never", "rowHeight": 0.9}
        mappings = [{"type": "value", "options": {
            "0": {"text": "no", "color": "text"}, "1": {"text": "yes", "color": GREEN},
        }}]
        self._panel(
            "state-timeline", title, description, "short", [query(expr, legend)], options,
            None, 12, 8, mappings=mappings, **more,
        )

    def table(self, title, description, unit, expr, hide=(), value="Value", **more):
        """The labels and values of this moment; the values' column is called `value`."""
        hidden = {"Time": True, "__name__": True} | {label: True for label in hide}
        transformations = [{"id": "organize", "options": {
            "excludeByName": hidden, "renameByName": {"Value": value},
        }}]
        self._panel(
            "table", title, description, unit, [query(expr, instant=True, table=True)], {}, None,
            12, 8, transformations=transformations, **more,
        )

    def _panel(self, kind, title, description, unit, targets, options, thresholds, width, height,
               custom=None, mappings=None, empty=None, w=None, h=None, maximum=None,
               transformations=None):
        for ref, target in zip("ABCDEFGH", targets):
            target |= {"refId": ref, "datasource": DATASOURCE}
        defaults = {
            "unit": unit, "min": 0, "color": {"mode": "thresholds" if thresholds else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": thresholds or [{"color": GREEN, "value": None}]},
            "custom": custom or {}, "mappings": mappings or [],
        }
        if kind == "timeseries":
            defaults["color"] = {"mode": "palette-classic"}
        if empty is not None:
            defaults["noValue"] = empty
        if maximum is not None:
            defaults["max"] = maximum
        panel = {
            "type": kind, "title": title, "description": description, "datasource": DATASOURCE,
            "targets": targets, "options": options,
            "fieldConfig": {"defaults": defaults, "overrides": colours() if kind == "timeseries" else []},
        }
        if transformations:
            panel["transformations"] = transformations
        self._place(panel, w or width, h or height)

    def _place(self, panel, width, height):
        if self.x + width > WIDTH:
            self._break()
        position = {"x": self.x, "y": self.row_y, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, "gridPos": position} | panel)
        self.x += width
        self.row_height = max(self.row_height, height)

    def _break(self):
        self.row_y += self.row_height
        self.x = self.row_height = 0

    def json(self):
        return {
            "uid": f"stemflow-{self.name}",
            "title": f"Stemflow / {BOARDS[self.name]}",
            "description": self.description,
            "tags": ["stemflow"],
            "schemaVersion": 41,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "templating": {"list": self.variables},
            "annotations": {"list": [releases()]},
            "links": [link(name) for name in BOARDS if name != self.name],
            "panels": self.panels,
        }


def colours():
    return [
        {"matcher": {"id": "byName", "options": name},
         "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}]}
        for name, colour in COLOURS.items()
    ]


def link(name):
    return {
        "type": "link", "title": BOARDS[name], "url": f"/d/stemflow-{name}",
        "keepTime": True, "includeVars": True, "asDropdown": False, "targetBlank": False, "tags": [],
        "icon": "dashboard", "tooltip": BOARDS[name],
    }


def releases():
    """A mark where a version that was not there before appears."""
    return {
        "name": "Releases", "enable": True, "iconColor": "purple", "datasource": DATASOURCE,
        "expr": "count by (version, revision) (stemflow_build_info)"
                " unless count by (version, revision) (stemflow_build_info offset 5m)",
        "titleFormat": "{{version}} ({{revision}})", "step": "60s",
    }


def datasource():
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def variable(name, label, expr, multi=True):
    """A choice among the values of a label; all of them, at first."""
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE,
        "query": {"query": expr, "refId": name}, "definition": expr,
        "multi": multi, "includeAll": True, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"}, "refresh": 2, "sort": 1,
    }


def namespace(metric):
    return variable("namespace", "Namespace", f"label_values({metric}, namespace)")


def stage():
    """A choice among the stages, in the order of the data: Prometheus knows them by the alphabet alone."""
    names = re.findall(r'^name = "([^"]+)"', WORKFLOW.read_text(), re.MULTILINE)
    return {
        "name": "stage", "label": "Stage", "type": "custom", "query": ",".join(names),
        "options": [{"text": name, "value": name, "selected": False} for name in names],
        "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }


def lane():
    expr = 'label_values(stemflow_tasks_waiting{namespace=~"$namespace"}, lane)'
    return variable("lane", "Lane", expr)
