"""What the role of the store writes for supervisor, and which destinations it takes."""

import configparser
import json
import subprocess
from pathlib import Path

import pytest

from tests.deploy.hosts import ROOT

ANSIBLE = ROOT / ".deploy/ansible/bin/ansible"
ROLE = ROOT / "ansible/roles/traptor_store"


def ansible(folder: Path, module: str, arguments: str, **variables: object) -> "subprocess.CompletedProcess[str]":
    """One module on this machine, with the role's defaults."""
    command = [ANSIBLE, "localhost", "--connection", "local", "--module-name", module, "--args", arguments,
               "--extra-vars", f"@{ROLE}/defaults/main.yml", "--extra-vars", json.dumps(variables)]  # fmt: skip
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "variables, command, start",
    [
        ({"traptor_store_destination": "postgresql://u@h/d"}, "store postgresql://u@h/d", "0"),
        ({"traptor_store_destination": "postgresql://u@h/d%20b", "traptor_store_options": "--keep 90d",
          "traptor_store_metrics_port": 9200},
         "store --metrics-port %(process_num)d --keep 90d postgresql://u@h/d%%20b", "9200"),
    ],
)  # fmt: skip
def test_the_program(tmp_path: Path, variables: dict[str, object], command: str, start: str) -> None:
    path = tmp_path / "traptor-store.conf"
    done = ansible(tmp_path, "template", f"src={ROLE}/templates/traptor-store.conf.j2 dest={path}", **variables)
    assert done.returncode == 0, done
    written, shipped = (configparser.RawConfigParser(inline_comment_prefixes=(";",)) for _ in range(2))
    written.read(path)
    shipped.read(ROOT / "supervisor/traptor-store.conf")
    one, other = dict(written["program:traptor-store"]), dict(shipped["program:traptor-store"])
    assert one["command"] == f"/usr/local/bin/traptor-run {command}"
    assert one["numprocs_start"] == start
    same = other.keys() - {"command", "environment", "stdout_logfile"}
    assert {name: one[name] for name in same} == {name: other[name] for name in same}


@pytest.mark.parametrize(
    "destination, is_taken",
    [
        ("postgresql://traptor@db/tweets", True),
        ("opensearch+https://traptor@search:9200/tweets", True),
        ("/var/lib/traptor/tweets.db", True),
        ("", False),
        ("mysql://traptor@db/tweets", False),
        ("postgresql://traptor:secret@db/tweets", False),
    ],
)
def test_where_tweets_may_go(tmp_path: Path, destination: str, is_taken: bool) -> None:
    arguments = "name={{ role }} tasks_from=check"
    done = ansible(tmp_path, "include_role", arguments, role=str(ROLE), traptor_store_destination=destination)
    assert (done.returncode == 0) == is_taken, done
    assert is_taken or "the password is traptor_store_password" in done.stdout
