"""Debian's Prometheus: the server, and promtool for its files."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from tests.servers import Server, ServerMissing

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "monitoring/traptor-alerts.yml"


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [_binary("promtool"), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def _binary(name: str) -> str:
    if found := shutil.which(name):
        return found
    raise ServerMissing(f"no {name} in PATH: `apt install prometheus` brings it")


class PrometheusServer(Server):
    """Scrapes these ports of this machine each second, by the names of their jobs, under our alert rules."""

    kind = "prometheus"

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        super().__init__(folder)
        scraped = [
            {"job_name": job, "static_configs": [{"targets": [f"{self.host}:{port}"]}]} for job, port in ports.items()
        ]
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "scrape_configs": scraped}
        (folder / "prometheus.yml").write_text(json.dumps({**config, "rule_files": [str(ALERTS)]}))

    def command(self) -> list[str]:
        places = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        return [_binary("prometheus"), *places, f"--web.listen-address={self.host}:{self.port}", "--log.level=warn"]

    def answers(self) -> bool:
        try:
            return requests.get(f"http://{self.host}:{self.port}/-/ready", timeout=1).ok
        except requests.ConnectionError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers, such as ``ask("query", query="up")``."""
        answer = requests.get(f"http://{self.host}:{self.port}/api/v1/{path}", parameters, timeout=5)
        assert answer.ok, answer.text
        return answer.json()["data"]
