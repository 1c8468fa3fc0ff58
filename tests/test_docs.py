"""README and docs keep their promises: what they list is the code's, and what they name exists.

Links between pages, and their anchors, are followed by `make docs`.
"""

import re
import tomllib
from pathlib import Path

import pytest

from traptor import keys, settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in
         (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))}  # fmt: skip
ALL = "\n".join(PAGES.values())
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "traptor").rglob("*.py")))


def found(pattern: str) -> list[tuple[str, str]]:
    """Where in the pages this is, and what."""
    return sorted({(page, one) for page, text in PAGES.items() for one in re.findall(pattern, text, re.MULTILINE)})


def test_the_settings_table_is_generated() -> None:
    between = PAGES["docs/settings.md"].partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]
    assert between == settings.markdown_table(), "run python -m traptor.settings"


def test_the_picture_of_the_layers_is_what_lint_checks() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [re.split(r" [|:] ", layer) for layer in contract["layers"] if layer != "__main__"]
    [picture] = re.findall(r"```\n(cli\n.*?)\n```", PAGES["docs/tour.md"], re.DOTALL)
    assert [re.split(r"(?: \||,) ", line) for line in picture.splitlines()] == layers


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = found(r"(?:`|^)make ([a-z-]+)")
    assert [one for one in named if not re.search(rf"^{one[1]}:", makefile, re.MULTILINE)] == []


def test_links_and_pictures_lead_somewhere() -> None:
    assert [one for one in found(r"\]\(([\w./-]+)\)") if not (ROOT / one[0]).parent.joinpath(one[1]).exists()] == []


def test_named_files_and_functions_exist() -> None:
    files = found(r"`((?:traptor|tests|docs|bench|scripts|monitoring)/[\w./-]*)`")
    assert [one for one in files if not (ROOT / one[1]).exists()] == []
    functions = found(r"`(?:\w+\.)*(\w+)\(\)`")
    assert [one for one in functions if f"def {one[1]}(" not in SOURCE] == []


def test_the_site_has_every_page() -> None:
    listed = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))


def test_each_picture_is_shown_and_fetches_nothing() -> None:
    pictures = sorted((DOCS / "pictures").iterdir())
    assert [one.name for one in pictures if f"pictures/{one.name})" not in ALL] == []
    fetched = re.compile(r"url\(['\"]?[^#'\"]|href=|src=|@import|<script")
    assert [one.name for one in pictures if one.suffix == ".svg" and fetched.search(one.read_text("utf-8"))] == []


def test_each_log_line_of_troubleshooting_is_the_codes() -> None:
    section = PAGES["docs/troubleshooting.md"].partition("## By log line")[2]
    lines = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    assert len(lines) > 30
    assert [line for line in lines if line not in SOURCE] == []


@pytest.mark.parametrize(
    "key",
    [
        keys.rule("<type>", "<id>", "<rule_id>"),
        keys.stats("<type>", "<id>", "<rule_id>"),
        *(
            build("<type>", "<id>")
            for build in (keys.status, keys.gaps, keys.life, keys.limit, keys.recent, keys.silent)
        ),
        *(build("<credential>") for build in (keys.lease, keys.handover, keys.backoff)),
        keys.posts("<app>", "<month>"),
        keys.homes("<type>"),
        keys.brought("<time>"),
        keys.RULES_LOCK,
    ],
)
def test_redis_keys_are_documented(key: str) -> None:
    assert f"`{key}`" in PAGES["docs/redis-and-kafka.md"]


def test_sample_of_local_settings_is_readable() -> None:
    sample = settings.load(environ={}, local=_run("localsettings.sample.py"))
    assert sample.KAFKA_TOPIC == "traptor"


def _run(name: str) -> dict[str, object]:
    scope: dict[str, object] = {}
    exec((ROOT / name).read_text(), scope)
    return scope
