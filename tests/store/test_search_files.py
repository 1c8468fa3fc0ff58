"""What `search/` and `logstash/` hold, as far as files can be checked: not all of their servers are at hand."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from traptor.store.search.documents import month
from traptor.tweets.snowflakes import EPOCH_MS, FIRST

ROOT = Path(__file__).parents[2]
LOGSTASH = (ROOT / "logstash/traptor.conf").read_text()
PAINLESS = (ROOT / "search/document.painless").read_text()


def test_each_state_of_the_policy_for_opensearch_is_one() -> None:
    policy = json.loads((ROOT / "search/ism.json").read_text())["policy"]
    states = {state["name"]: state for state in policy["states"]}
    ways = {way["state_name"] for state in states.values() for way in state["transitions"]}
    assert {policy["default_state"], *ways} == states.keys()
    ages = [way["conditions"]["min_index_age"] for state in states.values() for way in state["transitions"]]
    assert ages == ["62d", "396d"]


def test_the_policy_for_elasticsearch_is_the_same() -> None:
    phases = json.loads((ROOT / "search/ilm.json").read_text())["policy"]["phases"]
    assert [phase.get("min_age") for phase in phases.values()] == [None, "62d", "396d"]
    assert list(phases) == ["hot", "warm", "delete"]


def test_the_pipeline_runs_the_script_that_is_set_up() -> None:
    *_, script = json.loads((ROOT / "search/pipeline.json").read_text())["processors"]
    assert f"_scripts/{script['script']['id']}" in (ROOT / "search/setup").read_text()


@pytest.mark.parametrize("text", [PAINLESS, LOGSTASH], ids=["painless", "logstash"])
def test_ids_tell_their_time_as_everywhere(text: str) -> None:
    assert str(EPOCH_MS) in text
    assert f"{FIRST}L" in text or "1 << 35" in text
    assert FIRST == 1 << 35


def test_logstash_asks_for_the_pipeline_and_its_blocks_are_closed() -> None:
    assert 'pipeline => "traptor"' in LOGSTASH
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", LOGSTASH)
    assert bare.count("{") == bare.count("}") > 10


@pytest.mark.skipif(not shutil.which("ruby"), reason="no Ruby: apt-get install ruby")
@pytest.mark.parametrize("id_", [5, FIRST - 1, FIRST, 1353500000000000000])
def test_logstash_deletes_where_the_store_has_put_it(id_: int) -> None:
    code = re.search(r"code => '\n(.+?)\n      '", LOGSTASH, re.DOTALL)
    assert code
    script = f"""
        event = Hash.new {{ |_, name| name == "[delete][status][id_str]" ? "{id_}" : nil }}
        def event.get(name) = self[name]
        def event.set(name, value) = store(name, value)
        {code[1]}
        puts event["[@metadata][id]"], event["[@metadata][index]"]
    """
    done = subprocess.run(["ruby", "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(id_), f"traptor-tweets-{month(id_)}"]
