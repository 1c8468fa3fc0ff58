"""Apache Kafka for development: one KRaft node on 127.0.0.1, all of it in the folder ``.kafka``.

``python -m scripts.apache_kafka fetch`` brings the jars (with Maven) and makes an empty store; ``start`` and ``stop``
run the broker (with Java).
"""

import argparse
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

HOST = "127.0.0.1"
PORT = 9092
CONTROLLER_PORT = 9093
START_SECONDS = 60

HOME = Path(__file__).parent.parent / ".kafka"
JARS = HOME / "jars"
LOG = HOME / "server.log"
PID = HOME / "pid"

LOG_LEVEL = "org.slf4j.simpleLogger.defaultLogLevel"

MAVEN = ["mvn", "--batch-mode", "--no-transfer-progress", "--quiet"]
MAVEN += ["--file", str(Path(__file__).with_name("apache-kafka-pom.xml"))]

PROPERTIES = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
log.dirs={folder}/store
num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def fetch() -> None:
    """The jars of the pom into JARS, from scratch, and a store."""
    if not shutil.which("mvn"):
        sys.exit("Maven is missing: install it (Debian: apt-get install maven)")
    say("Apache Kafka: fetching the jars ...")
    shutil.rmtree(JARS, ignore_errors=True)
    target = [f"-DoutputDirectory={JARS}", "-DincludeScope=runtime"]
    subprocess.run([*MAVEN, "dependency:copy-dependencies", *target], check=True)
    if not properties(HOME).exists():
        format_store(HOME, PORT, [CONTROLLER_PORT])
    say(f"Apache Kafka: {len(list(JARS.iterdir()))} jars in {JARS}; `make kafka-start` runs it on {HOST}:{PORT}")


def at_hand() -> bool:
    """Are the jars there, and a Java to run them?"""
    return any(JARS.glob("kafka_*.jar")) and shutil.which("java") is not None


def format_store(
    folder: Path, port: int, controller_ports: Sequence[int], number: int = 1, cluster: str | None = None
) -> None:
    """Make an empty store in `folder`, and the properties of a node that listens on this port: the one with this number
    of a cluster that has as many nodes as ports for their controllers."""
    folder.mkdir(parents=True, exist_ok=True)
    voters = ",".join(f"{node}@{HOST}:{at}" for node, at in enumerate(controller_ports, 1))
    own = {"number": number, "port": port, "controller_port": controller_ports[number - 1]}
    properties(folder).write_text(PROPERTIES.format(host=HOST, folder=folder, voters=voters, **own))
    arguments = ["format", f"--cluster-id={cluster or new_cluster()}", "--config", str(properties(folder))]
    subprocess.run(java("kafka.tools.StorageTool", *arguments), check=True, stdout=subprocess.DEVNULL)


def take_over(folder: Path) -> None:
    """A folder that was copied from elsewhere keeps its store where it is now; one that has none is given one."""
    if not properties(folder).exists():
        format_store(folder, PORT, [CONTROLLER_PORT])
    lines = properties(folder).read_text().splitlines()
    here = [f"log.dirs={folder}/store" if line.startswith("log.dirs=") else line for line in lines]
    if here != lines:
        properties(folder).write_text("\n".join([*here, ""]))


def new_cluster() -> str:
    """An id that begins with no hyphen: it would be taken for an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def properties(folder: Path) -> Path:
    return folder / "server.properties"


def node(folder: Path) -> list[str]:
    """The command that runs the node whose store is in `folder`."""
    return java("kafka.Kafka", str(properties(folder)))


def java(*arguments: str) -> list[str]:
    """A small heap and the quick compiler alone: the node starts in two seconds."""
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-D{LOG_LEVEL}=warn"]
    return ["java", *options, "-cp", f"{JARS}/*", *arguments]


def start() -> None:
    """Run the node in the background, and return when it takes connections."""
    if not at_hand():
        sys.exit("`make kafka` first; it needs Java and Maven")
    if listening():
        sys.exit(f"{HOST}:{PORT} is taken already")
    take_over(HOME)
    with LOG.open("wb") as log:
        process = subprocess.Popen(node(HOME), stdout=log, stderr=log, start_new_session=True)
    PID.write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    while not listening():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"Apache Kafka did not start; its log is {LOG}")
        time.sleep(0.1)
    say(f"Apache Kafka: listening on {HOST}:{PORT}")


def listening() -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((HOST, PORT)) == 0


def stop() -> None:
    """Ask the node to end, and return when it has closed its store."""
    if not PID.exists() or not running():
        sys.exit("Apache Kafka: not running")
    os.kill(int(PID.read_text()), signal.SIGTERM)
    while running():
        time.sleep(0.1)
    PID.unlink()
    say("Apache Kafka: stopped")


def running() -> bool:
    """Is the process that we have started there? In a folder that was copied, the number may be anybody's."""
    pid = PID.read_text()
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, PermissionError):
        return False
    command = Path("/proc", pid, "cmdline")
    return not command.exists() or str(properties(HOME)).encode() in command.read_bytes()


def run(action: Callable[[], None]) -> None:
    """What a file or a program does not allow ends it with one line."""
    try:
        action()
    except OSError as error:
        sys.exit(f"Apache Kafka: {error.filename} cannot be used: {error.strerror}; see to its owner and mode")
    except subprocess.CalledProcessError as error:
        sys.exit(f"Apache Kafka: {error.cmd[0]} ended with {error.returncode}; what it said stands above")


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    actions = {"fetch": fetch, "start": start, "stop": stop}
    parser = argparse.ArgumentParser(prog="python -m scripts.apache_kafka", description=__doc__)
    parser.add_argument("action", choices=actions)
    run(actions[parser.parse_args().action])
