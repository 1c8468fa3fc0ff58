"""Rules from a real MariaDB into a real Redis, by the command."""

import getpass
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pymysql
import pytest
import redis
import requests

from tests.integration.conftest import running
from tests.integration.daemon import ROOT, Daemon
from tests.servers import RedisServer, Server, ServerMissing, free_port, wait_until
from traptor import keys

SCHEMA = "create table rules (id int auto_increment primary key, tag text, value varchar(500), type varchar(20))"
MANY = 100_000
MANY_SECONDS = 10

NO_AIO = "--innodb-use-native-aio=0"
"""Of the kernel's requests of this kind there are few for a whole machine."""


class MariaDB(Server):
    """On a socket of its own, without a port; users need no password until they have one."""

    kind = "mariadbd"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        binaries = [
            shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("mariadb-install-db", "mariadbd")
        ]
        if not all(binaries):
            raise ServerMissing("no MariaDB: apt-get install mariadb-server")
        install, self._binary = map(str, binaries)
        self.socket = folder / "db.sock"
        self._data = folder / "data"
        # Each removes at its start what others have left in the folder of temporary tables, or use at this moment.
        made = subprocess.run(
            [install, "--no-defaults", f"--user={getpass.getuser()}", f"--datadir={self._data}",
             "--auth-root-authentication-method=normal", "--skip-test-db", NO_AIO, f"--tmpdir={folder}"],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout

    def command(self) -> list[str]:
        return [self._binary, "--no-defaults", NO_AIO, f"--user={getpass.getuser()}", f"--datadir={self._data}",
                f"--socket={self.socket}", "--skip-networking", f"--tmpdir={self.folder}",
                f"--pid-file={self.folder}/db.pid"]  # fmt: skip

    def connect(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(unix_socket=str(self.socket), user="root", charset="utf8mb4", autocommit=True)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def url(self, user: str) -> str:
        return f"mysql://{user}@localhost/traptor?unix_socket={quote(str(self.socket))}"


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    yield from running(MariaDB, tmp_path_factory)


@pytest.fixture
def table(mariadb: MariaDB) -> Iterator["pymysql.cursors.Cursor"]:
    """A cursor in a database with an empty table `rules`, and a user `reader` whose password is `secret`."""
    with mariadb.connect() as conn, conn.cursor() as cursor:
        cursor.execute("create or replace database traptor character set utf8mb4")
        cursor.execute("create or replace user reader@localhost identified by 'secret'")
        cursor.execute("grant select on traptor.* to reader@localhost")
        cursor.execute("use traptor")
        cursor.execute(SCHEMA)
        yield cursor


def fill(table: "pymysql.cursors.Cursor", *rows: tuple[str | None, str, str]) -> None:
    table.executemany("insert into rules (tag, value, type) values (%s, %s, %s)", rows)


def run(redis_server: RedisServer, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": redis_server.url, **settings}
    return subprocess.run([sys.executable, "-m", *command], env=environ, capture_output=True, text=True, check=False)


def load(redis_server: RedisServer, url: str, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run(redis_server, "traptor", "rules", "load", url, *options, **{"MYSQL_PASSWORD": "secret", **settings})


@pytest.mark.usefixtures("redis_db")
def test_rules_come_from_the_table_of_the_original(
    mariadb: MariaDB, table: "pymysql.cursors.Cursor", redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    fill(
        table,
        ("weather", 'url_contains:"storm.example"', "keyword"),
        (None, "été 🌩", "keyword"),
        ("news", "from:17919972", "username"),
        ("bay", "[-122.75 36.8 -121.75 37.8]", "geo"),
        ("odd", "cat", "sentiment"),
    )
    done = load(redis_server, mariadb.url("reader"), "--json")
    found = json.loads(done.stdout)
    assert {(rule["type"], rule["value"], rule.get("tag")) for rule in found["added"]} == {
        ("track", "storm example", "weather"),
        ("track", "été 🌩", None),
        ("follow", "17919972", "news"),
        ("locations", "-122.75,36.8,-121.75,37.8", "bay"),
    }
    [problem] = found["problems"]
    assert problem["place"] == "mysql://localhost/traptor, row 5"
    assert done.returncode == 1
    assert {key.split(":")[0] for key in redis_db.scan_iter()} == {
        "traptor-track",
        "traptor-follow",
        "traptor-locations",
    }

    again = json.loads(load(redis_server, mariadb.url("reader"), "--json").stdout)
    assert [again[kind] for kind in ("added", "changed", "removed", "told")] == [[], [], [], []]


def test_another_schema_fits_by_its_query(
    mariadb: MariaDB, table: "pymysql.cursors.Cursor", redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    fill(table, ("a", "cat", ""))
    query = "select id as rule_id, value as VALUE, concat('set ', tag) as tag, 'keyword' as type from rules"
    done = load(redis_server, mariadb.url("reader"), RULES_QUERY=query)
    assert done.returncode == 0, done.stderr
    assert redis_db.hgetall("traptor-track:0:1") == {"rule_id": "1", "value": "cat", "tag": "set a"}


def test_bytes_are_text_and_a_query_without_values_is_one_line(
    mariadb: MariaDB, table: "pymysql.cursors.Cursor", redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    fill(table, ("a", "été", ""))
    query = "select cast(value as binary) as value, cast('a' as binary) as tag, 'track' type, 1 rule_id from rules"
    done = load(redis_server, mariadb.url("reader"), RULES_QUERY=query)
    assert done.returncode == 0, done.stderr
    assert redis_db.hgetall("traptor-track:0:1") == {"rule_id": "1", "value": "été", "tag": "a"}

    done = load(redis_server, mariadb.url("reader"), RULES_QUERY="select tag from rules")
    assert done.returncode == 1
    assert done.stderr == "Error: mysql://localhost/traptor gives no column `value`; RULES_QUERY has to name it\n"


def test_the_scripts_own_command_takes_the_originals_arguments(
    mariadb: MariaDB, table: "pymysql.cursors.Cursor", redis_server: RedisServer, redis_db: redis.Redis, tmp_path: Path
) -> None:
    fill(table, ("a", "cat", "keyword"), ("b", "12", "username"))
    database = {"USER": "reader", "PASSWD": "secret", "DB": f"traptor?unix_socket={quote(str(mariadb.socket))}"}
    done = run(redis_server, "scripts.rule_extract", "sqldb", "--settings", json.dumps(database), "track")
    assert done.returncode == 0, done.stderr
    assert [redis_db.hget(key, "value") for key in redis_db.scan_iter()] == ["cat"]

    (tmp_path / "rules.jsonl").write_text('{"value": "example.com", "tag": "t"}\n')
    done = run(redis_server, "scripts.rule_extract", "jsonfile", "track", str(tmp_path / "rules.jsonl"))
    assert done.returncode == 0, done.stderr
    assert sorted(redis_db.hget(key, "value") for key in redis_db.scan_iter()) == ["cat", "example.com"]


@pytest.mark.parametrize(
    "user,settings,said",
    [
        ("reader", {"MYSQL_PASSWORD": "wrong"}, "Access denied"),
        ("reader", {"RULES_QUERY": "select * from nothing"}, "nothing"),
        ("reader", {"RULES_QUERY": "selct"}, "SQL syntax"),
    ],
)
@pytest.mark.usefixtures("table", "redis_db")
def test_a_database_that_fails_is_told_in_one_line_without_the_password(
    mariadb: MariaDB, redis_server: RedisServer, user: str, settings: dict[str, str], said: str
) -> None:
    done = load(redis_server, mariadb.url(user), **settings)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_many_rules_load_in_seconds_and_all_at_once(
    mariadb: MariaDB, table: "pymysql.cursors.Cursor", redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    table.execute(f"insert into rules (tag, value, type) select 't', 1000000 + seq, 'username' from seq_1_to_{MANY}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = load(redis_server, mariadb.url("reader"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert redis_db.dbsize() == MANY
    assert {key.split(":")[1] for key in redis_db.scan_iter(count=1000)} == {str(number) for number in range(20)}
    # Processor time, for the machine may be busy with something else.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MANY_SECONDS


def following(folder: Path, redis_server: RedisServer, mariadb: MariaDB, *options: str) -> Daemon:
    daemon = Daemon(folder, REDIS_URL=redis_server.url, MYSQL_PASSWORD="secret")
    url = mariadb.url("reader")
    daemon.command = [sys.executable, "-m", "traptor", "rules", "load", url, "--prune", "--every", "1", *options]
    return daemon


def values(redis_db: redis.Redis) -> set[str | None]:
    return {redis_db.hget(key, "value") for key in redis_db.scan_iter("traptor-track:*")}


def test_rules_follow_the_table_and_wait_for_it(
    mariadb: MariaDB, table: "pymysql.cursors.Cursor", redis_server: RedisServer, redis_db: redis.Redis, tmp_path: Path
) -> None:
    fill(table, ("a", "cat", "keyword"), ("a", "dog", "keyword"))
    with (
        following(tmp_path, redis_server, mariadb) as one,
        following(tmp_path, redis_server, mariadb) as other,
        redis_db.pubsub() as told,
    ):
        told.subscribe("traptor-notify")
        wait_until(lambda: values(redis_db) == {"cat", "dog"}, "the rules of the table")
        fill(table, ("a", "bird", "keyword"))
        table.execute("delete from rules where value = 'cat'")
        wait_until(lambda: values(redis_db) == {"dog", "bird"}, "one more, and one less")

        first, second = (one, other) if one.logged("loading rules") else (other, one)
        second.wait_for_log("waiting: another loads rules")
        mariadb.stop()
        (failed,) = first.wait_for_log("rules are not loaded: trying again")
        assert "mysql://localhost/traptor cannot be read" in failed["reason"]
        assert values(redis_db) == {"dog", "bird"}
        mariadb.start()
        first.wait_for_log("rules are loaded again")

        first.stop()
        second.wait_for_log("loading rules")
        with mariadb.connect() as conn, conn.cursor() as cursor:
            cursor.execute("insert into traptor.rules (tag, value, type) values ('a', 'fish', 'keyword')")
        wait_until(lambda: values(redis_db) == {"dog", "bird", "fish"}, "the rule that only the second can have seen")
        second.stop()
        payloads = iter(lambda: told.get_message(timeout=0), None)
        assert sum(one["data"] == "track:0" for one in payloads) == 3
    assert not redis_db.get(keys.loader("track"))


def test_a_frozen_database_does_not_hold_up_the_end(
    mariadb: MariaDB, table: "pymysql.cursors.Cursor", redis_server: RedisServer, redis_db: redis.Redis, tmp_path: Path
) -> None:
    fill(table, ("a", "cat", "keyword"))
    port = free_port()
    with following(tmp_path, redis_server, mariadb, "--strict", "--metrics-port", str(port)) as daemon:
        wait_until(lambda: values(redis_db) == {"cat"}, "the rule of the table")
        metrics = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: 'loaded{type="track"} 1.0' in requests.get(metrics, timeout=5).text, "a load in the metrics")
        fill(table, ("a", "dog", "sentiment"))
        daemon.wait_for_log("a rule is left out")
        mariadb.freeze()
        try:
            daemon.signal(signal.SIGTERM)
            assert daemon.wait_for_exit(5) == 0
        finally:
            mariadb.thaw()


@pytest.mark.parametrize("wrong", [["-"], ["rules.csv", "--dry-run"], ["rules.csv", "--json"]])
def test_what_does_not_go_again_and_again_is_refused(redis_server: RedisServer, wrong: list[str]) -> None:
    done = run(redis_server, "traptor", "rules", "load", *wrong, "--every", "5")
    assert (done.returncode, "--every loads again and again" in done.stderr) == (2, True), done
