"""What is made of an inventory's variables, before a host is asked anything."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.hosts import ROOT

ANSIBLE = ROOT / "ansible"
KEYS = [
    {part: f"{part}-{n}" for part in ("consumer_key", "consumer_secret", "access_token", "access_token_secret")}
    for n in range(3)
]
OURS = {"apikeys": KEYS, "redis_password": "one of ours", "kafka_password": "another"}
TLS = {
    "redis_tls_certificate": "store.crt",
    "redis_tls_key": "store.key",
    "kafka_tls_certificate": "store.crt",
    "kafka_tls_key": "store.key",
}


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
    code, output = play("check.yml", inventory, variables)
    assert code != 0
    assert refusal in output


@pytest.mark.parametrize(
    "variables, redis_url, kafka_options",
    [
        ({}, "redis://traptor:one%20of%20ours@store:6379/0", {"security_protocol": "SASL_PLAINTEXT"}),
        (
            {**TLS, "traptor_ca": "ca.crt"},
            "rediss://traptor:one%20of%20ours@store:6379/0?ssl_ca_certs=/etc/traptor/ca.crt",
            {"security_protocol": "SASL_SSL", "ssl_cafile": "/etc/traptor/ca.crt"},
        ),
        (TLS, "rediss://traptor:one%20of%20ours@store:6379/0", {"security_protocol": "SASL_SSL"}),
    ],
)
def test_how_servers_are_reached(
    variables: dict[str, object], redis_url: str, kafka_options: dict[str, str], tmp_path: Path
) -> None:
    told = {"redis": "{{ traptor_redis_url }}", "kafka": "{{ traptor_kafka_options }}"}
    shown = show(told, {**OURS, **variables}, tmp_path)
    login = {"sasl_mechanism": "PLAIN", "sasl_plain_username": "traptor", "sasl_plain_password": "another"}
    assert shown == {"redis": redis_url, "kafka": {**login, **kafka_options}}


@pytest.mark.parametrize("settings, wait_seconds", [({}, 15), ({"STOP_TIMEOUT": 20}, 27), ({"STOP_TIMEOUT": "0.5"}, 8)])
def test_supervisor_gives_a_stop_its_time(settings: dict[str, object], wait_seconds: int, tmp_path: Path) -> None:
    template = ANSIBLE / "roles/traptor/templates/traptor.conf.j2"
    variables = {
        "traptor_here": [{"type": "track", "id": 0}],
        "traptor_rebalances": False,
        "traptor_settings": settings,
    }
    shown = show(f"{{{{ lookup('ansible.builtin.template', '{template}') }}}}", variables, tmp_path)
    assert f"stopwaitsecs={wait_seconds}\n" in shown


def show(text: object, variables: dict[str, object], folder: Path) -> Any:
    """``text`` with the roles' defaults and these variables filled in."""
    defaults = [str(ANSIBLE / f"roles/{role}/defaults/main.yml") for role in ("redis", "kafka", "traptor")]
    tasks = [{"ansible.builtin.debug": {"msg": text}}]
    one = {"hosts": "store", "gather_facts": False, "vars_files": defaults, "tasks": tasks}
    (folder / "show.yml").write_text(json.dumps([one]))
    _, output = play(folder / "show.yml", ANSIBLE / "inventories/example", variables)
    return json.loads(output[output.index("=> ") + 3 : output.index("PLAY RECAP")])["msg"]


def play(playbook: str | Path, inventory: Path, variables: dict[str, object]) -> tuple[int, str]:
    done = subprocess.run(
        [ROOT / ".deploy/ansible/bin/ansible-playbook", "-i", inventory, playbook, "-e", json.dumps(variables)],
        check=False, cwd=ANSIBLE, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout
