"""compose.yaml by podman-compose, with stand-ins from Debian and Maven for the images of others."""

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.deploy import podman
from tests.deploy.hosts import ROOT, copy_checkout
from tests.servers import GivenKafka, wait_until

pytestmark = pytest.mark.integration

STAND_INS = ROOT / "tests/deploy/stand_ins"
IMAGES = dict(re.findall(r"image: (\S+):(\S+)", (ROOT / "compose.yaml").read_text()))
COLLECTING = ("track-0", "follow-0")
WITH_HEALTH = (*COLLECTING, "rebalance", "twitter-track", "twitter-follow")
SERVICES = (*WITH_HEALTH, "redis", "kafka", "prometheus")
"""All but Grafana, which no Debian package stands for."""
BROKER = GivenKafka("localhost:9092")
PATIENCE_SECONDS = 300
"""A machine that does other things as well takes a minute for Kafka's start alone."""
LINE = re.compile(r"^traptor: received (\d+)", re.MULTILINE)


class Project:
    """A checkout of our own, brought up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def compose(self, *arguments: str) -> str:
        return podman.run([ROOT / ".deploy/ansible/bin/podman-compose", *arguments], cwd=self.folder)

    def up(self) -> None:
        self.compose("up", "--detach", "--no-build", *SERVICES, "rules")

    def container(self, service: str) -> str:
        return f"{self.folder.name}_{service}_1"

    def state(self, service: str) -> dict[str, Any]:
        template = "{{.State.Status}} {{.State.Pid}} {{.RestartCount}} {{.State.ExitCode}}"
        told = podman.podman("inspect", f"--format={template}", self.container(service)).split()
        return dict(zip(("status", "pid", "restarts", "code"), [told[0], *map(int, told[1:])], strict=True))

    def received(self) -> int:
        """Tweets that both Traptors say they received in all their lives so far; they are stopped."""
        logs = [podman.run(["sh", "-c", f"podman logs {self.container(name)} 2>&1"]) for name in COLLECTING]
        return sum(int(count) for log in logs for count in LINE.findall(log))


@pytest.fixture(scope="module")
def project(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    for name, version in IMAGES.items():
        if (STAND_INS / Path(name).name).exists():
            full = name if "/" in name else f"library/{name}"
            podman.build(STAND_INS, f"docker.io/{full}:{version}", Path(name).name)
    folder = tmp_path_factory.mktemp("compose") / "traptor"
    copy_checkout(folder)
    started = Project(folder)
    started.up()
    wait_until(BROKER.answers, "Kafka", PATIENCE_SECONDS)
    yield started
    started.compose("down", "--volumes")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_comes_up(project: Project, service: str) -> None:
    wait_until(lambda: project.state(service)["status"] == "running", service)
    if service in WITH_HEALTH:
        wait_until(lambda: podman.is_healthy(project.container(service)), f"{service} healthy", PATIENCE_SECONDS)


def test_the_rules_are_written(project: Project) -> None:
    wait_until(lambda: project.state("rules")["status"] == "exited", "the rules")
    assert project.state("rules")["code"] == 0


@pytest.mark.usefixtures("project")
def test_tweets_of_both_reach_the_topic() -> None:
    def types() -> Counter[str]:
        values = [value.decode() for _, value in BROKER.consume("traptor", 100, timeout_seconds=5)]
        return Counter(kind for value in values for kind in re.findall(r'"rule_type":"(\w+)"', value))

    wait_until(lambda: {"track", "follow"} <= types().keys(), "tweets of both", PATIENCE_SECONDS)


@pytest.mark.usefixtures("project")
def test_prometheus_scrapes_both_and_has_the_alerts() -> None:
    def ask(path: str) -> Any:
        return requests.get(f"http://127.0.0.1:9090/api/v1/{path}", timeout=5).json()["data"]

    def up() -> set[str]:
        targets = ask("targets")["activeTargets"]
        return {one["labels"]["instance"] for one in targets if one["health"] == "up"}

    wait_until(lambda: {"track-0:9100", "follow-0:9100", "rebalance:9100"} <= up(), "all scraped", PATIENCE_SECONDS)
    [group] = ask("rules")["groups"]
    assert len(group["rules"]) > 10


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_container_comes_back(project: Project, service: str) -> None:
    before = project.state(service)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: project.state(service)["pid"] not in {0, before["pid"]}, f"another {service}", PATIENCE_SECONDS)


def test_down_loses_nothing(project: Project) -> None:
    """What Kafka did not take by then waits in the volume of its Traptor."""
    wait_until(BROKER.answers, "Kafka after its kill", PATIENCE_SECONDS)
    for name in COLLECTING:
        wait_until(lambda name=name: podman.is_healthy(project.container(name)), f"{name} healthy", PATIENCE_SECONDS)
    seen = len(topic())
    wait_until(lambda: len(topic()) > seen, "tweets after all those kills", PATIENCE_SECONDS)
    project.compose("stop", *COLLECTING)
    kept = topic()
    assert len(kept) >= project.received() > 0
    project.compose("down")
    project.up()
    wait_until(BROKER.answers, "Kafka after another start", PATIENCE_SECONDS)
    wait_until(lambda: kept <= topic(), "all of it after another start")


def topic() -> set[bytes]:
    """The tweets that Kafka has, by id."""
    return {key for key, _ in BROKER.consume("traptor", 1_000_000, timeout_seconds=10) if key}
