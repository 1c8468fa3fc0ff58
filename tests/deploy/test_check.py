"""What an inventory is refused for, before a host is asked anything."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.hosts import ROOT

ANSIBLE = ROOT / "ansible"
KEYS = [
    {part: f"{part}-{n}" for part in ("consumer_key", "consumer_secret", "access_token", "access_token_secret")}
    for n in range(3)
]
OURS = {"apikeys": KEYS, "redis_password": "one of ours", "kafka_password": "another"}


@pytest.mark.parametrize(
    "variables, without, refusal",
    [
        ({}, "", "key 1 of apikeys is still the example's"),
        ({"apikeys": KEYS}, "", "redis_bind is 192.0.2.10: that needs a redis_password of your own"),
        ({**OURS, "kafka_password": ""}, "", "kafka_bind is 192.0.2.10: that needs a kafka_password of your own"),
        ({**OURS, "kafka_password": ""}, "[traptor-redis]\nstore\n", "that needs a kafka_password of your own"),
        ({**OURS, "kafka_password": 'a"b'}, "", "kafka_password may have neither"),
        ({**OURS, "kafka_password": "a\\b"}, "", "kafka_password may have neither"),
        ({**OURS, "kafka_password": "ä"}, "", "kafka_password may have neither"),
        ({**OURS, "redis_tls_certificate": "store.crt"}, "", "redis_tls_certificate and redis_tls_key go together"),
        ({**OURS, "kafka_tls_key": "store.key"}, "", "kafka_tls_certificate and kafka_tls_key go together"),
    ],
)
def test_refused(variables: dict[str, object], without: str, refusal: str, tmp_path: Path) -> None:
    inventory = Path(shutil.copytree(ANSIBLE / "inventories/example", tmp_path / "mine"))
    hosts = (inventory / "hosts.ini").read_text()
    (inventory / "hosts.ini").write_text(hosts.replace(without, ""))
    done = subprocess.run(
        [ROOT / ".deploy/ansible/bin/ansible-playbook", "-i", inventory, "check.yml", "-e", json.dumps(variables)],
        check=False, cwd=ANSIBLE, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert refusal in done.stdout
