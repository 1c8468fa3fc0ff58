"""An inventory of our own and Ansible's answers to it."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.deploy.hosts import BOOKWORM, CONTROL, ROOT, TRIXIE
from traptor.simulator import Credential

ANSIBLE = ROOT / "ansible"
PASSWORD = "a pass/word: with 'everything'"
ADDRESSES = {"store": "192.0.2.10", "spare": "192.0.2.11", "node-a": "192.0.2.21", "node-b": "192.0.2.22"}
DEBIAN = {"store": TRIXIE, "spare": BOOKWORM, "node-a": TRIXIE, "node-b": BOOKWORM}
SERVERS = ("store", "spare")
KEYS = [Credential(f"key-{n}", f"secret-{n}-of-the-key", f"token-{n}", f"secret-{n}-of-the-token") for n in range(5)]
SECRETS = [PASSWORD, *(secret for key in KEYS for secret in (key.consumer_secret, key.access_token_secret))]
SIMULATOR_PORT = 8080


class Run(NamedTuple):
    """What a playbook came to: its exit code, what it printed, and by host how many tasks changed something."""

    code: int
    output: str
    changed: dict[str, int]


class Fleet:
    """Redis and Kafka with TLS and passwords on ``store``, which is used, and ``spare``; two nodes for the Traptors."""

    def __init__(self, folder: Path, kafka_url: str, kafka_sha256: str) -> None:
        self.folder = folder
        self.said = ""
        """All that Ansible has printed."""
        self._kafka = {"kafka_url": kafka_url, "kafka_sha256": kafka_sha256}
        self._make_keys()

    def _make_keys(self) -> None:
        """For ssh, and for TLS: an authority and what it signs for both servers."""
        self._shell("ssh-keygen -q -t ed25519 -N '' -f ssh")
        new = "openssl req -newkey rsa:2048 -nodes -x509 -days 2 -batch"
        self._shell(f"{new} -subj /CN=authority -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.crt")
        signed = "-CA ca.crt -CAkey ca.key -addext subjectAltName=DNS:store,DNS:spare -addext basicConstraints=CA:FALSE"
        self._shell(f"{new} -subj /CN=store -keyout store.key -out store.crt {signed}")

    def _shell(self, command: str) -> None:
        subprocess.run(command, shell=True, cwd=self.folder, check=True, capture_output=True)

    def redis_url(self, server: str = "store") -> str:
        password = "a%20pass%2Fword%3A%20with%20%27everything%27"
        return f"rediss://traptor:{password}@{server}:6379/0?ssl_ca_certs={self.folder}/ca.crt"

    def kafka_options(self, server: str = "store") -> dict[str, str]:
        return {
            "bootstrap_servers": f"{server}:9092",
            "security_protocol": "SASL_SSL",
            "ssl_cafile": f"{self.folder}/ca.crt",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "traptor",
            "sasl_plain_password": PASSWORD,
        }

    def write_inventory(
        self,
        groups: Mapping[str, Sequence[str]],
        keys: Sequence[Credential],
        servers: Sequence[str] = ("store",),
        **settings: object,
    ) -> None:
        """``groups`` are those of nodes, without their prefix ``traptor-`` and suffix ``-nodes``."""
        lines = [f"{name} ansible_host={address}" for name, address in ADDRESSES.items()]
        lines += ["[traptor-redis]", *servers, "[traptor-kafka]", *servers, "[traptor-nodes:children]"]
        lines += [f"traptor-{kind}-nodes" for kind in ("follow", "track", "location")]
        for kind in ("follow", "track", "location", "retired"):
            lines += [f"[traptor-{kind}-nodes]", *groups.get(kind, ())]
        (self.folder / "hosts.ini").write_text("\n".join(lines) + "\n")
        files = {name: str(self.folder / name) for name in ("ca.crt", "store.crt", "store.key")}
        self._write_variables(
            "all",
            redis_bind="{{ ansible_host }}",
            redis_password=PASSWORD,
            redis_tls_certificate=files["store.crt"],
            redis_tls_key=files["store.key"],
            kafka_bind="{{ ansible_host }}",
            kafka_password=PASSWORD,
            kafka_tls_certificate=files["store.crt"],
            kafka_tls_key=files["store.key"],
            kafka_heap="384m",
            traptor_ca=files["ca.crt"],
            traptor_version="7.0",
            traptor_wheel=f"{ROOT}/.deploy/dist/traptor-{{{{ traptor_version }}}}-py3-none-any.whl",
            **self._kafka,
        )
        self._write_variables(
            "traptor-nodes",
            traptor_kafka_topic="my_traptor",
            traptor_settings={
                "TWITTER_STREAM_URL": f"http://{CONTROL}:{SIMULATOR_PORT}",
                "RULE_CHECK_INTERVAL": 1,
                **settings,
            },
            apikeys=[key._asdict() for key in keys],
        )

    def _write_variables(self, group: str, **variables: object) -> None:
        path = self.folder / "group_vars" / f"{group}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(variables))

    def play(self, playbook: str, *arguments: str) -> Run:
        environment = {
            "PATH": f"{ROOT}/.deploy/ansible/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_REMOTE_USER": "root",
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.folder / "ssh"),
            "ANSIBLE_HOST_KEY_CHECKING": "false",
        }
        done = subprocess.run(
            ["ansible-playbook", "--diff", "-i", str(self.folder / "hosts.ini"), playbook, *arguments],
            check=False, cwd=ANSIBLE, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.said += done.stdout
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", done.stdout, re.MULTILINE)
        return Run(done.returncode, done.stdout, {host: int(changed) for host, changed in recap})
