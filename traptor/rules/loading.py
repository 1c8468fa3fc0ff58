"""Rules from elsewhere, made ready: read row by row, cleaned up, checked, one rule for each value."""

import contextlib
import csv
import hashlib
import io
import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import charset_normalizer

from traptor import keys
from traptor.printable import from_cell, harmless
from traptor.rules import gnip
from traptor.rules.checked import LIMITS, predicates
from traptor.rules.doubts import doubts, without

log = logging.getLogger(__name__)

FORMATS = ("gnip", "jsonl", "csv", "list")
TYPES = {"keyword": "track", "username": "follow", "geo": "locations", **{name: name for name in keys.TYPES}}
"""What a source may call the types; the first three are the words of the original's database."""
CONNECT_TIMEOUT_SECONDS = 10
SILENT_SECONDS = 60
"""Without a word from a database it counts as away."""


class Row(NamedTuple):
    """One rule as its source has it, or what is wrong with the row. ``given`` is the value where it was translated."""

    place: str
    fields: Mapping[str, Any]
    problem: str = ""
    given: str = ""


class Remark(NamedTuple):
    """Why a row is left out, or what was changed in it."""

    place: str
    value: str
    text: str
    rule_id: str = ""


class Loaded(NamedTuple):
    """Rules by type, ready for Redis, and what is to be said of their source."""

    rules: dict[str, list[dict[str, str]]]
    problems: list[Remark]
    notes: list[Remark]


class SourceError(Exception):
    """A source cannot be read; says which, and why."""


# From the source to rows


def rows(source: str, source_format: str | None = None, *, query: str = "", password: str = "") -> Iterator[Row]:
    """The rows of a file, of standard input (``-``), or of a database (``mysql://user@host/db``).

    Without a format it is told by the name and the content. Raises SourceError, from the first row on.
    """
    if source.startswith("mysql://"):
        yield from _mysql_rows(source, query, password)
        return
    if found := re.match(r"\w+://", source):
        raise SourceError(_NO_SOURCE.format(found[0].removesuffix("://")))
    text = _text(source)
    readers = {"gnip": _gnip_rows, "jsonl": _json_lines, "csv": _csv_rows, "list": _list_rows}
    yield from readers[source_format or _format(source, text)](_name(source), text)


OF_SPREADSHEETS = [
    *("utf_16", "utf_16_le", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("cp932", "cp936", "cp949", "cp950"),
]
_NO_SOURCE = (
    "{}://… cannot be asked; allowed is a file, - for standard input, or mysql://user@host/db. Of another database pipe"
    " the rules in as CSV, with a header: psql -c 'copy (select value, tag, type from rules) to stdout csv header', or"
    " sqlite3 -csv -header FILE 'select …', before | traptor rules load -"
)


def _text(source: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise SourceError(f"{_name(source)} cannot be read: {error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _in_another_encoding(_name(source), data, error)


def _in_another_encoding(name: str, data: bytes, error: UnicodeDecodeError) -> str:
    """As spreadsheets write it: UTF-16, or the code page of their country. Raises SourceError."""
    best = charset_normalizer.from_bytes(data, cp_isolation=OF_SPREADSHEETS).best()
    if best is None or "\0" in str(best):
        raise SourceError(f"{name} cannot be read: {error}")
    encoding = "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding
    log.warning(f"{harmless(name)} is not UTF-8 and is read as {encoding}: see whether the rules are right")
    return data.decode(encoding).removeprefix("\ufeff")


def _name(source: str) -> str:
    return "standard input" if source == "-" else Path(source).name


def _format(source: str, text: str) -> str:
    if source.lower().endswith(".csv"):
        return "csv"
    # Told by how it begins, so that a damaged one is not taken for lines.
    if re.match(r'\s*\{\s*"rules"\s*:\s*\[', text):
        return "gnip"
    with contextlib.suppress(ValueError, RecursionError):
        if '"rules"' in text and "rules" in json.loads(text):
            return "gnip"
    if source.lower().endswith((".json", ".jsonl", ".ndjson")) or text.lstrip().startswith(("{", "[")):
        return "jsonl"
    header = re.split("[,;\t]", text.partition("\n")[0].lower())
    return "csv" if "value" in {column.strip(' "\r') for column in header} else "list"


def _gnip_rows(name: str, text: str) -> Iterator[Row]:
    try:
        ruleset = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name} is not JSON: {error}") from None
    if not isinstance(ruleset, dict) or not isinstance(ruleset.get("rules"), list):
        raise SourceError(f'{name} is no GNIP ruleset; allowed is {{"rules": [{{"value": …, "tag": …}}]}}')
    for number, given, found in gnip.rules(ruleset["rules"]):
        place = f"{name}, rule {number}"
        if isinstance(found, gnip.Untranslatable):
            yield Row(place, {"value": given, "rule_id": found.rule_id}, str(found))
        else:
            yield Row(place, found, given=given)


def _json_lines(name: str, text: str) -> Iterator[Row]:
    if text.lstrip().startswith("["):
        yield from _json_array(name, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(place, {"value": line.strip()}, f"is not JSON: {error}")
            continue
        if isinstance(fields, dict):
            yield Row(place, fields)
        else:
            yield Row(place, {"value": line.strip()}, "is not a JSON object")


def _json_array(name: str, text: str) -> Iterator[Row]:
    """Of objects, or of values."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name} is not JSON: {error}") from None
    for number, one in enumerate(found, start=1):
        place = f"{name}, rule {number}"
        if isinstance(one, dict):
            yield Row(place, one)
        elif isinstance(one, str | int) and not isinstance(one, bool):
            yield Row(place, {"value": one})
        else:
            yield Row(place, {"value": json.dumps(one)}, "is no rule, but a list, a number with a point, or nothing")


def _csv_rows(name: str, text: str) -> Iterator[Row]:
    # Spreadsheets write semicolons or tabs where the comma is the decimal point.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip().lower() for column in table.fieldnames or ()]
        if "value" not in header:
            raise SourceError(f"{name} has no column `value`; its first line has to name it, such as value,tag,type")
        table.fieldnames = header
        for fields in table:
            place = f"{name}, line {table.line_num}"
            if None in fields:
                yield Row(place, fields, "has more fields than the header has columns")
            elif any(fields.values()):
                yield Row(place, {name: value and from_cell(value) for name, value in fields.items()})
    except csv.Error as error:
        raise SourceError(f"{name}, line {table.reader.line_num}: {error}") from None


def _list_rows(name: str, text: str) -> Iterator[Row]:
    """A value per line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Row(f"{name}, line {number}", {"value": line.strip()})


def _mysql_rows(url: str, query: str, password: str) -> Iterator[Row]:
    """The query's columns are the fields; a socket may be named: ``mysql://user@localhost/db?unix_socket=/path``."""
    import pymysql  # takes its time, and few need it

    place = "mysql:"
    try:
        parts = urlsplit(url)
        place = f"mysql://{parts.hostname or 'localhost'}{parts.path}"
        conn = pymysql.connect(
            host=parts.hostname or "localhost",
            port=parts.port or 3306,
            user=unquote(parts.username or "") or None,
            password=unquote(parts.password or "") or password,
            database=parts.path.strip("/"),
            unix_socket=dict(parse_qsl(parts.query)).get("unix_socket"),
            charset="utf8mb4",
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=SILENT_SECONDS,
            write_timeout=SILENT_SECONDS,
            cursorclass=pymysql.cursors.SSDictCursor,
        )
        with contextlib.closing(conn), conn.cursor() as cursor:
            cursor.execute(query)
            if "value" not in {column[0].lower() for column in cursor.description or ()}:
                raise SourceError(f"{place} gives no column `value`; RULES_QUERY has to name it")
            for number, fields in enumerate(cursor, start=1):
                yield Row(f"{place}, row {number}", {name.lower(): value for name, value in fields.items()})
    # pymysql raises RuntimeError where a kind of login needs a package that is not installed.
    except (pymysql.MySQLError, ValueError, RuntimeError) as error:
        raise SourceError(f"{place} cannot be read: {error}") from None


# From rows to rules


def load(
    found: Iterable[Row], wanted_type: str | None = None, *, as_is: bool = False, default_type: str | None = None
) -> Loaded:
    """The rules of these rows by type. What Twitter would refuse is a problem; what was cleaned up or merged, a note.

    ``wanted_type`` is the type of rows that name none, and leaves out those of another; ``default_type`` leaves out
    nothing. With ``as_is`` nothing is
    cleaned up. A rule without a rule_id has an empty one.
    """
    loaded = Loaded({}, [], [])
    seen = _Seen(loaded.notes)
    for row in found:
        given = row.given or _as_text(row.fields.get("value"))
        try:
            traptor_type, rule = _rule(row, wanted_type or default_type)
            if wanted_type and traptor_type != wanted_type:
                continue
            if not as_is:
                rule["value"] = CLEAN_UPS[traptor_type](rule["value"])
            check(traptor_type, rule)
            is_new = seen.take(row.place, traptor_type, rule)
        except ValueError as error:
            rule_id = _as_text(row.fields.get("rule_id"))
            loaded.problems.append(Remark(row.place, given, str(error), rule_id))
            continue
        if rule["value"] != given:
            loaded.notes.append(Remark(row.place, given, f"is now {rule['value']!r}"))
        if traptor_type == "track":
            loaded.notes.extend(Remark(row.place, rule["value"], doubt) for doubt in doubts(rule["value"]))
        if is_new:
            loaded.rules.setdefault(traptor_type, []).append(rule)
    return loaded


def _rule(row: Row, usual_type: str | None) -> tuple[str, dict[str, str]]:
    """Type and fields of a row, the fields as text. Raises ValueError."""
    if row.problem:
        raise ValueError(row.problem)
    fields = {name: _as_text(value) for name, value in row.fields.items()}
    for name, value in row.fields.items():
        if isinstance(value, bytes) and "\ufffd" in fields[name]:
            raise ValueError(f"has a {name} that is not UTF-8")
    rule = {"rule_id": "", "value": "", **{sys.intern(name): text for name, text in fields.items() if text}}
    named = rule.pop("type", "").lower() or usual_type
    if not named:
        raise ValueError("has no type: name one with --type")
    if named not in TYPES:
        raise ValueError(f"has the type {named!r}; allowed is {', '.join(TYPES)}")
    return TYPES[named], rule


def _as_text(value: Any) -> str:
    if isinstance(value, str) and value.isascii():  # as nearly all are, and the rest takes four times as long
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    text = json.dumps(value) if isinstance(value, dict | list | bool) else str(value).strip()
    # Half a surrogate pair may stand in JSON, but neither in Redis nor on a terminal.
    return text.encode("utf-8", "replace").decode()


def check(traptor_type: str, rule: Mapping[str, str]) -> None:
    """Raises ValueError for a rule that no connection can ask for."""
    wanted = len(set(predicates(traptor_type, rule)))
    if wanted > LIMITS[traptor_type]:
        raise ValueError(f"asks for {wanted}, and one connection takes {LIMITS[traptor_type]}")


class _Seen:
    """The rules so far, each value once and each rule_id once."""

    def __init__(self, notes: list[Remark]) -> None:
        self._notes = notes
        self._by_value: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
        self._places: dict[tuple[str, str], str] = {}

    def take(self, place: str, traptor_type: str, rule: dict[str, str]) -> bool:
        """Is it a new one? Otherwise only its tag is kept. Raises ValueError for a rule_id that another value has."""
        first_place, first = self._by_value.setdefault((traptor_type, same(rule["value"])), (place, rule))
        if first is not rule:
            self._merge(place, rule, first_place, first)
            return False
        if rule["rule_id"]:
            other = self._places.setdefault((traptor_type, rule["rule_id"]), place)
            if other != place:
                del self._by_value[traptor_type, same(rule["value"])]
                raise ValueError(f"has the rule_id {rule['rule_id']} of {other}")
        return True

    def _merge(self, place: str, rule: dict[str, str], first_place: str, first: dict[str, str]) -> None:
        text = f"is the same as {first_place}"
        tags = [tag for tag in first.get("tag", "").split(",") if tag]
        if (tag := rule.get("tag")) and tag not in tags:
            first["tag"] = ",".join([*tags, tag])
            text += f", whose tag is now {first['tag']!r}"
        kept = {"value", "tag", *(name for name in rule if rule[name] in {"", first.get(name)})}
        if dropped := [f"{name} {rule[name]!r}" for name in rule if name not in kept]:
            text += f"; left out: {', '.join(dropped)}"
        self._notes.append(Remark(place, rule["value"], text))


def same(value: str) -> str:
    """Two values that are the same to Twitter, which ignores case, give one text."""
    return value.strip().lower()


def content_id(value: str) -> str:
    """The rule_id of a rule that was given none: stable, since it is made from the value."""
    return hashlib.sha256(same(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


# Clean-ups, those of the original


def _clean_track(value: str) -> str:
    """``url_contains:`` unwrapped, dots to spaces, since Twitter wants all of a URL or its parts as words, plain commas
    for others, and no quotes.
    """
    bare = re.sub(r'url_contains:\s*"?([^\s",]+)"?', r"\1", value).replace(".", " ").strip()
    if (plain := without(bare)) == bare:
        return bare
    return ",".join(" ".join(phrase.split()) for phrase in plain.split(",")).strip(",")


def _clean_follow(value: str) -> str:
    """The numeric id, also out of ``from:17919972`` or a link to a user; other digits may be anything."""
    found = re.fullmatch(r"from:\s*([0-9]+)|\S+(?:[?&]user_id=|/i/user/)([0-9]+)(?:[?&#/]\S*)?", value)
    return (found[1] or found[2]) if found else value


def _clean_locations(value: str) -> str:
    """Brackets off, and commas between the numbers."""
    return re.sub(r"[\s,]+", ",", value.replace("[", " ").replace("]", " ").strip())


CLEAN_UPS = {"track": _clean_track, "follow": _clean_follow, "locations": _clean_locations}
