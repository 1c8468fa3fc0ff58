"""compose.yaml by podman-compose, with stand-ins from Debian and Maven for the images of others."""

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
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
NO_STAND_IN = {"grafana", "dashboards"}
"""No package of Debian's or Maven's stands for them."""
STORES = {"postgres": ("postgres", "store-postgres"), "search": ("opensearch", "store-search")}
"""What a profile adds."""
OF_STORES = tuple(service for services in STORES.values() for service in services)
PROFILES = [f"--profile={name}" for name in STORES]
POSTGRESQL = "postgresql://traptor@127.0.0.1/tweets"
OPENSEARCH = "http://127.0.0.1:9200/traptor-tweets*/_count"
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

    def up(self, *services: str) -> None:
        self.compose(*PROFILES, "up", "--detach", "--no-build", *services)

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
    started.up(*SERVICES, "rules")
    wait_until(BROKER.answers, "Kafka", PATIENCE_SECONDS)
    yield started
    started.compose(*PROFILES, "down", "--volumes")


@pytest.fixture(scope="module")
def stores(project: Project) -> Project:
    """With both profiles."""
    project.up(*OF_STORES)
    return project


def test_without_a_profile_it_stays_small(project: Project) -> None:
    small, all_of_it = (set(project.compose(*profiles, "config", "--services").split()) for profiles in ((), PROFILES))
    assert small - NO_STAND_IN == {*SERVICES, "rules"}
    assert all_of_it - small - NO_STAND_IN == set(OF_STORES)


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
        values = [value.decode() for _, value in BROKER.consume("traptor")]
        return Counter(kind for value in values for kind in re.findall(r'"rule_type":"(\w+)"', value))

    wait_until(lambda: {"track", "follow"} <= types().keys(), "tweets of both", PATIENCE_SECONDS)


@pytest.mark.usefixtures("project")
def test_prometheus_scrapes_both_and_has_the_alerts() -> None:
    wait_until(
        lambda: {"track-0:9100", "follow-0:9100", "rebalance:9100"} <= {instance for _, instance in scraped()},
        "all scraped",
        PATIENCE_SECONDS,
    )
    [group] = prometheus("rules")["groups"]
    assert len(group["rules"]) > 10


def prometheus(path: str) -> Any:
    return requests.get(f"http://127.0.0.1:9090/api/v1/{path}", timeout=5).json()["data"]


def scraped() -> set[tuple[str, str]]:
    """Job and instance of what Prometheus reaches; of nothing while it starts."""
    try:
        targets = prometheus("targets")["activeTargets"]
    except requests.RequestException:
        return set()
    return {(one["labels"]["job"], one["labels"]["instance"]) for one in targets if one["health"] == "up"}


@pytest.mark.parametrize("profile", STORES)
def test_a_store_keeps_the_tweets(stores: Project, profile: str) -> None:
    _, store = STORES[profile]
    wait_until(lambda: podman.is_healthy(stores.container(store)), f"{store} healthy", PATIENCE_SECONDS)
    wait_until(lambda: has(profile, 1), f"tweets in {profile}", PATIENCE_SECONDS)


def stored(profile: str) -> int:
    """Tweets in its database."""
    if profile == "search":
        return int(requests.get(OPENSEARCH, timeout=5).json()["count"])
    with psycopg.connect(POSTGRESQL) as database:
        row = database.execute("SELECT count(*) FROM tweets").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.usefixtures("stores")
def test_prometheus_finds_the_stores() -> None:
    wait_until(
        lambda: len([instance for job, instance in scraped() if job == "traptor-store"]) == len(STORES),
        "both stores scraped",
        PATIENCE_SECONDS,
    )


@pytest.mark.parametrize("service", [*SERVICES, *OF_STORES])
def test_a_killed_container_comes_back(stores: Project, service: str) -> None:
    wait_until(lambda: stores.state(service)["pid"] != 0, f"{service} to be killed")
    before = stores.state(service)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: stores.state(service)["pid"] not in {0, before["pid"]}, f"another {service}", PATIENCE_SECONDS)


def test_down_loses_nothing(stores: Project) -> None:
    """What Kafka did not take by then waits in the volume of its Traptor."""
    wait_until(BROKER.answers, "Kafka after its kill", PATIENCE_SECONDS)
    for name in (*COLLECTING, "store-postgres", "store-search"):
        wait_until(lambda name=name: podman.is_healthy(stores.container(name)), f"{name} healthy", PATIENCE_SECONDS)
    seen = len(topic())
    wait_until(lambda: len(topic()) > seen, "tweets after all those kills", PATIENCE_SECONDS)
    stores.compose("stop", *COLLECTING)
    kept, kept_by_stores = topic(), {profile: stored(profile) for profile in STORES}
    assert len(kept) >= stores.received() > 0
    stores.compose(*PROFILES, "down")
    stores.up(*SERVICES, *OF_STORES, "rules")
    wait_until(BROKER.answers, "Kafka after another start", PATIENCE_SECONDS)
    wait_until(lambda: kept <= topic(), "all of it after another start")
    for profile, count in kept_by_stores.items():
        wait_until(lambda profile=profile, count=count: has(profile, count), f"as much in {profile}", PATIENCE_SECONDS)


def has(profile: str, count: int) -> bool:
    """False also while it starts."""
    try:
        return stored(profile) >= count
    except (requests.RequestException, psycopg.Error, KeyError):
        return False


def topic() -> set[bytes]:
    """The tweets that Kafka has, by id."""
    return {key for key, _ in BROKER.consume("traptor") if key}
