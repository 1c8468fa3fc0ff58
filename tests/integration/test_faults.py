"""What can go wrong, done to a Traptor on real servers: no tweet is lost without a word.

All faults, at their full length, are in bench/faults.py; ``python -m bench.chaos`` runs them.
"""

from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import chaos, faults
from bench.faults import Fault
from bench.trial import Outcome, Servers, Trial
from tests.servers import ApacheKafka, KafkaBroker, RedisServer, wait_until
from traptor.cli import command
from traptor.settings import CONFLUENT, KAFKA_CLIENTS, KAFKA_PYTHON

SHORT = 0.05
"""Of the full lengths."""
SOAK_SECONDS = 60.0

CHOSEN: dict[str, dict[str, int]] = {
    "broker stopped": {},
    "broker frozen (SIGSTOP)": {},
    "3 messages too large for the topic": {"apart": 3},
    "spool full (SPOOL_MAX_BYTES), broker stopped": {"dropped:spool_full": 1},
    "Redis stopped": {},
    "Redis back without the rules": {},
    "stream cut in the middle of a message": {"reconnects:cut": 1},
    "420, 3 times, Retry-After 2 s": {"reconnects:http-420": 1},
    "disconnect with code 12": {"reconnects:disconnect-12": 1},
    "garbage, and a message of 2 MB": {"received:unreadable": 2, "dropped:not_json": 1, "dropped:too_long": 1},
    "tweets sent twice, and in disorder": {"dropped:duplicate": 5},
    "limit notices whose numbers go up and down": {"received:limit": 6, "withheld": 20},
    "two processes with one credential, one killed": {"reconnects:died": 1},
}
"""By the fault's name: counts that are at least to be in the account."""


ON_BOTH_APIS = (
    "broker stopped",
    "Redis stopped",
    "stream cut in the middle of a message",
    "disconnect with code 12",
    "tweets sent twice, and in disorder",
)
WITH_BOTH_CLIENTS = (
    "broker stopped",
    "broker frozen (SIGSTOP)",
    "3 messages too large for the topic",
    "spool full (SPOOL_MAX_BYTES), broker stopped",
)
"""Those of the broker: of others Kafka's client knows nothing."""
IN_A_MOMENT = {
    ("stream cut in the middle of a message", "2", KAFKA_PYTHON),
    ("garbage, and a message of 2 MB", "1.1", KAFKA_PYTHON),
    ("tweets sent twice, and in disorder", "2", KAFKA_PYTHON),
    ("limit notices whose numbers go up and down", "1.1", KAFKA_PYTHON),
}
"""The others are heavy."""
TRIALS = [
    *((name, "1.1", KAFKA_PYTHON) for name in CHOSEN),
    *((name, "2", KAFKA_PYTHON) for name in ON_BOTH_APIS),
    *((name, "1.1", CONFLUENT) for name in WITH_BOTH_CLIENTS),
]


@pytest.fixture
def servers(tmp_path: Path, redis_server: RedisServer, kafka_broker: KafkaBroker) -> Servers:
    if not isinstance(kafka_broker, ApacheKafka):
        pytest.skip("Apache Kafka is needed, which keeps its messages over a stop: `make kafka`")
    return Servers(tmp_path, redis_server, kafka_broker)


def assert_nothing_is_lost_untold(outcome: Outcome) -> None:
    assert outcome.sent
    assert outcome.unexplained() == 0
    if not outcome.account["dropped:spool_full"]:
        assert outcome.missing["dropped"] == outcome.account["apart"]


@pytest.mark.parametrize(
    "account,missing,unexplained",
    [
        ({}, 0, 0),
        ({}, 2, 2),
        ({"dropped:spool_full": 2, "apart": 1}, 4, 1),
        ({"dropped:not_json": 1, "dropped:too_long": 1, "dropped:duplicate": 1}, 1, 1),
    ],
)
def test_what_was_no_tweet_explains_no_missing_one(account: dict[str, int], missing: int, unexplained: int) -> None:
    outcome = Outcome(9, Counter(account), 0, Counter({"dropped": missing}), 0.0, [], [])
    assert outcome.unexplained() == unexplained


@pytest.mark.parametrize(
    "name, api, client",
    [pytest.param(*trial, marks=[] if trial in IN_A_MOMENT else pytest.mark.heavy) for trial in TRIALS],
)
def test_a_fault_costs_nothing_that_is_not_told(servers: Servers, name: str, api: str, client: str) -> None:
    (fault,) = [fault for fault in faults.FAULTS if fault.name == name]
    outcome = fault.happens(servers._replace(settings={"TWITTER_API": api, "KAFKA_CLIENT": client}), SHORT)
    assert_nothing_is_lost_untold(outcome)
    assert [count for count, least in CHOSEN[name].items() if outcome.account[count] < least] == []


@pytest.mark.heavy
def test_outages_leave_no_sockets_behind(servers: Servers) -> None:
    with Trial(servers) as trial:
        sockets = [_sockets_after_outage(trial) for _ in range(4)]
    assert sockets[-1] <= sockets[1] + 1, sockets  # with the second: by then Redis' pool has all that it opens


def _sockets_after_outage(trial: Trial) -> int:
    """Once what came meanwhile is delivered, so that the producer has its connections again."""
    faults.broker_stopped(trial, 3)
    received = trial.account()["received:tweet"]
    wait_until(lambda: trial.account()["delivered"] >= received, "what waited to be delivered")
    return sum(target.startswith("socket:") for target in trial.open_files())


@pytest.mark.heavy
def test_a_soak_costs_nothing_that_is_not_told(servers: Servers) -> None:
    assert_nothing_is_lost_untold(chaos.soak(servers, SOAK_SECONDS))


@pytest.mark.heavy
@pytest.mark.parametrize("with_broker, client", [(True, KAFKA_PYTHON), (False, KAFKA_PYTHON), (False, CONFLUENT)])
def test_a_kill_costs_the_last_second_at_most(servers: Servers, with_broker: bool, client: str) -> None:
    servers = servers._replace(settings={"KAFKA_CLIENT": client})
    outcome = Fault("SIGKILL", faults.sigkill(2, with_broker=with_broker)).happens(servers)
    assert_nothing_is_lost_untold(outcome)
    assert [gap["cause"] for gap in outcome.gaps] == ["died", "died"]


@pytest.mark.heavy
@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_sigterm_costs_nothing(servers: Servers, client: str) -> None:
    servers = servers._replace(settings={"KAFKA_CLIENT": client})
    outcome = Fault("SIGTERM", faults.sigterm_at_any_moment(2)).happens(servers)
    assert_nothing_is_lost_untold(outcome)
    assert {gap["cause"] for gap in outcome.gaps} == {"stopped"}


@pytest.mark.heavy
def test_what_kafka_refused_can_be_sent_again_while_it_runs(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    with Trial(servers) as trial:
        faults.too_large(trial, 0)
        wait_until(lambda: trial.account()["apart"] == 3, "3 messages set apart")
        faults.set_largest(trial, 2 * faults.LARGE_BYTES)
        monkeypatch.setenv("SPOOL_DIR", str(trial.folder / "spool"))
        listed = CliRunner().invoke(command, ["spool", "list"])
        assert "set apart by track:0: 3" in listed.stdout
        assert CliRunner().invoke(command, ["spool", "resend", "--all"]).stdout == "track:0: 3 to be sent again\n"
        wait_until(lambda: trial.account()["taken_up"] == 3, "the daemon to see it")
        outcome = trial.outcome()
    assert_nothing_is_lost_untold(outcome._replace(account=outcome.account - Counter(apart=3)))
