"""Tweets out of a database, for people: spreadsheets, R, pandas, and ids to share."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO

from traptor.printable import in_json

IDS = frozenset({
    "id", "user_id", "in_reply_to_status_id", "in_reply_to_user_id", "retweeted_id", "retweeted_user_id", "quoted_id",
    "quoted_user_id",
})  # fmt: skip
"""Columns of 64-bit ids, which spreadsheets and JavaScript round."""
COUNTS = frozenset({"followers_count", "retweet_count", "favorite_count"})
NUMBERS = frozenset({"longitude", "latitude"})
CHUNK = 10_000
"""Rows of a group of Parquet."""
BOM = "\ufeff"
"""By it a spreadsheet knows UTF-8."""

Row = Mapping[str, Any]


def ids(rows: Iterable[Row], out: BinaryIO) -> int:
    """One id a line: what may be shared of tweets. Returns how many."""
    return _lines((str(row["id"]) for row in rows), out)


def jsonl(rows: Iterable[Row], out: BinaryIO) -> int:
    """One JSON object a line, ids as texts."""
    return _lines((in_json(json.dumps(_texts(row), ensure_ascii=False)) for row in rows), out)


def _texts(row: Row) -> dict[str, Any]:
    return {
        name: str(value) if name in IDS and value is not None else _iso(value) if name == "created_at" else value
        for name, value in row.items()
    }


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _lines(lines: Iterable[str], out: BinaryIO) -> int:
    count = 0
    for line in lines:
        out.write(f"{line}\n".encode())
        count += 1
    return count


def comma_separated(rows: Iterable[Row], out: BinaryIO) -> int:
    """With a heading, as a spreadsheet opens it: ids stay texts, and no text is run as a formula.

    Every text is in quotes: one with a tab or a semicolon would else fall into two cells, which some split at these.
    """
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    text.write(BOM)
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    count = 0
    for count, row in enumerate(rows, start=1):
        if count == 1:
            writer.writerow(row)
        writer.writerow([_cell(name, value) for name, value in row.items()])
    text.detach()
    return count


def _cell(name: str, value: Any) -> Any:
    """A tab makes a text of digits, and programs that read numbers skip it; an apostrophe one of a formula."""
    if value is None:
        return ""
    if name in IDS:
        return f"\t{value}"
    value = _iso(value)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return value


def parquet(rows: Iterable[Row], out: BinaryIO) -> int:
    """Typed columns. Raises ImportError without pyarrow."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    waiting = iter(rows)
    count, writer = 0, None
    while chunk := [dict(row) for row in islice(waiting, CHUNK)]:
        for row in chunk:
            row["created_at"] = _time(row["created_at"])
            row["possibly_sensitive"] = None if row["possibly_sensitive"] is None else bool(row["possibly_sensitive"])
        schema = pyarrow.schema([(name, _type(pyarrow, name)) for name in chunk[0]])
        writer = writer or ParquetWriter(out, schema, compression="zstd")
        writer.write_table(pyarrow.Table.from_pylist(chunk, schema=schema))
        count += len(chunk)
    if writer:
        writer.close()
    return count


def _time(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _type(pyarrow: Any, name: str) -> Any:
    if name in IDS or name in COUNTS:
        return pyarrow.int64()
    if name in NUMBERS:
        return pyarrow.float64()
    special = {"created_at": pyarrow.timestamp("s", tz="UTC"), "possibly_sensitive": pyarrow.bool_()}
    return special.get(name, pyarrow.string())


FORMATS: dict[str, Callable[[Iterator[Row], BinaryIO], int]] = {
    "csv": comma_separated, "jsonl": jsonl, "parquet": parquet, "ids": ids,
}  # fmt: skip
