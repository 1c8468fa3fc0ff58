"""Bad input of every kind: never a crash, never a message that is nowhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from traptor import keys, settings
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.spool import Spool
from traptor.rules import checked
from traptor.traptor import Traptor
from traptor.tweets import fields
from traptor.tweets.blocks import Blocks
from traptor.tweets.matching import compile_rules

SHARED = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}

TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["", "20", "-1", "9" * 30, "\ud800", "\x00", "storm", "Mon Feb 22 01:34:53 +0000 2016"]
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
ANYTHING = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
FIELDS = [
    "id", "id_str", "text", "created_at", "user", "entities", "extended_tweet", "coordinates", "place",
    "retweeted_status", "quoted_status",
    "in_reply_to_user_id_str", "traptor", "full_text", "hashtags", "urls", "bounding_box", "status",
    "user_id", "user_id_str", "up_to_status_id", "up_to_status_id_str", "track", "code", "reason", "percent_full",
]  # fmt: skip
KINDS = ["delete", "scrub_geo", "limit", "status_withheld", "user_withheld", "disconnect", "warning", "friends"]
NESTED = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner), max_leaves=12
)
TWEETS = st.fixed_dictionaries({"id_str": TEXT, "text": NESTED}, optional=dict.fromkeys(FIELDS[3:], NESTED))
NOTICES = st.dictionaries(st.sampled_from(KINDS), NESTED, min_size=1, max_size=2)


def dumped(message: Any) -> bytes:
    return json.dumps(message).encode("utf-8", "surrogatepass")


def nested(depth: int, inmost: bytes) -> bytes:
    """A tweet that quotes one that quotes one …"""
    begin = b'{"id_str":"%d","text":"storm","user":{"id_str":"2"},"quoted_status":' % depth
    return begin * depth + inmost + b"}" * depth


MESSAGES = (TWEETS | NOTICES | ANYTHING).map(dumped) | st.binary(max_size=40)


@pytest.fixture
def traptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Traptor]:
    """One that delivers to a Kafka that is not there, so that everything waits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_NOTICES_TOPIC", request.param)
    conn = fakeredis.FakeRedis(decode_responses=True)
    made = Traptor(conn, conn, conn, log_dir=str(tmp_path), apikeys=dict.fromkeys(settings.APIKEY_NAMES, "x"))
    made._make_twitter_rules([{"rule_id": "1", "value": "storm", "tag": "weather"}])
    made._door = Kafka(lambda: None, Spool(tmp_path / "track-0.spool", 1 << 30), made.account.counts)
    yield made
    made._door.close(0.1)


@pytest.mark.parametrize("traptor", ["", "notices"], indirect=True)
@given(received=st.lists(MESSAGES, max_size=8))
@example(received=[b'{"id_str":"\\ud800","text":"storm"}', b'{"delete":{"status":{"id_str":"\\ud800"}}}'])
@example(received=[b'{"scrub_geo":{"user_id_str":"\\ud800","up_to_status_id_str":"9"}}'])
@example(received=[b'{"limit":{"track":' + b"9" * 5000 + b"}}", b'{"id_str":"' + b"9" * 5000 + b'","text":""}'])
@example(received=[b"[" * 100_000, b'{"a":' * 50_000, b'{"id_str":"1","text":' + b"[" * 50_000])
@example(received=[b'{"id_str":"1","text":"","user":"\\ud800","place":["\\ud800"]}'])
@example(received=[nested(depth, b'"\\ud800"') for depth in range(20, 1100, 20)])
@example(received=[nested(depth, b"[]") for depth in range(20, 1100, 20)])
@example(received=[b'{"disconnect":null}', b'{"disconnect":{"code":[]}}', b'{"warning":7}', b'{"limit":{"track":-5}}'])
@how(max_examples=150, **SHARED)
def test_no_message_is_a_crash_or_nowhere(traptor: Traptor, received: list[bytes]) -> None:
    for raw in received:
        traptor._handle_bytes([raw])
        traptor._door.tick()
    assert traptor.account.is_balanced(traptor._door.waiting())


@pytest.mark.parametrize("traptor", [""], indirect=True)
@given(received=st.lists(TWEETS | NOTICES | ANYTHING, max_size=8))
@how(max_examples=100, **SHARED)
def test_no_dict_is_a_crash_or_nowhere(traptor: Traptor, received: list[Any]) -> None:
    for message in received:
        traptor._handle_dicts([message])
    assert traptor.account.is_balanced(traptor._door.waiting())


VALUES = (
    TEXT
    | st.text(st.sampled_from("a #@$,.-0123456789é\u200b\n"), max_size=20)
    | st.sampled_from(
        [
            "1,2,3,4",
            "-180,-90,180,90",
            "nan,nan,nan,nan",
            "inf,0,1,1",
            "1e999,0,0,0",
            "0,0,0,0",
            "9" * 100,
            "storm,flood",
        ]
    )
)


@pytest.mark.parametrize("traptor_type", keys.TYPES)
@given(st.lists(st.dictionaries(st.sampled_from(["rule_id", "value", "tag", "note"]), VALUES), max_size=6), MESSAGES)
@how(max_examples=100, **SHARED)
def test_no_rule_is_a_crash(traptor_type: str, hashes: list[dict[str, str]], raw: bytes) -> None:
    sound = checked.check(traptor_type, sorted(hashes, key=checked.order))
    assert len(sound.rules) + len(sound.problems) >= len(hashes)
    checked.join(traptor_type, sound.rules)
    checked.version(sound.rules)
    matcher = compile_rules(traptor_type, sound.rules)
    blocks = Blocks(traptor_type, 0, sound.rules, "f00d")
    try:
        message = fields.decode(raw)
    except ValueError:
        return
    if isinstance(message, fields.Tweet):
        blocks.append(raw, message.created_at, matcher.match(message))


@given(st.binary(max_size=20) | TEXT | st.integers() | st.none() | st.lists(TEXT, max_size=2))
@how(max_examples=200, **SHARED)
def test_no_payload_of_the_channel_is_a_crash(payload: object) -> None:
    assert keys.is_notice_for(payload, "track", 0) in {True, False}


SETTINGS = settings.known()
SECRET_NAMES = [one.name for one in SETTINGS if one.metadata["secret"]]


def problem(environ: dict[str, str], local: dict[str, object]) -> str | None:
    """What is wrong with these settings; None where nothing is."""
    try:
        made = settings.load({}, environ, local)
    except settings.SettingError as error:
        return str(error)
    assert isinstance(made.secrets, list)
    return None


@given(st.sampled_from([one.name for one in SETTINGS]), TEXT | ANYTHING.map(repr) | st.text())
@how(max_examples=400, **SHARED)
def test_a_setting_is_right_or_named(name: str, value: str) -> None:
    told = problem({name: value}, {})
    assert told is None or name in told
    if told and name in SECRET_NAMES and len(value) > 3:
        assert value not in told


@given(st.sampled_from([one.name for one in SETTINGS]), ANYTHING)
@how(max_examples=200, **SHARED)
def test_so_it_is_in_localsettings(name: str, value: object) -> None:
    told = problem({}, {name: value})
    assert told is None or name in told
