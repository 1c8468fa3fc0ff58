"""``rules plan``, and the metrics of ``rules rebalance --watch``."""

import time
import urllib.request
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import HOST, free_port
from tests.test_monitoring import REBALANCE
from traptor.commands import planning
from traptor.fleet.rebalance import Balance


def test_each_look_is_counted() -> None:
    port = free_port()
    take_up = planning._metrics(HOST, port)
    with pytest.raises(click.ClickException, match=f"no metrics on {HOST}:{port}: .+in use"):
        planning._metrics(HOST, port)
    take_up(Balance({}, {"track": 3}, [], {}))
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = {(one.name, one.labels.get("type")): one.value for family in families for one in family.samples}
    assert {name for name, _ in samples} >= REBALANCE
    assert samples["traptor_orphan_rules", "track"] == 3
    assert samples["traptor_rebalance_look_timestamp_seconds", None] == pytest.approx(time.time(), abs=10)
    planning._metrics(HOST, None)(Balance({}, {}, [], {}))


@pytest.mark.parametrize("options,code", [([], 1), (["--type", "track"], 0)])
def test_a_plan_that_leaves_rules_out_needs_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("storm\nflood warning\n")
    done = CliRunner().invoke(planning.plan, ["words.txt", *options])
    assert (done.exit_code, "LEFT OUT: 2" in done.stderr) == (code, bool(code)), done.output


@pytest.mark.parametrize("options", [[], ["--api", "2"]])
def test_a_plan_for_no_rules_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.csv").write_text("type,value\nnone,storm\n")
    done = CliRunner().invoke(planning.plan, ["rules.csv", *options])
    assert (done.exit_code, done.stdout) == (1, "there are no rules to plan for\n")
