"""The dashboard and the alerts speak of metrics that exist, in labels and states that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from traptor.account import metrics
from traptor.account.metrics import COUNTERS, GAUGES
from traptor.account.state import State
from traptor.store import metrics as store_metrics

ROOT = Path(__file__).parent.parent
ALERTS = (ROOT / "monitoring" / "traptor-alerts.yml").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((ROOT / "monitoring" / "traptor-dashboard.json").read_text(encoding="utf-8"))
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
RUNBOOK = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

REBALANCE = {"traptor_orphan_rules", "traptor_moved_rules_total", "traptor_rebalance_look_timestamp_seconds"}
LOADER = {f"traptor_rules_{name}" for name in ("load_timestamp_seconds", "load_pause_seconds", "load_failures_total",
                                               "loaded", "refused")}  # fmt: skip
NAMES = {
    *(f"traptor_{name}_total" for name in COUNTERS),
    *(f"traptor_{name}" for name in GAUGES),
    "traptor_state",
    *REBALANCE,
    *LOADER,
    *(f"traptor_store_{name}_total" for name in store_metrics.COUNTERS),
    *(f"traptor_store_{name}" for name in ("behind", "seconds_since_last_message", "state")),
    *(f"traptor_latency_seconds_{part}" for part in ("bucket", "sum", "count")),
}
LABELS = {"type", "id", "le", "state", "job", "instance"} | {label for label, _ in COUNTERS.values() if label}
ALERT_NAMES = re.findall(r"- alert: (\w+)", ALERTS)
ALERT_EXPRESSIONS = re.findall(r"expr: (?:>-\n\s+)?(.+)", ALERTS)
PANEL_EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_there_is_something_to_check() -> None:
    assert len(ALERT_EXPRESSIONS) == len(ALERT_NAMES) == len(set(ALERT_NAMES)) > 10
    assert len(PANEL_EXPRESSIONS) > 20


@pytest.mark.parametrize("expression", [*ALERT_EXPRESSIONS, *PANEL_EXPRESSIONS])
def test_an_expression_names_what_exists(expression: str) -> None:
    assert set(re.findall(r"\btraptor_\w+", expression)) - NAMES == set()
    groups = ",".join(re.findall(r"\bby \(([^)]*)\)", expression)).split(",")
    matched = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
    assert {name.strip() for name in [*groups, *matched] if name.strip()} - LABELS == set()
    for states in re.findall(r'state=~?"([^"]+)"', expression):
        assert set(states.split("|")) <= set(State)
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("state", ["kafka-down", "spool-fails", "waiting-for-rules"])
def test_a_state_that_needs_somebody_has_an_alert(state: str) -> None:
    assert [expression for expression in ALERT_EXPRESSIONS if f'"{state}"' in expression]


def test_every_reason_for_a_drop_is_known_and_explained() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "traptor").rglob("*.py"))
    one_of_two = r'"(\w+)"(?: if .+ else "(\w+)")?'
    named = re.findall(
        rf'"dropped:(\w+)"|drop\(.+, {one_of_two}(?:\)|, \w+=)|    reason = {one_of_two}$', source, re.MULTILINE
    )
    assert {name for names in named for name in names if name} == set(metrics.KNOWN_LABELS["dropped"])
    table = RUNBOOK.partition("## Reasons for a drop")[2].partition("##")[0]
    explained = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)))
    assert set(explained) == set(metrics.KNOWN_LABELS["dropped"])


def test_every_metric_is_shown() -> None:
    shown = set(re.findall(r"\btraptor_\w+", " ".join(PANEL_EXPRESSIONS)))
    assert NAMES - shown == {"traptor_latency_seconds_sum", "traptor_latency_seconds_count"}


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_every_alert_says_what_to_do(name: str) -> None:
    assert re.search(rf"^\| `{name}` \| .{{20,}} \|$", RUNBOOK, re.MULTILINE)


def test_the_panels_lie_beside_each_other() -> None:
    taken = [square for panel in DASHBOARD["panels"] for square in squares(**panel["gridPos"])]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def squares(x: int, y: int, w: int, h: int) -> list[tuple[int, int]]:
    return [(column, row) for column in range(x, x + w) for row in range(y, y + h)]


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_a_panel_is_one_that_grafana_draws(panel: dict[str, Any]) -> None:
    assert panel["type"] in {"timeseries", "state-timeline"}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    for target in panel["targets"]:
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= VARIABLES.keys() - {"datasource"}
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert labels <= LABELS


def test_all_is_asked_of_the_data_source_that_compose_brings() -> None:
    asking = [*DASHBOARD["panels"], *(one for one in VARIABLES.values() if one["type"] == "query")]
    assert {tuple(one["datasource"].values()) for one in asking} == {("prometheus", "${datasource}")}
    source = provisioned("datasources/prometheus.yml")
    assert VARIABLES["datasource"]["query"] == source["type"] == source["uid"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    assert re.search(r"^  prometheus:\n    image: .*\n(    .*\n)*    ports: .*:9090\"]$", COMPOSE, re.MULTILINE)


def test_compose_brings_the_dashboard_to_where_grafana_looks() -> None:
    grafana = COMPOSE.partition("\n  grafana:\n")[2]
    mounted = dict(re.findall(r"- \./([\w/]+):([\w/]+):ro", grafana))
    assert mounted == {"compose/grafana": "/etc/grafana/provisioning", "monitoring": "/monitoring"}
    assert provisioned("dashboards/traptor.yml")["path"] == mounted["monitoring"]


def provisioned(place: str) -> dict[str, str]:
    """The lines NAME: VALUE of one of Grafana's provisioning files."""
    text = (ROOT / "compose/grafana" / place).read_text(encoding="utf-8")
    assert text.startswith("apiVersion: 1\n")
    return dict(re.findall(r"^[- ]*(\w+): (\S+)$", text, re.MULTILINE))
