"""Archives through the real command: the same as live, whole after a kill, and into every outlet."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import pytest
import redis
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from tests.integration.daemon import Output, environment, others_heavy, to_stdout
from tests.servers import PATIENCE_SECONDS, KafkaBroker, RedisServer, wait_until
from traptor.rules import stored
from traptor.simulator import Simulator
from traptor.simulator.feed import Synthetic
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes

RULES = {
    "track": [
        {"rule_id": "1", "tag": "drinks", "value": "coffee,espresso"},
        {"rule_id": "2", "tag": "space", "value": "#rocket launch"},
        {"rule_id": "10", "value": "月"},
    ],
    "follow": [{"rule_id": "1", "tag": "newsroom", "value": "1001"}, {"rule_id": "2", "value": "1002"}],
    "locations": [{"rule_id": "1", "tag": "San Francisco", "value": "-122.75,36.8,-121.75,37.8"}],
}
PREDICATES = {
    "track": Predicates(track=("coffee", "espresso", "#rocket launch", "月")),
    "follow": Predicates(follow=("1001", "1002")),
    "locations": Predicates(locations=("-122.75,36.8,-121.75,37.8",)),
}
TRYING_AGAIN = b"Kafka does not answer, trying again"
DELETE = (
    b'{"delete":{"status":{"id":1234,"id_str":"1234","user_id":3,"user_id_str":"3"},"timestamp_ms":"1456104893000"}}'
)


def sample(traptor_type: str, count: int) -> list[bytes]:
    return [message.body for message in islice(Synthetic("", Snowflakes()).messages(PREDICATES[traptor_type]), count)]


def tar_of(path: Path, lines: Sequence[bytes], members: int) -> Path:
    """A tar as the Internet Archive packs them: a member a minute."""
    with tarfile.open(path, "w") as archive:
        for minute in range(members):
            packed = bz2.compress(b"\n".join([DELETE, *lines[minute::members]]) + b"\n")
            member = tarfile.TarInfo(f"2021/01/26/14/{minute:02}.json.bz2")
            member.size = len(packed)
            archive.addfile(member, io.BytesIO(packed))
    return path


def rules_file(folder: Path, traptor_type: str = "track") -> Path:
    path = folder / "rules.jsonl"
    path.write_text("".join(json.dumps(rule) + "\n" for rule in RULES[traptor_type]))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "traptor", "replay", *map(str, arguments)]


def ended(
    folder: Path, *arguments: object, given: bytes = b"", **wanted: object
) -> "subprocess.CompletedProcess[bytes]":
    """Run it to its end, whatever that is."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder, wanted),
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )


def run(folder: Path, *arguments: object, given: bytes = b"", **wanted: object) -> "subprocess.CompletedProcess[bytes]":
    """Run it to its end, which must be exit 0."""
    done = ended(folder, *arguments, given=given, **wanted)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def ids(lines: Sequence[bytes]) -> list[str]:
    return [json.loads(line)["id_str"] for line in lines]


@pytest.mark.parametrize("traptor_type", others_heavy("track", "follow", "locations"))
def test_a_replay_equals_the_live_stream(
    tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis, traptor_type: str
) -> None:
    stored.write(redis_db, traptor_type, 4, RULES[traptor_type])
    tweets = sample(traptor_type, 500)
    archive = tmp_path / "tweets.jsonl.gz"
    archive.write_bytes(gzip.compress(b"\r\n".join(tweets)))
    options = ("--type", traptor_type, "--id", "4")
    with (
        Simulator(tweets=tweets, rate=0) as twitter,
        to_stdout(tmp_path, redis_server, twitter.url, *options, "--limit", "500") as daemon,
    ):
        assert daemon.wait_for_exit() == 0
        live = daemon.stdout.lines
    assert len(live) == 500
    assert run(tmp_path, *options, archive, REDIS_URL=redis_server.url).stdout.splitlines(keepends=True) == live


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_file(tmp_path: Path, workers: int) -> None:
    tweets = sample("track", 2000)
    archive = tar_of(tmp_path / "day.tar", tweets, 20)
    done = run(tmp_path, "--rules", rules_file(tmp_path), "--workers", workers, archive)
    assert ids(done.stdout.splitlines()) == ids([tweet for minute in range(20) for tweet in tweets[minute::20]])
    assert b"lines 2020, tweets 2000, matched 2000, notices 20, damaged 0, written 2000" in done.stderr


def test_standard_input_is_read_by_the_workers(tmp_path: Path) -> None:
    tweets = sample("track", 300)
    done = run(tmp_path, "--rules", rules_file(tmp_path), "-", given=gzip.compress(b"\n".join(tweets)))
    assert ids(done.stdout.splitlines()) == ids(tweets)


def test_damage_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    tweets = sample("track", 200)
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*tweets[:50], b"{broken", *tweets[50:100]]))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"\n".join(tweets[100:200]))[:-10])
    done = run(tmp_path, "--rules", rules_file(tmp_path), "--workers", 2, "a.jsonl", "b.gz")
    written = set(ids(done.stdout.splitlines()))
    assert set(ids(tweets[:100])) < written < set(ids(tweets))
    assert b"a.jsonl, line 51: " in done.stderr
    assert b"b.gz, after line " in done.stderr
    assert b"damaged 2, " in done.stderr


TWEET = {"id": 1950000000000000001, "id_str": "1950000000000000001", "text": "coffee", "user": {"id": 12}}
V2_TWEET = {"id": TWEET["id_str"], "text": "coffee", "author_id": "12"}
ACTIVITY = {
    "objectType": "activity", "verb": "post", "body": "coffee", "id": f"tag:search.twitter.com,2005:{TWEET['id_str']}"
}  # fmt: skip
LINE = json.dumps(TWEET).encode()


def zipped(name: str, text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, text)
    return packed.getvalue()


FORMS = {
    "array.json": b"[" + LINE + b"]",
    "one-per-line.json": b"[\n" + LINE + b"\n]",
    "pretty.json": json.dumps(TWEET, indent=2).encode(),
    "separated.json-seq": b"\x1e" + LINE + b"\n",
    "answer.json": json.dumps({"statuses": [TWEET], "search_metadata": {}}, indent=1).encode(),
    "page.json": json.dumps({"data": [V2_TWEET], "meta": {}}, indent=1).encode(),
    "flattened.jsonl": json.dumps({**V2_TWEET, "author": {"id": "12", "name": "A", "username": "a"}}).encode(),
    "data_1.json": json.dumps([V2_TWEET]).encode(),
    "activities.jsonl": json.dumps(ACTIVITY).encode() + b"\r\n",
    "tweets.js": b"window.YTD.tweets.part0 = " + json.dumps([{"tweet": TWEET}], indent=2).encode(),
    "twitter.zip": zipped("data/tweets.js", b"window.YTD.tweets.part0 = " + json.dumps([{"tweet": TWEET}]).encode()),
    "packed.jsonl.xz": lzma.compress(LINE),
    "utf-16.jsonl": LINE.decode().encode("utf-16"),
    "numeric.jsonl": json.dumps({"id": TWEET["id"], "text": "coffee"}).encode(),
}


def test_every_form_is_read_from_a_file_and_from_a_pipe(tmp_path: Path) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, content in FORMS.items():
        (folder / name).write_bytes(content)
    done = run(tmp_path, "--rules", rules_file(tmp_path), "--strict", folder)
    assert ids(done.stdout.splitlines()) == [TWEET["id_str"]] * len(FORMS)
    assert all(json.loads(line)["id"] == TWEET["id"] for line in done.stdout.splitlines())
    piped = run(tmp_path, "--rules", rules_file(tmp_path), "--strict", "-", given=FORMS["twitter.zip"])
    assert ids(piped.stdout.splitlines()) == [TWEET["id_str"]]


def test_nothing_that_could_be_read_is_exit_1(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"id,text\n1,coffee\n")
    os.mkfifo(tmp_path / "b.json")
    done = ended(tmp_path, "--rules", rules_file(tmp_path), "a.json", "b.json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"a.json: is a table (CSV): " in done.stderr
    assert b"b.json: is a pipe, not a file" in done.stderr


def test_deletes_of_one_file_are_honoured_in_the_next(tmp_path: Path) -> None:
    tweets = sample("track", 20)
    first = ids(tweets[:1])[0]
    (tmp_path / "deletes.jsonl").write_text(json.dumps({"delete": {"status": {"id": int(first), "id_str": first}}}))
    (tmp_path / "tweets.json").write_bytes(b"[" + b",".join(tweets) + b"]")
    done = run(tmp_path, "--rules", rules_file(tmp_path), "--workers", 1, "deletes.jsonl", "tweets.json")
    assert first not in ids(done.stdout.splitlines())
    assert b"deleted by a notice" in done.stderr


def test_a_reader_that_goes_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(sample("track", 1000) * 5))
    arguments = command("--rules", rules_file(tmp_path), "a.jsonl")
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(tmp_path, {}), stdout=pipe, stderr=pipe) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b'{"created_at"')
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(sample("track", 10)))
    arguments = command("--rules", rules_file(tmp_path), "a.jsonl")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment(tmp_path, {}), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"replay: cannot write: [Errno 28] No space left on device\n")


def test_it_can_be_stopped_while_its_reader_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(sample("track", 1000)))
    arguments = command("--rules", rules_file(tmp_path), "a.jsonl")
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(tmp_path, {}), stdout=pipe, stderr=pipe) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(1)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr.read() == b"replay: stopped while nobody read standard output\n"


def written(folder: Path) -> Counter[str]:
    lines = [line for path in sorted(folder.iterdir()) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return Counter(ids(lines))


@pytest.mark.parametrize("number", others_heavy(signal.SIGKILL, signal.SIGTERM))
def test_a_replay_that_was_ended_goes_on_and_writes_each_tweet_once(tmp_path: Path, number: signal.Signals) -> None:
    tweets = sample("track", 6000)
    tar_of(tmp_path / "day.tar", tweets[:3000], 30)
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(b"\n".join(tweets[3000:])))
    out, state = tmp_path / "out", tmp_path / "state"
    # Made-up tweets are of one moment: so slow that none but the first would be due for long.
    arguments = ("--rules", rules_file(tmp_path), "--out", out, "--state", state, "--workers", 2)
    paths = (tmp_path / "day.tar", tmp_path / "more.jsonl.gz")
    slow = command(*arguments, "--speed", "0.0001x", *paths)
    process = subprocess.Popen(slow, cwd=tmp_path, env=environment(tmp_path, {}), stderr=subprocess.PIPE)
    assert process.stderr
    said = Output(process.stderr)
    wait_until(lambda: out.exists() and any(path.stat().st_size for path in out.iterdir()), "some output")
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == (0 if number == signal.SIGTERM else -number)
    said.join()
    if number == signal.SIGTERM:
        assert 0 < written(out).total() < 6000
    run(tmp_path, *arguments, *paths)
    assert written(out) == Counter(ids(tweets))
    again = run(tmp_path, *arguments, *paths)
    assert b"lines 0, " in again.stderr
    assert written(out) == Counter(ids(tweets))


def test_kafka_has_every_tweet_under_its_id(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str, redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    stored.write(redis_db, "track", 0, RULES["track"])
    tweets = sample("track", 1000)
    tar_of(tmp_path / "day.tar", tweets, 5)
    done = run(
        tmp_path, "--kafka", "--workers", 2, "day.tar",
        REDIS_URL=redis_server.url, KAFKA_HOSTS=kafka_broker.hosts, KAFKA_TOPIC=topic,
    )  # fmt: skip
    assert done.stdout == b""
    messages = kafka_broker.consume(topic, 1000)
    assert Counter(key.decode() for key, _ in messages if key) == Counter(ids(tweets))
    assert all(json.loads(value)["id_str"].encode() == key for key, value in messages)


def test_a_broker_that_does_not_answer_is_waited_for(tmp_path: Path, kafka_broker: KafkaBroker, topic: str) -> None:
    tweets = sample("track", 100)
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(tweets))
    wanted = environment(tmp_path, {"KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic})
    arguments = command("--rules", rules_file(tmp_path), "--kafka", "a.jsonl")
    kafka_broker.freeze()
    try:
        process = subprocess.Popen(arguments, cwd=tmp_path, env=wanted, stderr=subprocess.PIPE)
        assert process.stderr
        said = Output(process.stderr)
        assert said.wait_for(lambda lines: any(TRYING_AGAIN in line for line in lines))
    finally:
        kafka_broker.thaw()
    assert process.wait(PATIENCE_SECONDS) == 0
    said.join()
    assert said.lines[-1].endswith(b"written 100\n")
    assert {key.decode() for key, _ in kafka_broker.consume(topic, 100) if key} == set(ids(tweets))


def test_what_the_broker_refuses_is_counted_and_alone(tmp_path: Path, kafka_broker: KafkaBroker, topic: str) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("tansu refuses no message for its size; `make kafka` brings Apache Kafka")
    large = json.dumps({"id_str": "7", "text": "coffee", "filler": "x" * 100_000}).encode()
    tweets = [*sample("track", 100), large, *sample("track", 100)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(tweets))
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka_broker.hosts)) as admin:
        limit = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": "50000"})
        admin.alter_configs([limit])
    addresses = {"KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic}
    done = run(tmp_path, "--rules", rules_file(tmp_path), "--kafka", "a.jsonl", **addresses)
    assert b"Kafka will never take tweet 7: MessageSizeTooLargeError" in done.stderr
    assert done.stderr.endswith(b"written 200, refused by Kafka 1\n")
    written = {key.decode() for key, _ in kafka_broker.consume(topic, 200) if key}
    assert written == set(ids(tweets)) - {"7"}


def test_it_can_be_stopped_while_kafka_does_not_answer(tmp_path: Path, kafka_broker: KafkaBroker, topic: str) -> None:
    impatient = json.dumps({"request_timeout_ms": 1000, "delivery_timeout_ms": 2000})
    kafka = {"KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic, "KAFKA_OPTIONS": impatient}
    arguments = command("--rules", rules_file(tmp_path), "--kafka", "-")
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(tmp_path, kafka), stdin=pipe, stderr=pipe) as replay:
        assert replay.stdin
        assert replay.stderr
        said = Output(replay.stderr)
        lines = b"".join(tweet + b"\n" for tweet in sample("track", 3000))
        replay.stdin.write(lines)
        assert kafka_broker.consume(topic, 1)
        kafka_broker.freeze()
        try:
            more = threading.Thread(target=write_what_is_taken, args=(replay.stdin, lines))
            more.start()
            assert said.wait_for(lambda lines: any(TRYING_AGAIN in line for line in lines))
            replay.terminate()
            assert replay.wait(PATIENCE_SECONDS) == 0
        finally:
            kafka_broker.thaw()
            replay.kill()
        said.join()
        more.join()
    assert said.lines[-1].startswith(b"replay: stopped while Kafka did not answer")


def write_what_is_taken(pipe: IO[bytes], data: bytes) -> None:
    """As far as somebody reads: who waits for Kafka does not."""
    with contextlib.suppress(BrokenPipeError):
        pipe.write(data)


def test_it_can_be_stopped_while_kafka_is_away(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(sample("track", 10)))
    wanted = environment(tmp_path, {"KAFKA_HOSTS": "127.0.0.1:1"})
    arguments = command("--rules", rules_file(tmp_path), "--kafka", "--state", "state", "a.jsonl")
    process = subprocess.Popen(arguments, cwd=tmp_path, env=wanted, stderr=subprocess.PIPE)
    assert process.stderr
    said = Output(process.stderr)
    assert said.wait_for(lambda lines: any(TRYING_AGAIN in line for line in lines))
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    said.join()
    assert said.lines[-1].startswith(b"replay: stopped while Kafka did not answer")
    assert b"Traceback" not in b"".join(said.lines)
    assert not (tmp_path / "state").exists()


def test_a_report_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(sample("track", 200)))
    run(tmp_path, "--rules", rules_file(tmp_path), "--report", "report.html", "a.jsonl")
    assert '<dd id="matched">200</dd>' in (tmp_path / "report.html").read_text()


def test_redis_that_is_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    done = ended(tmp_path, "a.jsonl", REDIS_PORT=1)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Redis cannot be read" in done.stderr
    assert b"--rules FILE needs no Redis" in done.stderr.replace(b"\n", b" ")
