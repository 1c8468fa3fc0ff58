"""The command line: its help, its exit codes, and what reaches the Traptor."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from traptor import __version__, cli, settings
from traptor.exits import Exit
from traptor.traptor import Traptor

APIKEYS = dict.fromkeys(settings.APIKEY_NAMES, "k3y")
COMMANDS = [(), *[(name,) for name in cli.SUBCOMMANDS]]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in settings.known():
        monkeypatch.delenv(one.name, raising=False)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """The command as from a shell; gives the exit code."""

    def called(*arguments: str) -> object:
        monkeypatch.setattr(sys, "argv", ["traptor", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0

    return called


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each Traptor would have been run with."""
    seen: list[dict[str, Any]] = []

    def run(self: Traptor, **wanted: Any) -> None:
        seen.append({"test": self.test, "settings": self.settings, **wanted})

    for name, value in APIKEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Traptor, "run", run)
    return seen


def test_the_exit_codes_have_names() -> None:
    assert (Exit.ENDED, Exit.WRONG_SETTING, Exit.REFUSED) == (0, 2, 3)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_has_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli.command, [*path, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_the_help_has_every_flag_examples_and_exit_codes() -> None:
    shown = " ".join(CliRunner().invoke(cli.command, ["-h"]).output.split())
    for word in (
        "--test, --stdout", "--demo", "--type [track|follow|locations]", "--id", "--limit", "--delay", "--loglevel",
        "--info", "--debug", "traptor --demo --test", "traptor --test | jq .", "0 ended as asked", "3 Twitter refused",
    ):  # fmt: skip
        assert word in shown


@pytest.mark.parametrize(
    "known,expected",
    [("", "127.0.0.1,localhost,::1"), ("intranet", "intranet,127.0.0.1,localhost,::1"), ("*", "*")],
)
def test_this_machine_is_reached_without_a_proxy(
    known: str, expected: str, monkeypatch: pytest.MonkeyPatch, call: Callable[..., object]
) -> None:
    monkeypatch.setenv("NO_PROXY", known)
    monkeypatch.setenv("no_proxy", known)
    call("--version")
    assert os.environ["no_proxy"] == expected


def test_what_a_command_writes_is_its_owner_s_alone(tmp_path: Path, call: Callable[..., object]) -> None:
    call("--version")
    (tmp_path / "page.html").touch()
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600


def test_the_version() -> None:
    assert CliRunner().invoke(cli.command, ["--version"]).output == f"traptor, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments,expected",
    [
        ([], {"test": False, "tweet_limit": None, "delay": 1.0}),
        (["--test"], {"test": True}),
        (["--stdout"], {"test": True}),
        (["--limit", "7"], {"tweet_limit": 7}),
        (["--delay", "0.5"], {"delay": 0.5}),
        (["--type", "follow", "--id", "3"], {"TRAPTOR_TYPE": "follow", "TRAPTOR_ID": 3}),
        (["--info"], {"LOG_LEVEL": "INFO"}),
        (["--debug"], {"LOG_LEVEL": "DEBUG"}),
        (["--loglevel", "error"], {"LOG_LEVEL": "ERROR"}),
    ],
)
def test_flags_reach_the_traptor(
    arguments: list[str], expected: dict[str, Any], runs: list[dict[str, Any]], call: Callable[..., object]
) -> None:
    assert call(*arguments) == Exit.ENDED
    (run,) = runs
    seen = {name: run[name] if name in run else getattr(run["settings"], name) for name in expected}
    assert seen == expected


def test_the_command_line_wins_over_the_environment(
    runs: list[dict[str, Any]], call: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAPTOR_TYPE", "locations")
    monkeypatch.setenv("TRAPTOR_ID", "5")
    call("--type", "follow")
    assert (runs[0]["settings"].TRAPTOR_TYPE, runs[0]["settings"].TRAPTOR_ID) == ("follow", 5)


def test_the_end_is_told_in_one_line(
    runs: list[dict[str, Any]], call: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    call("--test")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "traptor: received 0, matched 0, delivered 0\n")


@pytest.mark.parametrize(
    "arguments,environ,told",
    [
        ([], {}, "CONSUMER_KEY, CONSUMER_SECRET, ACCESS_TOKEN, ACCESS_TOKEN_SECRET: not set"),
        ([], {**APIKEYS, "ACCESS_TOKEN": ""}, "ACCESS_TOKEN: not set; allowed is"),
        ([], {**APIKEYS, "TRAPTOR_ID": "x"}, "TRAPTOR_ID: 'x' is not allowed; allowed is a whole number from 0"),
        ([], {**APIKEYS, "CONSUMER_KEY_FILE": "/none"}, "CONSUMER_KEY and CONSUMER_KEY_FILE are both set"),
        (["--loglevel", "LOUD"], APIKEYS, "LOG_LEVEL: 'LOUD' is not allowed; allowed is DEBUG, INFO"),
        (["--type", "geo"], APIKEYS, "Invalid value for '--type'"),
        (["--limit", "0"], APIKEYS, "Invalid value for '--limit'"),
        (["--nonsense"], APIKEYS, "No such option"),
        (["nonsense"], APIKEYS, "No such command"),
    ],
)
def test_wrong_usage_and_settings_exit_with_2(
    arguments: list[str],
    environ: dict[str, str],
    told: str,
    call: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.MonkeyPatch.context() as shell:
        for name, value in environ.items():
            shell.setenv(name, value)
        assert call(*arguments) == Exit.WRONG_SETTING
    shown = capsys.readouterr()
    assert shown.out == ""
    assert told in shown.err
    assert "Traceback" not in shown.err


def test_an_unknown_kafka_option_exits_with_2(
    call: Callable[..., object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**APIKEYS, "KAFKA_OPTIONS": '{"compresion_type": "lz4"}', "LOG_DIR": "logs"}.items():
        monkeypatch.setenv(name, value)
    assert call() == Exit.WRONG_SETTING
    assert "KAFKA_OPTIONS: compresion_type is not allowed" in capsys.readouterr().err


def test_the_module_and_the_help_start_without_what_only_running_needs() -> None:
    code = "import sys, traptor.cli; print(sorted({'kafka', 'fakeredis', 'raven'} & set(sys.modules)))"
    repository = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository, env=os.environ
    )
    assert done.stdout == "[]\n"


def test_a_working_directory_that_cannot_be_looked_into_has_no_localsettings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert settings.local_settings() == {}


@pytest.mark.parametrize("path", [(), ("rules",), ("spool",), ("store", "apart")], ids=" ".join)
def test_the_summaries_of_commands_end_in_whole_sentences(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli.command, [*path, "--help"]).output.partition("Commands:\n")[2]
    assert "..." not in shown.partition("\n\n")[0]


def test_what_nobody_types_stands_in_no_help() -> None:
    shown = CliRunner().invoke(cli.command, ["store", "--help"]).output
    assert shown.splitlines()[0].endswith(" store [OPTIONS] DESTINATION [-]")


def test_the_rules_of_a_server_are_asked_for_with_keys_alone(
    call: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("rules", "server") == Exit.WRONG_SETTING
    assert capsys.readouterr().err.startswith("traptor: CONSUMER_KEY, CONSUMER_SECRET: not set; ")


def test_a_server_that_cannot_be_reached_is_told_in_words(
    call: Callable[..., object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEARER_TOKEN", "t0k3n-of-an-app")
    monkeypatch.setenv("TWITTER_API_URL", "http://127.0.0.1:1")
    assert call("rules", "server") == 1
    assert capsys.readouterr().err == "Error: Twitter cannot be asked: 127.0.0.1: Connection refused\n"


def test_a_wrong_setting_is_all_that_is_told(
    call: Callable[..., object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**APIKEYS, "USE_SENTRY": "yes", "LOG_DIR": "none"}.items():
        monkeypatch.setenv(name, value)
    assert call("--test") == Exit.WRONG_SETTING
    assert "received" not in capsys.readouterr().err


def test_a_look_sends_nothing_to_kafka(call: Callable[..., object], runs: list[dict[str, Any]]) -> None:
    assert call("--look", "--limit", "3") == Exit.ENDED
    assert [(one["test"], one["tweet_limit"]) for one in runs] == [(True, 3)]


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_number_that_nobody_can_count_to_is_refused(number: str) -> None:
    """`--every nan` would have loaded again without a pause."""
    result = CliRunner().invoke(cli.command, ["--delay", number])
    assert (result.exit_code, "can be counted to" in result.output) == (2, True)


def test_a_subcommand_that_is_nearly_one_is_told() -> None:
    assert "Did you mean 'rules'?" in CliRunner().invoke(cli.command, ["rule"]).output
