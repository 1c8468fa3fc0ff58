"""One of those who would load rules does, again and again; what fails is told once and waited out."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

import fakeredis
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from traptor import keys
from traptor.fleet.following import MOST_TOLD, Follower
from traptor.fleet.metrics import LoaderCollector
from traptor.rules.loading import Loaded, Remark, SourceError
from traptor.rules.lock import Locked
from traptor.rules.shards import Change, Place

NOTHING: Loaded = Loaded({}, [], [])
RULE = {"rule_id": "1", "value": "storm"}


class Source:
    """Gives, or raises, one thing after the other, and then the last; and notes what was written."""

    def __init__(self, *answers: Loaded | Exception, refusal: Exception | None = None) -> None:
        self.answers = list(answers)
        self.refusal = refusal
        self.written: list[Loaded] = []

    def read(self) -> Loaded:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def write(self, loaded: Loaded) -> tuple[dict[str, list[Change]], list[object]]:
        if self.refusal:
            raise self.refusal
        self.written.append(loaded)
        return {"track": [Change("added", Place(0, "1"), RULE)]}, []


@pytest.fixture
def conn() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(decode_responses=True)


def follower(conn: "redis.Redis", source: Source, types: Iterable[str] = ("track",)) -> Follower:
    return Follower(
        conn,
        list(types),
        source.read,
        source.write,  # type: ignore[arg-type]
        every_seconds=1,
        stopping=threading.Event(),
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_of_two_one_loads(conn: fakeredis.FakeRedis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, second = Source(NOTHING), Source(NOTHING)
    one, other = follower(conn, first), follower(conn, second)
    for _ in range(2):
        one.look()
        other.look()
    assert (len(first.written), len(second.written)) == (2, 0)
    assert said(caplog) == ["loading rules", "rules loaded", "waiting: another loads rules", "rules loaded"]


def test_who_loads_another_type_does_not_wait(conn: fakeredis.FakeRedis) -> None:
    sources = [Source(NOTHING) for _ in range(3)]
    for types, source in zip((["track"], ["follow"], keys.TYPES), sources, strict=True):
        follower(conn, source, types).look()
    assert [len(source.written) for source in sources] == [1, 1, 0]


def test_at_the_end_the_next_one_loads_at_once(conn: fakeredis.FakeRedis) -> None:
    stopping = threading.Event()
    source, next_source = Source(NOTHING), Source(NOTHING)

    def read() -> Loaded:
        stopping.set()
        return source.read()

    Follower(conn, ["track"], read, source.write, every_seconds=60, stopping=stopping).run()  # type: ignore[arg-type]
    follower(conn, next_source).look()
    assert len(next_source.written) == 1


@pytest.mark.parametrize(
    "source",
    [
        Source(SourceError("it is away"), SourceError("it is away"), NOTHING),
        Source(redis.ConnectionError("it is away"), redis.ConnectionError("it is away"), NOTHING),
    ],
)
def test_what_is_away_is_told_once_and_so_is_its_return(
    conn: fakeredis.FakeRedis, caplog: pytest.LogCaptureFixture, source: Source
) -> None:
    one = follower(conn, source)
    for _ in range(4):
        one.look()
    assert said(caplog) == ["rules are not loaded: trying again", "rules are loaded again"]
    assert "it is away" in caplog.records[0].reason  # type: ignore[attr-defined]
    assert len(source.written) == 2


@pytest.mark.parametrize("refusal", [Locked("rules are being changed by somebody"), redis.WatchError("changed")])
def test_who_changes_rules_meanwhile_is_waited_for(
    conn: fakeredis.FakeRedis, caplog: pytest.LogCaptureFixture, refusal: Exception
) -> None:
    source = Source(NOTHING, refusal=refusal)
    one = follower(conn, source)
    one.look()
    source.refusal = None
    one.look()
    assert said(caplog) == ["rules are not loaded: trying again", "rules are loaded again"]


def test_how_it_goes_is_told_to_prometheus(conn: fakeredis.FakeRedis) -> None:
    began_at = int(time.time())
    loaded = Loaded({"track": [RULE], "follow": [RULE, RULE]}, remarks("a", "b"), [])
    one = follower(conn, Source(SourceError("it is away"), loaded, SourceError("it is away")))
    before = told(one)
    for _ in range(3):
        one.look()
    after = told(one)
    assert before == {"load_timestamp_seconds": 0, "load_pause_seconds": 1, "refused": 0, "load_failures_total": 0}
    assert after.pop("load_timestamp_seconds") >= began_at
    assert after == {
        "load_pause_seconds": 1, "refused": 2, "load_failures_total": 2,
        'loaded{type="track"}': 1, 'loaded{type="follow"}': 2,
    }  # fmt: skip


def told(one: Follower) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(LoaderCollector(one))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.removeprefix("traptor_rules_").split() for line in lines)}


def remarks(*values: str, row: int = 1) -> list[Remark]:
    return [Remark(f"row {row}", value, "has no type") for value in values]


@pytest.mark.parametrize(
    "looks, told",
    [
        ([remarks("a"), remarks("a", row=2)], [["a"], []]),
        ([remarks("a"), remarks("a", "b")], [["a"], ["b"]]),
        ([remarks("a"), [], remarks("a")], [["a"], [], ["a"]]),
        ([remarks(*map(str, range(MOST_TOLD + 5)))], [[*map(str, range(MOST_TOLD)), 5]]),
    ],
)
def test_a_rule_that_is_left_out_is_told_once(
    conn: fakeredis.FakeRedis, caplog: pytest.LogCaptureFixture, looks: list[list[Remark]], told: list[list[object]]
) -> None:
    one = follower(conn, Source(*(Loaded({}, problems, []) for problems in looks)))
    for expected in told:
        caplog.clear()
        one.look()
        assert [getattr(record, "value", getattr(record, "more", None)) for record in caplog.records] == expected


def test_the_lease_lasts_while_a_slow_source_is_read(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traptor.fleet.following.RENEW_SECONDS", 0.0)
    renewed = threading.Event()
    expire: Callable[..., object] = conn.transaction

    def transaction(*args: object, **options: object) -> object:
        if threading.current_thread() is threading.main_thread() and reading.is_set():
            renewed.set()
        return expire(*args, **options)

    reading = threading.Event()
    monkeypatch.setattr(conn, "transaction", transaction)

    def read() -> Loaded:
        reading.set()
        assert renewed.wait(10)
        return NOTHING

    source = Source(NOTHING)
    Follower(
        conn,
        ["track"],
        read,
        source.write,  # type: ignore[arg-type]
        every_seconds=60,
        stopping=threading.Event(),
    ).look()
    assert len(source.written) == 1
