"""Every alert by promtool's clock: minutes of what is scraped, and when it fires, when not, and when it ends."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.conftest import missing
from tests.integration.prometheus import ALERTS, ROOT, promtool
from tests.servers import ServerMissing

TRACK = 'type="track",id="0"'
RULES = 'instance="a:9101",job="traptor-rules"'
STORE = 'instance="store:9100",job="traptor-store"'
OF_TRACK = {"type": "track", "id": "0"}
OF_STORE = {"instance": "store:9100"}
Series = Mapping[str, Sequence[object]]
"""What a minute's scrape finds, from minute 0 on; ``_`` where it finds nothing."""


class Case(NamedTuple):
    alert: str
    labels: Mapping[str, str]
    summary: str
    series: Series
    turns: tuple[int, int, int]
    """A last minute without it, the first with it, and one by which it is over."""


def state(*states: str, minutes: int) -> Series:
    """track:0 in one of these states for so long, turn by turn, and streaming before and after."""
    held = [["streaming"]] * 5 + [[states[minute % len(states)]] for minute in range(minutes)] + [["streaming"]] * 20
    return {
        f'traptor_state{{{TRACK},state="{name}"}}': [int(name in at) for at in held]
        for name in ("streaming", *dict.fromkeys(states))
    }


def rising(name: str, *, to: int, within: int = 5, minutes: int = 100, begin: int = 0) -> Series:
    """A counter that stands still for five minutes, then rises for some."""
    up = [begin + to * minute // within for minute in range(1, within + 1)]
    return {name: [begin] * 5 + up + [begin + to] * (minutes - within)}


FIRES = [
    Case("TraptorIsGone", {"job": "traptor", "instance": "a:9100"}, "No metrics from a:9100",
         {'up{job="traptor",instance="a:9100"}': [1] * 5 + [0] * 5 + [1] * 5,
          f'traptor_state{{{TRACK},state="streaming"}}': [1] * 15}, (6, 7, 10)),
    Case("TraptorIsGone", {}, "No metrics from any Traptor",
         {f'traptor_state{{{TRACK},state="streaming"}}': [1] * 5 + ["_"] * 20 + [1] * 5}, (10, 12, 25)),
    Case("TraptorHasNoStream", OF_TRACK, "track:0 has had no stream for five minutes",
         state("backing-off", "connecting", minutes=9), (9, 10, 14)),
    Case("TraptorHasNoStream", OF_TRACK, "track:0 has had no stream for five minutes",
         state("stalled", minutes=9), (9, 10, 14)),
    Case("TraptorLosesMessages", {**OF_TRACK, "reason": "spool_full"}, "track:0 drops messages: spool_full",
         rising(f'traptor_dropped_total{{{TRACK},reason="spool_full"}}', to=3), (4, 6, 15)),
    Case("TraptorKafkaIsDown", OF_TRACK, "Kafka does not take what track:0 has; it waits on disk",
         state("kafka-down", minutes=5), (6, 7, 10)),
    Case("TraptorSpoolFails", OF_TRACK, "The spool of track:0 cannot be read or written; what waits is in memory",
         state("spool-fails", minutes=5), (6, 7, 10)),
    Case("TraptorSpoolFillsUp", OF_TRACK, "The spool of track:0 is four fifths full",
         {f"traptor_spool_bytes{{{TRACK}}}": [80, 81, 0], f"traptor_spool_max_bytes{{{TRACK}}}": [100] * 3}, (0, 1, 2)),
    Case("TraptorSetsMessagesApart", OF_TRACK, "Kafka refused messages of track:0 for good",
         rising(f"traptor_apart_total{{{TRACK}}}", to=1), (8, 9, 70)),
    Case("TraptorSpoolWasDamaged", OF_TRACK,
         "The spool of track:0 was damaged: the messages in it wait for a person",
         {f"traptor_spool_damaged_files_total{{{TRACK}}}": [0] * 5 + [1] * 90 + [0] * 5}, (4, 5, 95)),
    Case("TraptorDeliversLate", OF_TRACK, "Tweets of track:0 reach Kafka more than a minute after they were written",
         {f'traptor_latency_seconds_bucket{{{TRACK},le="60.0"}}':
              [*range(0, 1000, 100), *[1000] * 20, *range(1100, 5000, 100)],
          **{f'traptor_latency_seconds_bucket{{{TRACK},le="{bound}"}}': range(0, 6900, 100)
             for bound in ("300.0", "+Inf")}}, (18, 22, 50)),
    Case("TraptorReconnectsOften", OF_TRACK, "track:0 has lost its stream more than ten times in an hour",
         rising(f'traptor_reconnects_total{{{TRACK},cause="reset"}}', to=12, within=12), (12, 17, 75)),
    Case("TraptorIsWithheldFrom", OF_TRACK, "Twitter withholds more than one tweet in a hundred from track:0",
         {**rising(f"traptor_withheld_total{{{TRACK}}}", to=100),
          f'traptor_received_total{{{TRACK},kind="tweet"}}': range(0, 10_000, 100)}, (4, 6, 70)),
    Case("TraptorFallsBehind", OF_TRACK, "track:0 reads too slowly; Twitter is about to disconnect it",
         {f"traptor_stall_percent_full{{{TRACK}}}": [0] * 5 + [80] * 10 + [60] * 5}, (9, 10, 15)),
    Case("TraptorLeavesRulesOut", OF_TRACK, "7 rules of track:0 are not collected",
         {f"traptor_rules_left_out{{{TRACK}}}": [0] * 5 + [7] * 15 + [0] * 5}, (14, 15, 20)),
    Case("TraptorHasNoRules", OF_TRACK, "track:0 waits for rules",
         state("waiting-for-rules", minutes=20), (19, 20, 25)),
    Case("TraptorRulesAreOrphans", {"type": "track"},
         "7 track rules are collected by nobody: no living Traptor has room",
         {f'traptor_orphan_rules{{type="track",instance="{node}:9099"}}': [0] * 5 + [7] * 5 + [0] * 5 for node in "ab"},
         (5, 6, 10)),
    Case("TraptorNobodyRebalances", {},
         "Nobody looks whose rules must move: those of a dead Traptor stay uncollected",
         {"traptor_rebalance_look_timestamp_seconds": [*range(0, 300, 60), *[240] * 10, *range(900, 1500, 60)]},
         (7, 8, 15)),
    Case("TraptorNobodyRebalances", {},
         "Nobody looks whose rules must move: those of a dead Traptor stay uncollected",
         {f'up{{job="traptor-rebalance",instance="{node}"}}': [1] * 5 + [0] * 5 + [1] * 5 for node in "ab"},
         (6, 7, 10)),
    Case("TraptorRulesAreNotLoaded", {"job": "traptor-rules"},
         "Nobody loads the rules of traptor-rules: what changes in their source is not collected",
         {f'traptor_rules_load_timestamp_seconds{{{RULES}}}': [*range(0, 300, 60), *[240] * 10, *range(900, 1500, 60)],
          f'traptor_rules_load_pause_seconds{{{RULES}}}': [10] * 25}, (7, 8, 15)),
    Case("TraptorRulesAreNotLoaded", {"job": "traptor-rules-v2"},
         "Nobody loads the rules of traptor-rules-v2: what changes in their source is not collected",
         {f'up{{job="traptor-rules-v2",instance="{node}"}}': [1] * 5 + [0] * 5 + [1] * 5 for node in "ab"}, (6, 7, 10)),
    Case("TraptorStoreHasNoDatabase", OF_STORE,
         "The store store:9100 cannot write: tweets wait in Kafka, for as long as Kafka keeps them",
         {f'traptor_store_state{{{STORE},state="database-down"}}': [0] * 5 + [1] * 10 + [0] * 5}, (9, 10, 15)),
    Case("TraptorStoreFallsBehind", {**OF_STORE, "job": "traptor-store"},
         "The store store:9100 is 1234567 messages behind",
         {f"traptor_store_behind{{{STORE}}}": [100_000] * 5 + [1_234_567] * 50 + [100_000] * 5}, (34, 35, 55)),
    Case("TraptorStoreSetsApart", OF_STORE, "The store store:9100 could not store 7 messages of the last hour",
         rising(f"traptor_store_apart_total{{{STORE}}}", to=7), (4, 60, 70)),
    Case("TraptorStoreIsDown", {}, "No store runs: tweets wait in Kafka, for as long as Kafka keeps them",
         {f'up{{job="traptor-store",instance="{node}"}}': [1] * 5 + [0] * 10 + [1] * 5 for node in "ab"}, (9, 10, 15)),
]  # fmt: skip

QUIET = [
    ("TraptorIsGone", {'up{job="node",instance="a:9100"}': [0] * 30, **state("kafka-down", minutes=20)}),
    ("TraptorHasNoStream", state("backing-off", "streaming", minutes=30)),
    ("TraptorHasNoStream", state("quiet", minutes=30)),
    *(("TraptorLosesMessages", rising(f'traptor_dropped_total{{{TRACK},reason="{reason}"}}', to=30))
      for reason in ("duplicate", "deleted", "other_rules")),
    ("TraptorKafkaIsDown", state("kafka-down", minutes=2)),
    ("TraptorSpoolFails", state("kafka-down", minutes=20)),
    *(("TraptorSpoolFillsUp",
       {f"traptor_spool_bytes{{{TRACK}}}": [filled] * 9, f"traptor_spool_max_bytes{{{TRACK}}}": [most] * 9})
      for filled, most in ((80, 100), (0, 0))),
    ("TraptorSetsMessagesApart", rising(f"traptor_apart_total{{{TRACK}}}", begin=9, to=0)),
    ("TraptorSpoolWasDamaged", {f"traptor_spool_damaged_files_total{{{TRACK}}}": [0] * 30}),
    ("TraptorDeliversLate",
     {f'traptor_latency_seconds_bucket{{{TRACK},le="{bound}"}}': range(30) for bound in ("60.0", "+Inf")}),
    ("TraptorDeliversLate",
     {f'traptor_latency_seconds_bucket{{{TRACK},le="{bound}"}}': [5] * 30 for bound in ("60.0", "+Inf")}),
    ("TraptorReconnectsOften", rising(f'traptor_reconnects_total{{{TRACK},cause="rules"}}', to=100, within=50)),
    ("TraptorReconnectsOften", rising(f'traptor_reconnects_total{{{TRACK},cause="reset"}}', to=9, within=50)),
    ("TraptorIsWithheldFrom", {f"traptor_withheld_total{{{TRACK}}}": range(60),
                               f'traptor_received_total{{{TRACK},kind="tweet"}}': range(0, 6000, 100)}),
    ("TraptorFallsBehind", {f"traptor_stall_percent_full{{{TRACK}}}": [60] * 30}),
    ("TraptorLeavesRulesOut", {f"traptor_rules_left_out{{{TRACK}}}": [0] * 5 + [7] * 9 + [0] * 5}),
    ("TraptorHasNoRules", state("waiting-for-rules", minutes=14)),
    ("TraptorRulesAreOrphans", {'traptor_orphan_rules{type="track"}': [0] * 30}),
    ("TraptorNobodyRebalances",
     {**{f'up{{job="traptor-rebalance",instance="{node}"}}': [up] * 20 for up, node in enumerate("ab")},
      "traptor_rebalance_look_timestamp_seconds": range(0, 1200, 60)}),
    ("TraptorRulesAreNotLoaded",
     {f"traptor_rules_load_timestamp_seconds{{{RULES}}}": [0] * 20,
      f"traptor_rules_load_pause_seconds{{{RULES}}}": [3600] * 20}),
    ("TraptorRulesAreNotLoaded",
     {f'up{{job="traptor-rules",instance="{node}"}}': [up] * 20 for up, node in enumerate("ab")}),
    ("TraptorStoreHasNoDatabase", {f'traptor_store_state{{{STORE},state="database-down"}}': [0, 1, 1, 1, 1] * 5}),
    ("TraptorStoreFallsBehind", {f"traptor_store_behind{{{STORE}}}": [1_000_000] * 20 + [0] + [1_000_000] * 20}),
    ("TraptorStoreSetsApart", rising(f"traptor_store_apart_total{{{STORE}}}", begin=9, to=0)),
    ("TraptorStoreIsDown",
     {f'up{{job="traptor-store",instance="{node}"}}': [up] * 20 for up, node in enumerate("ab")}),
]  # fmt: skip
SEVERITIES = dict(re.findall(r"- alert: (\w+)\n(?:.*\n)+?\s+labels: \{severity: (\w+)\}", ALERTS.read_text()))


@pytest.fixture(autouse=True)
def prometheus() -> None:
    try:
        promtool("--version")
    except ServerMissing as error:
        missing(error)


def test_the_rules_are_valid() -> None:
    checked = promtool("check", "rules", ALERTS)
    assert (checked.returncode, f"SUCCESS: {len(SEVERITIES)} rules found" in checked.stdout) == (0, True), (
        checked.stdout
    )


def test_the_configuration_of_compose_is_valid() -> None:
    checked = promtool("check", "config", "--syntax-only", ROOT / "compose/prometheus.yml")
    assert checked.returncode == 0, checked.stdout


def test_each_panel_of_the_dashboard_asks_in_promql(tmp_path: Path) -> None:
    """As a recording rule, with all chosen."""
    panels = json.loads((ROOT / "monitoring/traptor-dashboard.json").read_text())["panels"]
    asked = [re.sub(r"\$\w+", ".*", target["expr"]) for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "panels.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    checked = promtool("check", "rules", tmp_path / "panels.json")
    assert f"SUCCESS: {len(asked)} rules found" in checked.stdout, checked.stdout


def test_every_alert_is_here() -> None:
    assert {case.alert for case in FIRES} == {alert for alert, _ in QUIET} == set(SEVERITIES)


@pytest.mark.parametrize("case", FIRES, ids=lambda case: case.alert)
def test_it_fires_and_ends(case: Case, tmp_path: Path) -> None:
    before, during, after = case.turns
    fired = [
        {
            "exp_labels": {**case.labels, "severity": SEVERITIES[case.alert]},
            "exp_annotations": {"summary": case.summary},
        }
    ]
    check(tmp_path, case.alert, case.series, {before: [], during: fired, after: []})


@pytest.mark.parametrize("alert, series", QUIET, ids=[alert for alert, _ in QUIET])
def test_it_does_not_fire(alert: str, series: Series, tmp_path: Path) -> None:
    minutes = max(map(len, series.values()))
    check(tmp_path, alert, series, {minute: [] for minute in range(minutes)})


def check(folder: Path, alert: str, series: Series, expected: Mapping[int, Sequence[object]]) -> None:
    """Does promtool find these alerts at these minutes?"""
    one = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": " ".join(map(str, values))} for name, values in series.items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": alerts}
            for minute, alerts in expected.items()
        ],
    }  # fmt: skip
    (folder / "test.yml").write_text(
        json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [one]})
    )
    tested = promtool("test", "rules", folder / "test.yml")
    assert tested.returncode == 0, tested.stdout
