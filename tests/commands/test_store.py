from pathlib import Path

import pytest
from click.testing import CliRunner

from traptor.cli import command


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["export", "tweet.db"], "there is no file tweet.db"),
        (["store", "check", "tweet.db"], "there is no file tweet.db"),
        (["store", "apart", "nowhere/tweet.db", "list"], "there is no file nowhere/tweet.db"),
        (["store", "--keep", "soon", "tweets.db"], "'soon' is no age"),
        (["report", "tweets.csv", "page.html"], "tweets.csv is no destination"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, told in done.stderr, done.stdout) == (2, True, ""), done.stderr
    assert list(tmp_path.iterdir()) == []
