"""Apache Kafka's folder, where it is moved or copied."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts import apache_kafka


def test_a_copied_folder_keeps_its_store_where_it_is_now(tmp_path: Path) -> None:
    written = apache_kafka.PROPERTIES.format(
        host="127.0.0.1", folder="/elsewhere", voters="1@127.0.0.1:9093", number=1, port=9092, controller_port=9093
    )
    apache_kafka.properties(tmp_path).write_text(written)
    apache_kafka.take_over(tmp_path)
    assert apache_kafka.properties(tmp_path).read_text() == written.replace("/elsewhere", str(tmp_path))


def test_a_folder_of_jars_alone_is_given_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def formatted(folder: Path, *_: object) -> None:
        apache_kafka.properties(folder).write_text(f"log.dirs={folder}/store\n")

    monkeypatch.setattr(apache_kafka, "format_store", formatted)
    apache_kafka.take_over(tmp_path)
    assert f"log.dirs={tmp_path}/store" in apache_kafka.properties(tmp_path).read_text()


def test_the_number_of_another_process_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apache_kafka, "PID", tmp_path / "pid")
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert not apache_kafka.running()


@pytest.mark.parametrize(
    "error,told",
    [
        (PermissionError(13, "Permission denied", ".kafka/jars"), ".kafka/jars cannot be used: Permission denied; see"),
        (subprocess.CalledProcessError(1, ["mvn", "--quiet"]), "mvn ended with 1"),
    ],
)
def test_what_is_not_allowed_is_one_line(error: Exception, told: str) -> None:
    def action() -> None:
        raise error

    with pytest.raises(SystemExit, match=told):
        apache_kafka.run(action)
