"""The README keeps its promises: its table is the settings', its commands and links exist."""

import re
import tomllib
from pathlib import Path

import pytest

from traptor import keys, settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_settings_table_is_generated() -> None:
    between = README.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]
    assert between == settings.markdown_table(), "run python -m traptor.settings"


def test_the_picture_of_the_layers_is_what_lint_checks() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [re.split(r" [|:] ", layer) for layer in contract["layers"] if layer != "__main__"]
    [picture] = re.findall(r"```\n(cli\n.*?)\n```", README, re.DOTALL)
    assert [re.split(r"(?: \||,) ", line) for line in picture.splitlines()] == layers


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"`make ([a-z-]+)", README) + re.findall(r"^make ([a-z-]+)", README, re.M)))
)
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:traptor|tests|docs)/[\w./-]*)`", README))))
def test_named_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "key",
    [
        keys.rule("<type>", "<id>", "<rule_id>"),
        keys.stats("<type>", "<id>", "<rule_id>"),
        *(build("<type>", "<id>") for build in (keys.status, keys.gaps, keys.life, keys.limit, keys.silent)),
        *(build("<credential>") for build in (keys.lease, keys.backoff)),
        keys.posts("<app>", "<month>"),
        keys.homes("<type>"),
        keys.RULES_LOCK,
    ],
)
def test_redis_keys_are_documented(key: str) -> None:
    assert f"`{key}`" in README


def test_sample_of_local_settings_is_readable() -> None:
    sample = settings.load(environ={}, local=_run("localsettings.sample.py"))
    assert sample.KAFKA_TOPIC == "traptor"


def _run(name: str) -> dict[str, object]:
    scope: dict[str, object] = {}
    exec((ROOT / name).read_text(), scope)
    return scope
