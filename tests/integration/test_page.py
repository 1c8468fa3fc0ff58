"""`traptor status --serve` as a browser shows it: a real Redis, a real broker, Chromium."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from kafka import KafkaProducer

from tests.browser import Browser
from tests.integration.conftest import missing
from tests.integration.daemon import Output, environment
from tests.servers import KafkaBroker, RedisServer, ServerMissing, wait_until
from traptor import keys
from traptor.rules import stored

MARKUP = "<img src=x onerror=alert(1)><script>document.title='owned'</script>"
RULES = [{"rule_id": "1", "value": "storm", "tag": MARKUP}, {"rule_id": "2", "value": "election\u202e", "tag": "news"}]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with Browser() as one:
            yield one
    except ServerMissing as error:
        missing(error)


@pytest.fixture
def url(
    redis_server: RedisServer, redis_db: redis.Redis, kafka_broker: KafkaBroker, topic: str, tmp_path: Path
) -> Iterator[str]:
    stored.write(redis_db, "track", 0, RULES)
    stored.write(redis_db, "follow", 3, [{"rule_id": "1", "value": "12"}])
    redis_db.set("track:0:20260101000000", "alive")
    status = {"state": "streaming", "rates": [1, 5, 3], "host": "a-machine-of-a-long-name.example.org", "pid": 7}
    redis_db.set(keys.status("track", 0), json.dumps(status))
    gap = {"from": "2026-01-01T00:00:00+00:00", "to": "2026-01-01T00:00:07+00:00", "cause": "stalled", "reconnects": 3}
    redis_db.rpush(keys.gaps("track", 0), json.dumps(gap))
    settings = environment(
        tmp_path,
        {
            "REDIS_URL": redis_server.url,
            "KAFKA_HOSTS": kafka_broker.hosts,
            "KAFKA_TOPIC": topic,
            "KAFKA_NOTICES_TOPIC": f"{topic}-that-is-not-there",
        },
    )
    command = [sys.executable, "-m", "traptor", "status", "--serve", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=settings, stderr=subprocess.PIPE) as process:
        assert process.stderr
        output = Output(process.stderr)
        try:
            yield output.wait_for(
                lambda lines: [part.decode() for line in lines for part in line.split() if b"http" in part]
            )[0]
            process.terminate()
            assert process.wait() == 0
        finally:
            process.kill()
            output.join()


def enriched(number: int, text: str) -> bytes:
    rules = [{**RULES[0], "matched_in": ["text"]}]
    block = {"rule_type": "track", "created_at_iso": "2026-01-01T00:00:00+00:00", "rules": rules}
    user = {"screen_name": "ana"}
    return json.dumps({"id_str": str(number), "text": text, "user": user, "traptor": block}).encode()


def is_of_width(browser: Browser, width: int) -> bool:
    return bool(browser.value("document.documentElement.scrollWidth") <= width)


def test_a_browser_shows_the_fleet_and_what_strangers_wrote_as_text(
    url: str, browser: Browser, kafka_broker: KafkaBroker, topic: str, redis_server: RedisServer
) -> None:
    assert "script-src 'self'" in requests.get(url, timeout=60).headers["Content-Security-Policy"]
    browser.show(url)
    browser.wait_for("None has come since you look")
    browser.wait_for("nobody collects its 1 rule:")
    names = "[...document.querySelectorAll('tbody .name')].map((one) => one.textContent)"
    assert browser.value(names) == ["follow:3", "track:0"]  # what needs a person comes first
    assert browser.value("document.querySelectorAll('tr:last-child svg.spark rect').length") == 3

    producer = KafkaProducer(bootstrap_servers=kafka_broker.hosts)
    sent = iter(range(1, 1000))

    def tweets() -> Any:
        # Until the page's consumer is there, which begins at the end.
        producer.send(topic, enriched(next(sent), f"a storm {MARKUP} &lt;b&gt;\u202e {next(sent)}"))
        producer.flush()
        return browser.value("document.querySelectorAll('#tweets li').length")

    wait_until(tweets, "a tweet on the page")
    producer.close()
    text = browser.value("document.querySelector('#tweets li').textContent")
    assert f"a storm {MARKUP} <b>\\u202e" in text
    assert browser.value("document.querySelector('#tweets mark').textContent") == "storm"

    for width, is_dark in ((390, False), (390, True), (1200, True)):
        browser.show(url, width=width, dark=is_dark)
        browser.wait_for("a storm")
        assert is_of_width(browser, width)
        paper = browser.value("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(17, 24, 31)" if is_dark else "rgb(255, 255, 255)")

    browser.value("location.hash = 'track:0'")
    browser.wait_for("Rules (2)")
    shown = browser.text()
    assert [told for told in (MARKUP, "election\\u202e", "stalled", "7.0 s", "a-machine-of") if told not in shown] == []
    browser.show(url + "#track:0", width=390)
    browser.wait_for("Rules (2)")
    assert is_of_width(browser, 390)

    redis_server.stop()
    try:
        browser.wait_for("Redis cannot be used")
        assert "What you see is of" in browser.text()
    finally:
        redis_server.start()
    browser.wait_for("Redis knows nothing of track:0")  # it has come back empty
    browser.value("location.hash = ''")
    browser.wait_for("No Traptor and no rules are in this Redis")
    assert browser.value("document.getElementById('trouble').hidden")

    assert browser.value("document.title") == "Traptor"
    assert browser.value("document.querySelectorAll('img, script:not([src])').length") == 0
    assert browser.failures == []
