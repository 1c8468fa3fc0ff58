"""Files in which a person wants a result, a page or an export: they take the place of their own kind alone."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import click

PAGE = b"<!doctype html"
DATABASE = b"SQLite format 3\0"


def writable(context: click.Context, option: click.Parameter, file: Path | None) -> Path | None:
    """A file that can be written later: hours of work may come before that."""
    if file and not os.access(file.parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"{file} cannot be written: {file.parent} is no folder that we may write into")
    return file


def page(context: click.Context, option: click.Parameter, file: Path | None) -> Path | None:
    """A file for a page: a new one, or one that holds a page already. Tweets, say, are not written over."""
    if file and writable(context, option, file):
        allowed = (
            f"a new file, or an earlier page. A page of the tweets in it: traptor replay --report page.html {file}"
        )
        _spare(str(file), lambda begin: PAGE.startswith(begin.lower()[: len(PAGE)]), f"no page; allowed is {allowed}")
    return file


def export(context: click.Context, option: click.Parameter, out: BinaryIO) -> BinaryIO:
    """A file for an export: any that is no database."""
    _spare(out.name, lambda begin: begin != DATABASE, "a database; allowed is another file")
    return out


def _spare(path: str, may_go: Callable[[bytes], bool], what: str) -> None:
    """Raises click.BadParameter for what may not go, by its beginning. A pipe is not looked into: that would wait."""
    if not os.path.isfile(path):
        return
    with contextlib.suppress(PermissionError), open(path, "rb") as held:
        if not may_go(held.read(len(DATABASE))):
            raise click.BadParameter(f"{path} is not written over: it is {what}")
