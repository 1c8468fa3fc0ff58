"""The tables of the spool: messages that wait and those set apart, their totals, and who is mentioned where."""

import sqlite3

from traptor.delivery.message import ROW_BYTES

TABLES = ("waiting", "apart")
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS {table} (
        id INTEGER PRIMARY KEY AUTOINCREMENT, since REAL NOT NULL, topic TEXT NOT NULL, key BLOB, value BLOB NOT NULL,
        {reason} mentions TEXT NOT NULL DEFAULT '[]')""",
    "CREATE TABLE {table}_total (count INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO {table}_total SELECT COUNT(*), COALESCE(SUM({size}), 0) FROM {table}",
    "CREATE TABLE {table}_mentions (id TEXT, row INTEGER, PRIMARY KEY (id, row)) WITHOUT ROWID",
    """CREATE TRIGGER {table}_in AFTER INSERT ON {table} BEGIN
        UPDATE {table}_total SET count = count + 1, bytes = bytes + {new};
        INSERT INTO {table}_mentions SELECT value, NEW.id FROM json_each(NEW.mentions);
    END""",
    """CREATE TRIGGER {table}_out AFTER DELETE ON {table} BEGIN
        UPDATE {table}_total SET count = count - 1, bytes = bytes - {old};
        DELETE FROM {table}_mentions WHERE row = OLD.id AND id IN (SELECT value FROM json_each(OLD.mentions));
    END""",
    """CREATE TRIGGER {table}_changed AFTER UPDATE OF value ON {table} BEGIN
        UPDATE {table}_total SET bytes = bytes + {new} - {old};
    END""",
)
"""SQLite itself keeps the totals, and who is mentioned where, whoever writes: nothing is ever counted or searched."""
_SIZE = f"(LENGTH({{0}}value) + COALESCE(LENGTH({{0}}key), 0) + {ROW_BYTES})"
_VERSION = 1


def prepare(db: sqlite3.Connection) -> None:
    """Make what is not there yet, as in a new file, or in one of an earlier version of Traptor."""
    if db.execute("PRAGMA user_version").fetchone() == (_VERSION,):
        return
    for table in TABLES:
        names = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
        if names and "mentions" not in names:
            db.execute(f"ALTER TABLE {table} ADD COLUMN mentions TEXT NOT NULL DEFAULT '[]'")
        for statement in _SCHEMA:
            reason = "reason TEXT NOT NULL," if table == "apart" else ""
            sizes = {"size": _SIZE.format(""), "new": _SIZE.format("NEW."), "old": _SIZE.format("OLD.")}
            db.execute(statement.format(table=table, reason=reason, **sizes))
    db.execute(f"PRAGMA user_version = {_VERSION}")


def totals(db: sqlite3.Connection) -> tuple[int, int, int, int]:
    """Messages that wait, those set apart, bytes of both, and the youngest row."""
    if db.execute("PRAGMA user_version").fetchone() == (_VERSION,):
        sums = [db.execute(f"SELECT count, bytes FROM {table}_total").fetchone() for table in TABLES]
    else:
        counted = f"SELECT COUNT(*), COALESCE(SUM({_SIZE.format('')}), 0) FROM"
        sums = [db.execute(f"{counted} {table}").fetchone() for table in TABLES]
    (waiting, waiting_bytes), (apart, apart_bytes) = sums
    (last_row,) = db.execute("SELECT COALESCE(MAX(id), 0) FROM waiting").fetchone()
    return waiting, apart, waiting_bytes + apart_bytes, last_row
