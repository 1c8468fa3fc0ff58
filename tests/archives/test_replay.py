import gzip
import json
import multiprocessing
import os
import queue
import re
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from traptor.archives import compliance, topic
from traptor.archives.bookmarks import DONE, Bookmarks
from traptor.archives.outlets import Folder, NotWritten, Unfinished, take_back
from traptor.archives.reading import Part
from traptor.archives.replay import PROBLEMS_TOLD, Pace
from traptor.archives.topic import Topic
from traptor.archives.workers import Batch, Crew, Enricher, Task, WorkerDied, batches
from traptor.commands.replay import ROWS, cores, factor, moment, replay
from traptor.delivery.producers import CAUTIOUS
from traptor.rules import loading
from traptor.tweets.fields import Tweet

TWEET = {"created_at": "Tue Jan 26 14:00:00 +0000 2021", "id": 1, "id_str": "1", "text": "a storm", "user": {"id": 7}}
RULES = [{"rule_id": "1", "tag": "weather", "value": "storm"}, {"rule_id": "2", "value": "rocket"}]
TASK = Task("track", 3, RULES)
SECOND = 1_611_669_600


def line(**fields: Any) -> bytes:
    return json.dumps({**TWEET, **fields}, separators=(",", ":")).encode()


def enriched(text: bytes, task: Task = TASK) -> list[dict[str, Any]]:
    return [json.loads(found.value) for found in Enricher(task).found_in(text)]


# From a line to what is written


def test_a_tweet_keeps_its_bytes_and_gains_the_traptor_object() -> None:
    [found] = Enricher(TASK).found_in(line(text="storm\u2028 and \ud83d\ude80", number=2**60))
    head, _, tail = found.value.partition(b',"traptor":')
    assert head + b"}" == line(text="storm\u2028 and \ud83d\ude80", number=2**60)
    traptor = json.loads(tail[:-1])
    assert (found.key, found.time_seconds) == (b"1", SECOND)
    assert (traptor["id"], traptor["rule_type"], traptor["rule_tag"], traptor["rule_value"]) == (
        3, "track", "weather", "storm",
    )  # fmt: skip
    assert traptor["rules"] == [{**RULES[0], "matched_in": ["text"]}]


@pytest.mark.parametrize(
    "text, ids",
    [
        (line(), ["1"]),
        (line(text="quiet"), []),
        (line(traptor={"rule_tag": "of an earlier run"}), ["1"]),
        (line(text="storm \ud800"), ["1"]),
        (b'{"delete":{"status":{"id":1,"id_str":"1"}}}', []),
        (b'{"data":{"id":"5","text":"a storm","author_id":"7"}}', ["5"]),
        (b'{"data":[{"id":"5","text":"storm"},{"id":"6","text":"quiet"},{"id":"7","text":"rocket"}]}', ["5", "7"]),
    ],
)
def test_which_tweets_of_a_line_are_written(text: bytes, ids: list[str]) -> None:
    found = enriched(text)
    assert [tweet["id_str"] for tweet in found] == ids
    assert all(tweet["traptor"]["rule_tag"] in ("weather", "") for tweet in found)


def test_what_a_page_has_without_an_id_is_damage_and_a_field_that_does_not_fit_is_counted() -> None:
    page = {
        "data": [{"id": "5", "text": "storm", "lang": 7}, {"text": "storm"}, {"id": "x"}, {"id": "6", "text": "storm"}]
    }
    enricher = Enricher(TASK)
    found: list[bytes] = []
    with pytest.raises(ValueError, match=r"^2 of the tweets have no id$"):
        found.extend(one.key for one in enricher.found_in(json.dumps(page).encode()))
    assert found == [b"5", b"6"]
    assert enricher.tally.fields_left_out == {"data.lang": 1, "data.id": 1}


@pytest.mark.parametrize("text", [b'{"id_str":"1"', b"[1]", b'{"what":"is this"}', b"\xff", b"[" * 100_000])
def test_a_line_that_is_no_message_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        enriched(text)


@pytest.mark.parametrize(
    "options, times, written",
    [
        ({}, ["14:00:00"], 0),
        ({"every_tweet": True}, ["14:00:00"], 1),
        ({"every_tweet": True, "since": SECOND}, ["13:59:59", "14:00:00", "14:00:01"], 2),
        ({"every_tweet": True, "until": SECOND}, ["13:59:59", "14:00:00", "14:00:01"], 1),
        ({"every_tweet": True, "since": SECOND - 1, "until": SECOND + 1}, ["13:59:58", "13:59:59", "14:00:00"], 2),
    ],
)
def test_which_tweets_are_taken(options: dict[str, Any], times: list[str], written: int) -> None:
    enricher = Enricher(TASK._replace(**options))
    lines = [line(text="quiet", created_at=f"Tue Jan 26 {clock} +0000 2021") for clock in times]
    assert sum(len(list(enricher.found_in(text))) for text in lines) == written


def test_a_tweet_without_a_time_has_that_of_its_id_or_is_counted() -> None:
    enricher = Enricher(TASK._replace(since=SECOND, until=SECOND + 1))
    lines = [line(created_at=None, id_str=id_str) for id_str in ("1354066560414646272", "1354077400000000000", "7")]
    assert [found.key for text in lines for found in enricher.found_in(text)] == [b"1354066560414646272"]
    assert (enricher.tally.counts["left_out"], enricher.tally.counts["no_time"]) == (2, 1)


def test_a_sample_is_a_share_and_always_the_same() -> None:
    lines = [line(id_str=str(number)) for number in range(3000)]
    taken = [[found.key for text in lines for found in Enricher(TASK._replace(sample=share)).found_in(text)]
             for share in (0.1, 0.1, 0.2)]  # fmt: skip
    assert 250 < len(taken[0]) < 350
    assert taken[0] == taken[1]
    assert set(taken[0]) < set(taken[2])


# Reading a part, from its beginning or on from where it was left


@pytest.fixture
def part(tmp_path: Path) -> Part:
    path = tmp_path / "a.jsonl"
    lines = [line(id_str=str(number)) for number in range(5000)]
    lines[4000] = b"garbage"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return Part(str(path), size_bytes=path.stat().st_size)


def read(part: Part, skipped_steps: int = 0) -> list[Batch]:
    return list(batches(part, skipped_steps, Enricher(TASK)))


def test_of_a_pipe_that_is_quiet_what_came_is_there_at_once() -> None:
    reader, writer = os.pipe()
    early: queue.Queue[Batch] = queue.Queue()
    with ThreadPoolExecutor() as pool, open(reader, "rb"):
        last = pool.submit(lambda: list(batches(Part("-"), 0, Enricher(TASK), reader, early.put)))
        with open(writer, "wb", buffering=0) as pipe:
            for key in (b"1", b"2"):
                pipe.write(line(id_str=key.decode(), long="x" * 600) + b"\n")
                assert [found.key for found in early.get(timeout=120).found] == [key]
        assert [(batch.found, batch.steps, batch.is_last) for batch in last.result(120)] == [([], 2, True)]


def test_batches_add_up(part: Part) -> None:
    found = read(part)
    assert [batch.is_last for batch in found] == [False] * (len(found) - 1) + [True]
    assert [one.key for batch in found for one in batch.found] == [b"%d" % n for n in range(5000) if n != 4000]
    assert [problem.place for batch in found for problem in batch.problems] == [f"{part.path}, line 4001"]
    assert sum(batch.read_bytes for batch in found) == part.size_bytes
    assert sum(batch.tally.counts["written"] for batch in found) == 4999
    assert found[-1].steps == 5000


@pytest.mark.parametrize("skipped_steps", [0, 1, 2000, 4000, 4001, 5000])
def test_reading_goes_on_where_it_was_left(part: Part, skipped_steps: int) -> None:
    found = read(part, skipped_steps)
    assert [one.key for batch in found for one in batch.found] == [
        b"%d" % n for n in range(skipped_steps, 5000) if n != 4000
    ]
    assert sum(len(batch.problems) for batch in found) == (skipped_steps <= 4000)


@pytest.mark.parametrize("end", [b'{"id_str":"5', b"garbage"])
def test_a_line_that_is_cut_is_read_again_once_it_is_whole(part: Part, end: bytes) -> None:
    path, grown = Path(part.path), part._replace(size_bytes=None)
    sound = path.read_bytes()
    path.write_bytes(sound + end)
    steps = read(grown)[-1].steps
    path.write_bytes(sound + line(id_str="5000"))
    assert [one.key for batch in read(grown, steps) for one in batch.found] == [b"5000"]


@pytest.mark.parametrize("text", [b"[%b]", b"[\n%b\n]\n", b"[%b,\n", b"\x1e%b\n"])
def test_a_tweet_keeps_its_bytes_in_whatever_form_it_comes(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text % line(text="storm \ud800"))
    [batch] = read(Part(str(path)))
    [of_a_line] = Enricher(TASK).found_in(line(text="storm \ud800"))
    assert [found._replace(step=0) for found in batch.found] == [of_a_line]
    assert batch.problems == []


def test_reading_an_array_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"[" + b",".join(line(id_str=str(number)) for number in range(100)) + b"]")
    assert [one.key for one in read(Part(str(path)), 97)[0].found] == [b"97", b"98", b"99"]


@pytest.mark.parametrize(
    "text, ids, problems",
    [
        (line(id_str="1") + line(id_str="2"), ["1", "2"], 0),
        (line(id_str="1") + b"{broken", ["1"], 1),
        (b'{"statuses":[%b,7,%b]}' % (line(id_str="1"), line(id_str="2")), ["1", "2"], 1),
    ],
)
def test_what_is_odd_in_a_line_loses_nothing_else(tmp_path: Path, text: bytes, ids: list[str], problems: int) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"%b\n%b\n" % (line(id_str="0"), text))
    [batch] = read(Part(str(path)))
    assert ([one.key.decode() for one in batch.found], len(batch.problems)) == (["0", *ids], problems)


@pytest.mark.parametrize("is_idle", [True, False])
def test_a_worker_that_dies_is_named(part: Part, is_idle: bool) -> None:
    crew = Crew(1, TASK, lambda part: part.path, standard_input=False)
    orders = iter([(part, 5000), (part._replace(member="second"), 0)])
    for ready in crew.run(orders):
        if ready and (ready[1].is_last or not is_idle):
            [worker] = multiprocessing.active_children()
            worker.kill()
            worker.join()
            break
    with pytest.raises(WorkerDied, match=re.escape(part.path)):
        list(crew.run(orders))


# What is remembered


ASKED = {"rules": "abc", "since": None}


def test_bookmarks_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two, three = Part("a.gz"), Part("a.tar", "1.json", 512), Part("a.tar", "2.json", 2048)
    marks = Bookmarks(Path("state"), ASKED)
    marks.note(one, 7, is_last=False)
    marks.note(two, 9, is_last=True)
    marks.save(Unfinished("/out/tweets-000001.jsonl.gz", 5))
    again = Bookmarks(tmp_path / "state", ASKED)
    assert [again.steps_done(part) for part in (one, two, three)] == [7, DONE, 0]
    assert again.steps_done(one._replace(path=str(tmp_path / "a.gz"))) == 7
    assert again.unfinished == ("/out/tweets-000001.jsonl.gz", 5)
    assert os.listdir(tmp_path) == ["state"]


def test_a_file_that_has_grown_is_not_done(tmp_path: Path) -> None:
    part = Part("a.jsonl", size_bytes=100)
    marks = Bookmarks(tmp_path / "state", ASKED)
    marks.note(part, 9, is_last=True)
    marks.save(None)
    again = Bookmarks(tmp_path / "state", ASKED)
    assert [again.steps_done(part._replace(size_bytes=size_bytes)) for size_bytes in (100, 101)] == [DONE, 9]


@pytest.mark.parametrize(
    "asked, changed",
    [(ASKED, []), ({**ASKED, "rules": "def"}, ["rules"]), ({"rules": "def", "since": 5}, ["rules", "since"])],
)
def test_a_state_knows_what_it_is_for(tmp_path: Path, asked: dict[str, Any], changed: list[str]) -> None:
    Bookmarks(tmp_path / "state", ASKED).save(None)
    assert Bookmarks(tmp_path / "state", asked).changed == changed


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"steps":{}}',
        "not json",
        '{"asked":{},"steps":[]}',
        '{"asked":{},"steps":{"a.gz":"seven"}}',
        '{"asked":{},"unfinished":{"x":1}}',
    ],
)
def test_a_state_file_of_somebody_else_is_not_touched(tmp_path: Path, content: str) -> None:
    state = tmp_path / "state"
    state.write_text(content)
    with pytest.raises(ValueError, match=r"."):
        Bookmarks(state, ASKED)
    assert state.read_text() == content


# Files


def folder_lines(folder: Path) -> dict[str, list[bytes]]:
    return {path.name: gzip.decompress(path.read_bytes()).split() for path in sorted(folder.iterdir())}


def test_a_folder_is_filled_file_by_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new" / "out", file_bytes=1)
    for value in (b"1", b"2", b"3"):
        folder.write(b"", value)
        if value != b"1":
            folder.flush()
    folder.flush(is_last=True)
    assert folder_lines(tmp_path / "new" / "out") == {
        "tweets-000001.jsonl.gz": [b"1", b"2"],
        "tweets-000002.jsonl.gz": [b"3"],
    }


@pytest.mark.parametrize("is_at_once", [False, True])
def test_several_replays_add_to_the_folder(tmp_path: Path, is_at_once: bool) -> None:
    folders = []
    for value in (b"1", b"2"):
        folders.append(Folder(tmp_path))
        if not is_at_once:
            folders[-1].write(b"", value)
    for folder, value in zip(folders, (b"1", b"2"), strict=True):
        if is_at_once:
            folder.write(b"", value)
        folder.close()
    assert folder_lines(tmp_path) == {"tweets-000001.jsonl.gz": [b"1"], "tweets-000002.jsonl.gz": [b"2"]}


@pytest.mark.parametrize("file_bytes", [1, 1 << 20], ids=["in a new file", "in the same file"])
def test_what_was_written_after_the_last_flush_is_taken_back(tmp_path: Path, file_bytes: int) -> None:
    killed = Folder(tmp_path, file_bytes)
    killed.write(b"", b"1")
    unfinished = killed.flush()
    assert unfinished
    killed.write(b"", b"2")
    killed.close()
    with max(tmp_path.iterdir()).open("ab") as torn:
        torn.write(gzip.compress(b"torn")[:-3])
    of_another = Folder(tmp_path)
    of_another.write(b"", b"3")
    of_another.flush(is_last=True)
    take_back(unfinished)
    again = Folder(tmp_path)
    again.write(b"", b"2")
    again.flush(is_last=True)
    assert [line for lines in folder_lines(tmp_path).values() for line in lines] == [b"1", b"3", b"2"]


def test_nothing_is_taken_back_from_a_replay_that_has_ended(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(b"", b"1")
    assert folder.flush(is_last=True) is None


def test_a_replay_without_a_match_leaves_no_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.flush()
    folder.flush(is_last=True)
    assert os.listdir(tmp_path) == []


# Kafka


class Future:
    """None for an error is an acknowledgement; NEVER, there is no answer."""

    def __init__(self, error: Exception | None) -> None:
        self.exception = error
        self.is_done = error is not NEVER

    def get(self, timeout: float) -> None:
        if not self.is_done:
            raise KafkaTimeoutError("not yet")


NEVER = TimeoutError()
AWAY, LARGE = KafkaTimeoutError("away"), MessageSizeTooLargeError("large")
BESIDE = KafkaError("another of its batch is invalid")


class Producer:
    """Answers with the errors given, and on with the last one: kafka-python's fails on once it has failed."""

    def __init__(self, errors: Sequence[Exception | None]) -> None:
        self._errors = list(errors)
        self.acknowledged: list[bytes] = []

    def send(self, topic: str, *, key: bytes, value: bytes) -> Future:
        error = self._errors.pop(0) if len(self._errors) > 1 else self._errors[0]
        if value == b"too large for the client":
            raise LARGE
        if error is None:
            self.acknowledged.append(key)
        return Future(error)

    def close(self, timeout: float) -> None:
        pass


class Kafka:
    """Makes producers that answer with the errors given, one list after the other. Notes which are cautious."""

    def __init__(self, *errors: Sequence[Exception | None]) -> None:
        self._errors = list(errors)
        self.producers: list[Producer] = []
        self.is_cautious: list[bool] = []

    def connect(self, options: dict[str, Any]) -> Producer:
        self.producers.append(Producer(self._errors.pop(0) if self._errors else [None]))
        self.is_cautious.append(options == CAUTIOUS)
        return self.producers[-1]

    @property
    def acknowledged(self) -> list[bytes]:
        return [key for producer in self.producers for key in producer.acknowledged]


@pytest.mark.parametrize(
    "errors, acknowledged, counts, is_cautious",
    [
        ([], [b"1", b"2", b"3"], {"written": 3}, [False]),
        ([[AWAY]], [b"1", b"2", b"3"], {"written": 3}, [False, False]),
        ([[None, AWAY], [AWAY]], [b"1", b"2", b"3"], {"written": 3}, [False] * 3),
        ([[None, LARGE], [LARGE, None]], [b"1", b"3"], {"written": 2, "refused": 1}, [False, True, False]),
        ([[LARGE], [None]], [b"1", b"2", b"3"], {"written": 3}, [False, True, False]),
        ([[BESIDE], [None]], [b"1", b"2", b"3"], {"written": 3}, [False, True, False]),
        ([[LARGE], [AWAY], [None]], [b"1", b"2", b"3"], {"written": 3}, [False, True, False]),
    ],
    ids=[
        "taken",
        "away",
        "away twice",
        "one is refused",
        "refused with others",
        "beside one that is",
        "away while they are tried",
    ],
)
def test_what_kafka_does_not_take_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
    errors: list[list[Exception | None]],
    acknowledged: list[bytes],
    counts: dict[str, int],
    is_cautious: list[bool],
) -> None:
    monkeypatch.setattr(topic, "RETRY_SECONDS", 0)
    kafka = Kafka(*errors)
    outlet = Topic(kafka.connect, "tweets", threading.Event())
    for key in (b"1", b"2", b"3"):
        outlet.write(key, b"{}")
    outlet.flush()
    assert (kafka.acknowledged, outlet.counts, kafka.is_cautious) == (acknowledged, counts, is_cautious)


def test_what_the_client_refuses_disturbs_nothing_else() -> None:
    kafka = Kafka()
    outlet = Topic(kafka.connect, "tweets", threading.Event())
    outlet.write(b"1", b"too large for the client")
    outlet.write(b"2", b"{}")
    outlet.flush()
    assert (kafka.acknowledged, outlet.counts) == ([b"2"], {"written": 1, "refused": 1})


def test_what_is_never_answered_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "RETRY_SECONDS", 0)
    monkeypatch.setattr(topic, "ANSWER_SECONDS", 0)
    kafka = Kafka([NEVER])
    outlet = Topic(kafka.connect, "tweets", threading.Event())
    outlet.write(b"1", b"{}")
    outlet.flush()
    assert outlet.counts == {"written": 1}


def test_it_stops_while_nothing_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "LAST_SECONDS", 0)
    stopping = threading.Event()
    outlet = Topic(Kafka([NEVER]).connect, "tweets", stopping)
    outlet.write(b"1", b"{}")
    stopping.set()
    with pytest.raises(NotWritten):
        outlet.flush()
    outlet.close()


def test_a_broker_that_is_away_is_looked_for_until_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "RETRY_SECONDS", 0)
    stopping = threading.Event()
    tries = []

    def connect(options: dict[str, Any]) -> Any:
        tries.append(1)
        if len(tries) == 3:
            stopping.set()
        raise AWAY

    with pytest.raises(NotWritten):
        Topic(connect, "tweets", stopping)
    assert len(tries) == 3


# Time


@pytest.mark.parametrize(
    "speed, times, early",
    [
        (1, [100, 101, 101, 103.5], [0, 1, 1, 3.5]),
        (10, [100, 101, 103.5], [0, 0.1, 0.35]),
        (0.5, [100, 101], [0, 2]),
        (0, [100, 200], [0, 0]),
        (1, [100, 90, None, 102], [0, 0, 0, 2]),
    ],
)
def test_the_pace_is_that_of_the_tweets(speed: float, times: list[float | None], early: list[float]) -> None:
    pace = Pace(speed, clock=lambda: 0.0)
    assert [pace.early_seconds(time_seconds) for time_seconds in times] == early


def test_what_has_taken_its_time_is_not_early() -> None:
    now = iter([0.0, 0.0, 0.75, 2.0])
    pace = Pace(1, clock=lambda: next(now))
    assert [pace.early_seconds(time_seconds) for time_seconds in (100.0, 101.0, 101.0)] == [0, 0.25, 0]


@pytest.mark.parametrize("text, number", [("max", 0), ("1x", 1), ("10x", 10), ("0.5x", 0.5)])
def test_speeds(text: str, number: float) -> None:
    assert factor(text) == number


@pytest.mark.parametrize("text", ["", "x", "0x", "10", "-1x", "fast"])
def test_wrong_speeds(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no speed; allowed are max and a factor"):
        factor(text)


@pytest.mark.parametrize(
    "text", ["2021-01-26T14:00", "2021-01-26 14:00:00Z", "2021-01-26T15:00+01:00", "Tue Jan 26 14:00:00 +0000 2021"]
)
def test_moments(text: str) -> None:
    assert moment(text) == SECOND


# The command's own words


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "Missing argument 'PATHS...'"),
        (["nowhere.json"], "'nowhere.json' does not exist"),
        (["--rules", "nowhere", "a.json"], "'nowhere' does not exist"),
        (["--rules", "a.json", "--out", "x", "--kafka", "a.json"], "choose one"),
        (["--rules", "rules.jsonl", "--out", "folder/out", "folder"], "is inside what is read"),
        (["--rules", "rules.jsonl", "--out", "folder", "folder"], "is inside what is read"),
        (["--rules", "a.json", "--since", "soon", "a.json"], "'soon' is no time"),
        (["--rules", "a.json", "--speed", "fast", "a.json"], "'fast' is no speed"),
        (["--rules", "no-value.csv", "a.json"], "--rules no-value.csv has no column `value`"),
        (["--rules", "empty.jsonl", "a.json"], "there are no rules"),
        (["--rules", "rules.jsonl", "--state", "a.json", "a.json"], "--state a.json: "),
        (["--rules", "rules.jsonl", "--state", "nodir/s", "a.json"], "Invalid value for '--state': nodir/s cannot be"),
        (["--rules", "rules.jsonl", "--report", "a.json/r", "a.json"], "Invalid value for '--report': a.json/r cannot"),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_bytes(line())
    Path("rules.jsonl").write_text('{"value": "storm"}\n')
    Path("no-value.csv").write_text("tag,type\n")
    Path("empty.jsonl").touch()
    Path("folder").mkdir()
    result = CliRunner().invoke(replay, arguments)
    assert (result.exit_code, told in result.output) == (2, True), result.output


def test_a_state_of_other_rules_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_bytes(line())
    told = []
    for value in ("storm", "storm", "rain"):
        Path("rules.jsonl").write_text(json.dumps({"value": value}))
        arguments = ["--rules", "rules.jsonl", "--state", "state", "--workers", "1", "a.json"]
        result = CliRunner().invoke(replay, arguments)
        assert result.exit_code == 0, result.output
        told.append("was begun with other rules:" in result.stderr)
    assert told == [False, False, True]


def test_the_summary_shows_rules_as_they_are_written(tmp_path: Path) -> None:
    """Neither square brackets nor their number disturb it."""
    values = ["storm", "[red]storm[/red]", "[/]", *map(str, range(100))]
    rules = tmp_path / "rules.jsonl"
    rules.write_text("".join(json.dumps({"value": value}) + "\n" for value in values))
    archive = tmp_path / "a.json"
    archive.write_bytes(line())
    result = CliRunner().invoke(replay, ["--rules", str(rules), "--workers", "1", str(archive)])
    assert result.exit_code == 0, result.output
    assert "[red]storm[/red]" in result.stderr
    assert f"and {len(values) - ROWS} more" in result.stderr
    told = result.stderr.splitlines()
    assert told[told.index("by file") + 1 :][:2] == [
        f"{'file':{len(str(archive))}}  tweets  matched  notices  damaged",
        f"{archive}       1        1        0        0",
    ]
    assert not set("┏━┃│└") & set(result.stderr)


def test_rules_that_make_no_sense_are_left_out_aloud(tmp_path: Path) -> None:
    rules = tmp_path / "rules.jsonl"
    rules.write_text(
        '{"value": "storm", "tag": "weather"}\n["no rule"]\n{"value": " , "}\n{"rule_id": 9, "value": "a.b"}'
    )
    archive = tmp_path / "a.json"
    archive.write_bytes(line())
    result = CliRunner().invoke(replay, ["--rules", str(rules), "--workers", "1", str(archive)])
    assert result.exit_code == 0, result.output
    assert "rules.jsonl, line 2 is left out: '[\"no rule\"]' is not a JSON object" in result.stderr
    assert "rules.jsonl, line 3 is left out: ',' has no phrase" in result.stderr
    assert "rules.jsonl, line 4: 'a.b' is now 'a b'" in result.stderr
    [rule] = json.loads(result.stdout)["traptor"]["rules"]
    assert (rule["rule_id"], rule["tag"]) == (loading.content_id("storm"), "weather")
    assert "lines 1, tweets 1, matched 1, notices 0, damaged 0, written 1" in result.stderr


@pytest.mark.parametrize(
    "name, content",
    [
        ("rules.csv", "tag,value,type\nweather,storm,track\n,7,follow\n"),
        ("rules.jsonl", '{"value":"storm","tag":"weather"}\n'),
        ("rules.json", '{"rules":[{"value":"storm","tag":"weather"}]}'),
        ("rules.txt", "storm\n"),
    ],
)
def test_rules_are_what_rules_load_takes(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "a.json").write_bytes(line())
    arguments = ["--rules", str(tmp_path / name), "--workers", "1", str(tmp_path / "a.json")]
    result = CliRunner().invoke(replay, arguments)
    assert (result.exit_code, json.loads(result.stdout)["traptor"]["rule_value"]) == (0, "storm"), result.output


def invoke(folder: Path, *arguments: str) -> Result:
    (folder / "rules.jsonl").write_text('{"value": "storm"}\n')
    return CliRunner().invoke(replay, ["--rules", str(folder / "rules.jsonl"), "--workers", "1", *arguments])


@pytest.mark.parametrize(
    "content, arguments, code",
    [
        (line(), [], 0),
        (line(), ["--strict"], 0),
        (line() + b"\n{broken\n", [], 0),
        (line() + b"\n{broken\n", ["--strict"], 1),
        (b'{"delete":{"status":{"id":1,"id_str":"1"}}}\n{broken\n', [], 0),
        (b"", [], 0),
        (b"{broken\n", [], 1),
        (b"<html></html>", [], 1),
    ],
)
def test_exit_code_1_is_for_nothing_read_and_strict_damage(
    tmp_path: Path, content: bytes, arguments: list[str], code: int
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert invoke(tmp_path, str(tmp_path / "a.json"), *arguments).exit_code == code


def test_a_field_that_does_not_fit_is_told_once_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"data":{"id":"5","text":"storm","lang":7}}\n' * 3)
    result = invoke(tmp_path, "--strict", str(tmp_path / "a.json"))
    assert result.exit_code == 0
    assert result.stderr.count("a.json: data.lang does not fit") == 1
    assert "damaged 0, fields left out 3 (data.lang 3), written 3" in result.stderr


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(line())
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("c.json", b"of before")
        archive.writestr("c.json", line(id_str="2"))
    result = invoke(tmp_path, *[str(tmp_path / name) for name in ("a.json", "b.zip") * 2])
    assert [json.loads(text)["id_str"] for text in result.stdout.splitlines()] == ["1", "2"]


def test_a_folder_without_archives_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.csv").touch()
    result = invoke(tmp_path, str(tmp_path / "folder"))
    assert result.exit_code == 1
    assert "has nothing by whose name it could be tweets (.json, .jsonl, .gz, …), but 1 .csv" in result.stderr
    assert "nothing could be read" in result.stderr


def test_damage_is_told_up_to_a_bound_for_each_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_bytes(line() + b"\n" + b"broken \x1b[31m\n" * 5000)
    result = invoke(tmp_path, str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert result.stderr.count(": skipped") == 2 * PROBLEMS_TOLD
    assert result.stderr.count("more is damaged, which is counted and not told") == 2
    assert "damaged 10000" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_name_acts_on_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b]0;owned\x07.json"
    path.write_bytes(b"broken\n")
    result = invoke(tmp_path, str(path))
    assert "\x1b" not in result.stderr
    assert r"a\x1b]0;owned\x07.json, line 1: " in result.stderr


# Notices


def written(tmp_path: Path, *lines: bytes) -> list[dict[str, Any]]:
    (tmp_path / "a.json").write_bytes(b"\n".join(lines))
    result = invoke(tmp_path, str(tmp_path / "a.json"))
    assert result.exit_code == 0, result.output
    return [json.loads(text) for text in result.stdout.splitlines()]


def notice(kind: str, **fields: Any) -> bytes:
    return json.dumps({kind: fields}).encode()


USER = {"id": 7, "id_str": "7"}
PLACED = line(id_str="5", user=USER, geo={"x": 1}, coordinates={"coordinates": [1, 2]}, place={"id": "p"})
SCRUB = notice("scrub_geo", user_id=7, user_id_str="7", up_to_status_id=5, up_to_status_id_str="5")


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    "tweet, ids",
    [
        (line(id_str="5"), []),
        (line(id_str="6"), ["6"]),
        (line(id_str="6", retweeted_status={**TWEET, "id_str": "5"}), []),
        (line(id_str="6", quoted_status={**TWEET, "id_str": "5"}), ["6"]),
        (b'{"id":5,"text":"a storm","user":{"id":7}}', []),
        (line(id_str="6", retweeted_status={"id": 5, "text": "a storm", "user": {"id": 7}}), []),
    ],
)
def test_a_deleted_tweet_is_not_written(tmp_path: Path, tweet: bytes, ids: list[str], is_first: bool) -> None:
    delete = notice("delete", status={"id": 5, "id_str": "5"})
    found = written(tmp_path, *([delete, tweet] if is_first else [tweet, delete]))
    assert [one["id_str"] for one in found] == ids
    assert not any("quoted_status" in one for one in found)


@pytest.mark.parametrize(
    "tweet, is_scrubbed",
    [
        (PLACED, True),
        (PLACED.replace(b'"id_str":"5"', b'"id_str":"6"'), False),
        (PLACED.replace(b'"id_str":"7"', b'"id_str":"8"'), False),
        (line(id_str="9", retweeted_status=json.loads(PLACED)), True),
        (line(id_str="9", quoted_status=json.loads(PLACED)), True),
    ],
)
def test_a_scrubbed_location_is_gone(tmp_path: Path, tweet: bytes, is_scrubbed: bool) -> None:
    [found] = written(tmp_path, tweet, SCRUB)
    status = found.get("retweeted_status") or found.get("quoted_status") or found
    assert [bool(status[name]) for name in ("geo", "coordinates", "place")] == [not is_scrubbed] * 3
    assert (status["text"], found["traptor"]["rule_value"]) == ("a storm", "storm")


@pytest.mark.parametrize(
    "given_, where",
    [
        (notice("status_withheld", id=1, user_id=7, withheld_in_countries=["DE"]), lambda tweet: tweet),
        (notice("user_withheld", id=7, withheld_in_countries=["DE"]), lambda tweet: tweet["user"]),
    ],
)
def test_what_is_withheld_says_where(tmp_path: Path, given_: bytes, where: Any) -> None:
    [found] = written(tmp_path, line(user=USER), given_)
    assert where(found)["withheld_in_countries"] == ["DE"]
    [of_another] = written(tmp_path, line(id_str="2", user={"id": 8}), given_)
    assert b"withheld" not in json.dumps(of_another).encode()


def test_what_no_notice_concerns_keeps_its_bytes() -> None:
    heeded = compliance.Compliance()
    value = b'{"id_str": "1"}'
    assert heeded.honoured(value, (("1", "7"),)) is value
    heeded.note(compliance.Notice("delete", "2"))
    assert heeded.honoured(value, (("1", "7"),)) is value


def test_how_deep_a_tweet_is_nested_ends_no_replay() -> None:
    """Nothing can be taken out of it: it goes where a notice asks for something."""
    tweet = Tweet(id_str="600")
    for number in reversed(range(600)):
        tweet = Tweet(id_str=str(number), quoted_status=tweet)
    of = compliance.subjects(tweet)
    assert of == tuple((str(number), "") for number in range(601))
    heeded = compliance.Compliance()
    value = b'{"quoted_status":' * 600 + b"{}" + b"}" * 600
    assert heeded.honoured(value, of) is value
    heeded.note(compliance.Notice("delete", "600"))
    assert heeded.honoured(value, of) is None


def test_only_the_latest_notices_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compliance, "MOST_NOTICES", 2)
    heeded = compliance.Compliance()
    for tweet_id in ("1", "2", "1", "3"):
        heeded.note(compliance.Notice("delete", tweet_id))
    tweets = [b'{"id_str":"%d"}' % number for number in (1, 2, 3)]
    assert [heeded.honoured(tweet, ((str(n), ""),)) for n, tweet in enumerate(tweets, 1)] == [None, tweets[1], None]


@pytest.mark.parametrize(
    "message",
    [{"delete": {}}, {"delete": 7}, {"scrub_geo": {"user_id": 1}}, {"status_withheld": {"id": 1}}, {"limit": {}}],
)
def test_a_notice_that_asks_for_nothing_is_none(message: dict[str, Any]) -> None:
    assert compliance.notice(message) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["id", "id_str", "created_at", "text", "user", "entities", "place", "coordinates", "retweeted_status", "traptor"]
)


@given(st.dictionaries(FIELDS, ANYTHING), st.sampled_from(["track", "follow", "locations"]))
def test_no_line_is_a_crash(fields: dict[str, Any], traptor_type: str) -> None:
    """Whatever stands in a tweet: it is written or passed over, or the line is an error that is told."""
    rules = {"track": "storm", "follow": "7", "locations": "-180,-90,180,90"}
    task = Task(traptor_type, 0, [{"rule_id": "1", "value": rules[traptor_type]}], every_tweet=True, describe=True)
    try:
        found = list(Enricher(task).found_in(line(**fields)))
    except ValueError:
        return
    assert all(json.loads(one.value)["traptor"]["id"] == 0 for one in found)


def test_cores_are_counted_where_the_system_does_not_tell_which_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == os.cpu_count()
