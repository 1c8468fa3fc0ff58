"""TLS to Twitter, Redis and Kafka: who is not known is refused without any setting, and a CA can be trusted."""

import contextlib
import functools
import gc
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from scripts import apache_kafka
from tests.certificates import Certificates
from tests.integration.daemon import to_stdout
from tests.servers import HOST, ApacheKafka, RedisServer
from traptor import settings
from traptor.connections import connect_to_redis
from traptor.delivery import producers
from traptor.rules import stored
from traptor.simulator import Simulator

STRANGER = "elsewhere.example"
CASES = pytest.mark.parametrize(
    "name,is_ca_known,is_taken",
    [(HOST, True, True), (HOST, False, False), (STRANGER, True, False)],
    ids=["known", "unknown", "of another name"],
)


class TlsRedis(RedisServer):
    """Redis that speaks TLS alone."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path], ca: Path) -> None:
        super().__init__(folder)
        self._files = [str(path) for path in (*certificate, ca)]

    @property
    def url(self) -> str:
        return f"rediss://{self.host}:{self.port}"

    def command(self) -> list[str]:
        cert, key, ca = self._files
        tls = ["--tls-port", str(self.port), "--tls-auth-clients", "no"]
        files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca]
        return [*super().command(), "--port", "0", *tls, *files]

    def answers(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex((HOST, self.port)) == 0


@contextlib.contextmanager
def tls_redis(folder: Path, certificates: Certificates, name: str) -> Iterator[TlsRedis]:
    server = TlsRedis(folder, certificates.issue(name), certificates.ca)
    version = subprocess.run([server.command()[0], "--version"], capture_output=True, text=True, check=True)
    try:
        server.start()
    except AssertionError:
        pytest.skip(f"this Redis has no TLS: {version.stdout}")
    try:
        yield server
    finally:
        server.kill()


def ping(url: str) -> bool:
    with contextlib.closing(connect_to_redis(settings.load({"REDIS_URL": url}, {}, {}))) as conn:
        return bool(conn.ping())


@CASES
def test_redis(tmp_path: Path, certificates: Certificates, name: str, is_ca_known: bool, is_taken: bool) -> None:
    with tls_redis(tmp_path, certificates, name) as server:
        url = f"{server.url}?ssl_ca_certs={certificates.ca}" if is_ca_known else server.url
        if is_taken:
            assert ping(url)
        else:
            with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                ping(url)


class TlsKafka(ApacheKafka):
    """Apache Kafka that speaks TLS to its clients."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path], ca: Path) -> None:
        super().__init__(folder)
        self._ca = ca
        (folder / "keystore.pem").write_bytes(b"".join(path.read_bytes() for path in reversed(certificate)))
        properties = apache_kafka.properties(folder)
        text = properties.read_text().replace("listeners=PLAINTEXT:", "listeners=SSL:")
        properties.write_text(
            f"{text}listener.security.protocol.map=CONTROLLER:PLAINTEXT,SSL:SSL\n"
            "inter.broker.listener.name=SSL\nssl.endpoint.identification.algorithm=\n"
            f"ssl.keystore.type=PEM\nssl.keystore.location={folder}/keystore.pem\n"
            f"ssl.truststore.type=PEM\nssl.truststore.location={ca}\n"
        )

    def options(self, **more: object) -> dict[str, object]:
        return {"security_protocol": "SSL", "bootstrap_timeout_ms": 2000, **more}

    def answers(self) -> bool:
        trusting = self.options(ssl_cafile=str(self._ca), ssl_check_hostname=False)
        try:
            with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.hosts, **trusting)) as admin:
                return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False


@pytest.fixture(scope="module")
def tls_kafka(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Callable[[str], TlsKafka]]:
    """A broker with a certificate of this name; it stays for those that ask for it again."""
    if not apache_kafka.at_hand():
        pytest.skip("Apache Kafka is needed, which speaks TLS: `make kafka`")

    def made(name: str) -> TlsKafka:
        return running.enter_context(TlsKafka(tmp_path_factory.mktemp(name), certificates.issue(name), certificates.ca))

    with contextlib.ExitStack() as running:
        yield functools.cache(made)


@pytest.mark.kafka
@pytest.mark.parametrize("client", settings.KAFKA_CLIENTS)
@CASES
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # kafka-python leaves refused ones open
def test_kafka(  # noqa: PLR0917 - pytest passes by name
    tls_kafka: Callable[[str], TlsKafka],
    certificates: Certificates,
    name: str,
    is_ca_known: bool,
    is_taken: bool,
    client: str,
) -> None:
    broker = tls_kafka(name)
    options = broker.options(**({"ssl_cafile": str(certificates.ca)} if is_ca_known else {}))
    if is_taken:
        producer = producers.connect(broker.hosts, "traptor", options, client=client)
        producer.send("traptor", b"{}").get(timeout=30)
        producer.close(timeout=1)
    else:
        with pytest.raises(KafkaError):
            producers.connect(broker.hosts, "traptor", options, client=client)
        gc.collect()


class TlsFront:
    """Speaks TLS before a server that does not."""

    def __init__(self, port: int, certificate: tuple[Path, Path]) -> None:
        self._behind = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._listener = socket.create_server((HOST, 0))
        self.url = f"https://{HOST}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "TlsFront":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection((HOST, self._behind)) as server,
        ):
            server.sendall(_request(client))
            while data := server.recv(1 << 16):
                client.sendall(data)


def _request(client: socket.socket) -> bytes:
    """A POST request, whole."""
    data = b""
    while not (found := re.search(rb"content-length: (\d+)\r\n.*?\r\n\r\n", data, re.DOTALL | re.IGNORECASE)) or (
        len(data) < found.end() + int(found[1])
    ):
        data += client.recv(1 << 16)
    return data


@CASES
def test_twitter(  # noqa: PLR0917 - pytest passes by name
    tmp_path: Path,
    certificates: Certificates,
    redis_server: RedisServer,
    redis_db: redis.Redis,
    name: str,
    is_ca_known: bool,
    is_taken: bool,
) -> None:
    stored.write(redis_db, "track", 0, [{"rule_id": "1", "value": "coffee", "tag": "drinks"}])
    trust = {"REQUESTS_CA_BUNDLE": str(certificates.ca)} if is_ca_known else {}
    with (
        Simulator() as twitter,
        TlsFront(int(twitter.url.rpartition(":")[2]), certificates.issue(name)) as front,
        to_stdout(tmp_path, redis_server, front.url, **trust) as daemon,
    ):
        told = json.dumps(daemon.wait_for_log("no stream")[0])
        # An OAuth signature covers the scheme, so that the simulator, to which we speak through TLS, refuses it.
        assert ("http-401" in told) == is_taken
        assert ("CERTIFICATE_VERIFY_FAILED" in told) != is_taken
        daemon.stop()
