"""Logins and TLS at a real broker, by either client: the right ones go through, others are told as what they are."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kafka.admin import KafkaAdminClient, ScramMechanism, UserScramCredentialUpsertion
from kafka.errors import KafkaError

from scripts import apache_kafka
from tests.certificates import Certificates
from tests.integration.daemon import APIKEYS, ROOT, Daemon, addresses
from tests.servers import HOST, ApacheKafka, RedisServer, free_port, wait_until
from traptor import kafka_options, keys, settings
from traptor.delivery import producers
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator

PASSWORD = 's3cret "pässword'
PROTOCOLS = {"LOGIN": "SASL_PLAINTEXT", "TLS": "SSL", "BOTH": "SASL_SSL", "LOST": "PLAINTEXT"}
MODULES = "org.apache.kafka.common.security"

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # kafka-python leaves refused sockets open
]


class GuardedKafka(ApacheKafka):
    """Apache Kafka with a port for each protocol, and one that advertises a name that nobody knows."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.at = {name: f"{HOST}:{free_port()}" for name in PROTOCOLS}
        self.at["PLAINTEXT"] = self.hosts
        self.ca = certificates.ca
        certificate = certificates.issue(HOST)
        (folder / "keystore.pem").write_bytes(b"".join(path.read_bytes() for path in reversed(certificate)))
        path = apache_kafka.properties(folder)
        path.write_text(self._guarded(path.read_text()), encoding="latin-1")

    def _guarded(self, text: str) -> str:
        open_at = [f"{name}://{self.at[name]}" for name in PROTOCOLS]
        advertised = [*open_at[:-1], "LOST://nowhere.invalid:9092", f"PLAINTEXT://{self.hosts}"]
        spoken = ["CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT", *map(":".join, PROTOCOLS.items())]
        password = PASSWORD.replace('"', '\\\\"')
        modules = {
            "plain": f'{MODULES}.plain.PlainLoginModule required user_traptor="{password}";',
            "scram-sha-256": f"{MODULES}.scram.ScramLoginModule required;",
        }
        logins = [
            f"listener.name.{name}.{mechanism}.sasl.jaas.config={module}"
            for name in ("login", "both")
            for mechanism, module in modules.items()
        ]
        return "\n".join(
            [
                text.replace("listeners=PLAINTEXT:", f"listeners={','.join(open_at)},PLAINTEXT:"),
                f"advertised.listeners={','.join(advertised)}",
                f"listener.security.protocol.map={','.join(spoken)}",
                "inter.broker.listener.name=PLAINTEXT",
                "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256",
                f"ssl.keystore.type=PEM\nssl.keystore.location={self.folder}/keystore.pem",
                *logins,
            ]
        )

    def start(self) -> None:
        super().start()
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.hosts)) as admin:
            login = UserScramCredentialUpsertion("traptor", ScramMechanism.SCRAM_SHA_256, PASSWORD.encode())
            admin.alter_user_scram_credentials([login])

    def options(self, protocol: str, mechanism: str | None = None, password: str = PASSWORD) -> dict[str, Any]:
        """KAFKA_OPTIONS for a protocol, with a login by this mechanism."""
        login = {"sasl_mechanism": mechanism, "sasl_plain_username": "traptor", "sasl_plain_password": password}
        return {
            "security_protocol": protocol,
            "bootstrap_timeout_ms": 10_000,
            **(login if mechanism else {}),
            **({"ssl_cafile": str(self.ca)} if protocol.endswith("SSL") else {}),
        }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[GuardedKafka]:
    if not apache_kafka.at_hand():
        pytest.skip("Apache Kafka is needed, which has logins: `make kafka`")
    with GuardedKafka(tmp_path_factory.mktemp("guarded"), certificates) as running:
        yield running


BOTH_CLIENTS = pytest.mark.parametrize("client", settings.KAFKA_CLIENTS)


@BOTH_CLIENTS
@pytest.mark.parametrize("at,protocol", [("LOGIN", "SASL_PLAINTEXT"), ("BOTH", "SASL_SSL")])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_the_right_login_goes_through(
    guarded: GuardedKafka, at: str, protocol: str, mechanism: str, client: str
) -> None:
    options = kafka_options.read(guarded.options(protocol, mechanism))
    producer = producers.connect(guarded.at[at], "traptor", options, client=client)
    producer.send("traptor", b"{}").get(timeout=30)
    producer.close(timeout=1)


@BOTH_CLIENTS
@pytest.mark.parametrize(
    "at,protocol,mechanism,password,reason",
    [
        ("LOGIN", "SASL_PLAINTEXT", "PLAIN", "wrong-password", "password"),
        ("BOTH", "SASL_SSL", "SCRAM-SHA-256", "wrong-password", "password"),
        ("LOGIN", "SASL_PLAINTEXT", "SCRAM-SHA-512", PASSWORD, "sasl_mechanism"),
        ("PLAINTEXT", "SASL_PLAINTEXT", "PLAIN", PASSWORD, "no login is asked for"),
        ("TLS", "SASL_SSL", "PLAIN", PASSWORD, "no login is asked for"),
        ("LOGIN", "PLAINTEXT", None, "", "it may want TLS, a login"),
        ("PLAINTEXT", "SSL", None, "", "no TLS at this port"),
        ("TLS", "PLAINTEXT", None, "", "TLS"),
    ],
)
def test_another_is_told_as_what_it_is(  # noqa: PLR0917 - pytest passes by name
    guarded: GuardedKafka, at: str, protocol: str, mechanism: str | None, password: str, reason: str, client: str
) -> None:
    options = kafka_options.read({**guarded.options(protocol, mechanism, password), "bootstrap_timeout_ms": 2_000})
    wait_until(lambda: reason in refusal(guarded.at[at], options, client), f"{reason} to be told")


def refusal(hosts: str, options: dict[str, Any], client: str) -> str:
    """A broker that tells why and hangs up may have hung up before a slow client has read why: then it tries again."""
    with pytest.raises(KafkaError) as raised:
        producers.connect(hosts, "traptor", options, client=client)
    assert PASSWORD not in str(raised.value)
    return str(raised.value)


Wanted = dict[str, Any]


@pytest.fixture
def wanted(guarded: GuardedKafka, redis_server: RedisServer, redis_db: redis.Redis) -> Wanted:
    """Settings with a wrong password."""
    stored.write(redis_db, "track", 0, [{"rule_id": "1", "tag": "drinks", "value": "coffee"}])
    return {
        "REDIS_URL": redis_server.url,
        "KAFKA_HOSTS": guarded.at["LOGIN"],
        "KAFKA_OPTIONS": json.dumps(
            {**guarded.options("SASL_PLAINTEXT", "PLAIN", "wrong-password"), "bootstrap_timeout_ms": 2_000}
        ),
    }


@BOTH_CLIENTS
def test_the_daemon_tells_of_a_wrong_password(
    wanted: Wanted, redis_db: redis.Redis, tmp_path: Path, client: str
) -> None:
    with Simulator() as twitter, Daemon(tmp_path, **addresses(twitter.url), **wanted, KAFKA_CLIENT=client) as daemon:
        text = "Kafka cannot be reached: trying again; tweets wait in the spool meanwhile"
        told = daemon.stderr.wait_for(lambda _: any("password" in one["error"] for one in daemon.logged(text)))
        assert told, daemon.said()
        daemon.stop()
    assert b"wrong-password" not in b"".join(daemon.stderr.lines)
    assert "wrong-password" not in str(redis_db.get(keys.status("track", 0)))


@BOTH_CLIENTS
def test_the_daemon_tells_of_a_broker_that_advertises_a_name_that_nobody_knows(
    guarded: GuardedKafka, wanted: Wanted, tmp_path: Path, client: str
) -> None:
    lost = {**wanted, "KAFKA_HOSTS": guarded.at["LOST"], "KAFKA_OPTIONS": "{}", "KAFKA_CLIENT": client}
    with Simulator(rate=20) as twitter, Daemon(tmp_path, **addresses(twitter.url), **lost) as daemon:
        found = daemon.stderr.wait_for(lambda lines: [line for line in lines if b"nowhere.invalid" in line])
        assert found, daemon.said()
        daemon.stop()


def doctor(tmp_path: Path, wanted: Wanted, **more: str) -> list[tuple[str, str]]:
    """What it says of Kafka."""
    keys_ = dict(zip(APIKEYS, CREDENTIAL, strict=True))
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LOG_DIR": "none", "SPOOL_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "traptor", "doctor", "--json"]
    environment = {**usual, **keys_, "TWITTER_STREAM_URL": "http://127.0.0.1:1", **wanted, **more}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "wrong-password" not in done.stdout + done.stderr
    assert done.returncode == 1
    return [(one["level"], one["text"]) for one in json.loads(done.stdout) if one["subject"] == "kafka"]


def test_doctor_tells_why(guarded: GuardedKafka, wanted: Wanted, tmp_path: Path) -> None:
    def error(**more: str) -> str:
        [text] = [text for level, text in doctor(tmp_path, wanted, **more) if level == "error"]
        return text

    assert error().startswith(f"cannot be used at {guarded.at['LOGIN']}")
    wait_until(lambda: "password" in error(), "the password to be told of")
    assert "nowhere.invalid" in error(KAFKA_HOSTS=guarded.at["LOST"], KAFKA_OPTIONS="{}")
