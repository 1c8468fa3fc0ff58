"""What commands share: how what is typed is told apart, and how they show what strangers wrote."""

import io
import json
import os
import sys

import click
import pytest
from click.testing import CliRunner
from kafka.errors import KafkaTimeoutError

from traptor import redaction
from traptor.commands import console
from traptor.commands.console import Command


@click.command(cls=Command)
@click.argument("values", nargs=-1)
@click.option("--tag")
@click.option("--id", "number", type=int)
@click.option("--dry-run", is_flag=True)
def command(**found: object) -> None:
    click.echo(json.dumps(found))


@pytest.mark.parametrize(
    "typed,values,tag,number,is_dry",
    [
        (["locations", "-122.75,36.8,-121.75,37.8"], ("locations", "-122.75,36.8,-121.75,37.8"), None, None, False),
        (["--tag", "x", "-1", "--id", "3", "2"], ("-1", "2"), "x", 3, False),
        (["--dry-run", "a", "-74,40,-73,41"], ("a", "-74,40,-73,41"), None, None, True),
        (["a", "-74,40,-73,41", "--tag=-x", "--dry-run"], ("a", "-74,40,-73,41"), "-x", None, True),
        (["--tag", "-x", "-storm ahead"], ("-storm ahead",), "-x", None, False),
        (["-", "-.5"], ("-", "-.5"), None, None, False),
        (["--id", "-3", "-h-"], ("-h-",), None, -3, False),
        (["a", "--", "--tag", "-1"], ("a", "--tag", "-1"), None, None, False),
    ],
)
def test_a_value_may_begin_with_a_minus(
    typed: list[str], values: tuple[str, ...], tag: str | None, number: int | None, is_dry: bool
) -> None:
    found = json.loads(CliRunner().invoke(command, typed).output)
    assert found == {"values": list(values), "tag": tag, "number": number, "dry_run": is_dry}


@pytest.mark.parametrize(
    "typed,told", [(["--tga", "x"], "--tga"), (["-tag", "x"], "-t"), (["x", "--tag"], "--tag"), (["--id", "-x"], "-x")]
)
def test_an_option_that_is_none_is_told(typed: list[str], told: str) -> None:
    result = CliRunner().invoke(command, typed)
    assert (result.exit_code, told in result.output) == (2, True)


def test_help_is_help() -> None:
    assert "Usage" in CliRunner().invoke(command, ["-1", "--help"]).output


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_is_the_same_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written := io.BytesIO(), encoding=encoding))
    console.say_json_list(iter([{"value": "→ é ☕😀"}]))
    sys.stdout.flush()
    assert json.loads(written.getvalue().decode(encoding)) == [{"value": "→ é ☕😀"}]


@pytest.mark.parametrize("text", ["störm ☕", os.fsencode("störm ☕").decode("ascii", "surrogateescape"), None])
def test_what_is_typed_is_utf_8_in_every_locale(text: str | None) -> None:
    assert console.typed(click.Context(command), command.params[0], text) == (text and "störm ☕")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out,shown", [(Terminal(), "a,\\x1b]0;x\nb\n"), (io.StringIO(), "a,\x1b]0;x\nb\n")])
def test_csv_acts_on_no_terminal_and_is_whole_for_a_program(
    out: io.StringIO, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", out)
    console.say_csv("a,\x1b]0;x\nb\n")
    assert out.getvalue() == shown


@pytest.mark.parametrize("password", ["hunter/secret", "hunter?secret", "hunter#secret"])
def test_a_password_that_fits_no_url_is_refused_and_not_shown(
    password: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(click.ClickException, match="fits no URL"):
        console.look_out_for_password(f"mysql://reader:{password}@localhost/db", "MYSQL_PASSWORD")
    assert redaction.redact(f"no port: {password}") == "no port: ***"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("url", ["rules.csv", "mysql://reader@localhost/db", "sqlite:tweets.db", "-"])
def test_where_no_password_is_typed_none_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.look_out_for_password(url, "MYSQL_PASSWORD")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error,told",
    [
        (KafkaTimeoutError("no broker"), "Kafka cannot be read: KafkaTimeoutError: no broker; start it"),
        (OSError(111, "Connection refused"), "Kafka cannot be read: ConnectionRefusedError: [Errno 111] Connection"),
    ],
)
def test_an_error_of_kafka_s_is_named_once_with_what_to_do(error: Exception, told: str) -> None:
    message = console.kafka_fails(error).message
    assert message.startswith(told)
    assert "KAFKA_HOSTS" in message
