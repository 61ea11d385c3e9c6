"""What our dashboards ask, and what a running Prometheus answers."""

import json
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# What tells of these is not everywhere.
ELSEWHERE = {"kube_": "a cluster", "keda_": "KEDA", "DCGM_": "a GPU", "nats_": "the NATS exporter"}
VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def boards():
    return {path.name: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}


def filled(expr, chosen={}):
    """The query as Prometheus takes it; every variable of which nothing is chosen at its widest."""
    expr = expr.replace("$__rate_interval", "1m")
    return VARIABLE.sub(lambda name: chosen.get(name[1], ".*"), expr)


def elsewhere(expr):
    """What it takes to answer this, if it is more than a stack on one machine."""
    return next((reason for prefix, reason in ELSEWHERE.items() if re.search(rf"\b{prefix}", expr)), None)


def ask(url, path, **parameters):
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        sys.exit(f"Prometheus refuses {parameters}: {json.load(error)['error']}")
    except urllib.error.URLError as error:
        sys.exit(f"no Prometheus answers at {url} ({error.reason}): make up-observed starts one")
