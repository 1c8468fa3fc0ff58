"""Rules from elsewhere: read, cleaned up, checked, one for each value."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor.rules import loading
from traptor.rules.loading import Loaded, Row, SourceError


def rows(*values: Any, **fields: str) -> list[Row]:
    return [Row(f"line {number}", {"value": value, **fields}) for number, value in enumerate(values, start=1)]


def values(loaded: Loaded, traptor_type: str) -> list[str]:
    return [rule["value"] for rule in loaded.rules.get(traptor_type, [])]


def source(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


GNIP = '{"rules": [{"value": "cat", "tag": "t"}]}'
JSON_LINES = '{"value": "cat", "tag": "t"}\n'
CSV = "value,tag\ncat,t\n"


@pytest.mark.parametrize(
    "name,content,given,place",
    [
        ("rules.json", GNIP, None, "rules.json, rule 1"),
        ("rules", GNIP, None, "rules, rule 1"),
        ("rules.json", '{"sent": 1, "rules": [{"value": "cat", "tag": "t"}]}', None, "rules.json, rule 1"),
        ("rules.jsonl", '{"value": "cat", "tag": "t", "note": "of \\"rules\\""}\n', None, "rules.jsonl, line 1"),
        (
            "rules.jsonl",
            '{"value": "cat", "tag": "t", "note": "rules", "of": ""rules""}\n'.replace('""rules""', '["rules"]'),
            None,
            "rules.jsonl, line 1",
        ),
        ("rules.txt", GNIP, "gnip", "rules.txt, rule 1"),
        ("rules.jsonl", JSON_LINES, None, "rules.jsonl, line 1"),
        ("rules.json", JSON_LINES, None, "rules.json, line 1"),
        ("rules.json", "\n\n" + JSON_LINES, None, "rules.json, line 3"),
        ("rules.CSV", CSV, None, "rules.CSV, line 2"),
        ("rules.csv", "\ufeff" + CSV, None, "rules.csv, line 2"),
        ("rules.csv", " Value ,TAG\r\ncat,t\r\n", None, "rules.csv, line 2"),
        ("rules.csv", "value;tag\ncat;t\n", None, "rules.csv, line 2"),
        ("rules.csv", "value\ttag\ncat\tt\n", None, "rules.csv, line 2"),
        ("rules.txt", CSV, "csv", "rules.txt, line 2"),
        ("rules.csv", JSON_LINES, "jsonl", "rules.csv, line 1"),
    ],
)
def test_the_format_is_told_by_name_and_content(
    tmp_path: Path, name: str, content: str, given: str | None, place: str
) -> None:
    [row] = loading.rows(source(tmp_path, name, content), given)
    assert (row.place, row.fields["value"], row.fields["tag"]) == (place, "cat", "t")


@pytest.mark.parametrize("name, given", [("rules.txt", None), ("rules.TXT", None), ("rules", "list")])
def test_a_list_is_a_value_per_line(tmp_path: Path, name: str, given: str | None) -> None:
    rows = loading.rows(source(tmp_path, name, "cat, dog\r\n\n#rain\n"), given)
    assert [(row.place, row.fields) for row in rows] == [
        (f"{name}, line 1", {"value": "cat, dog"}),
        (f"{name}, line 3", {"value": "#rain"}),
    ]


def test_standard_input_is_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(JSON_LINES.encode())))
    [row] = loading.rows("-")
    assert row.place == "standard input, line 1"


@pytest.mark.parametrize(
    "name,content,given,said",
    [
        ("rules.csv", "tag,type\nt,track\n", None, "no column `value`"),
        ("rules.csv", "", None, "no column `value`"),
        ("rules.csv", 'value\n"cat\n', None, "unexpected end of data"),
        ("rules.json", "{", "gnip", "is not JSON"),
        ("rules.json", '{"rules": 5}', "gnip", "no GNIP ruleset"),
        ("rules.json", "[]", "gnip", "no GNIP ruleset"),
        ("rules.json", '{"rules": [\n{"value": "cat"}\n{"value": "dog"}\n]}', None, "is not JSON"),
        ("rules.json", '\n[{"value": "cat"},\n{"value": "dog"}\n', None, "is not JSON"),
        ("rules.csv", '"value"x,tag\ncat,t\n', None, "line 1: ',' expected"),
        ("rules.csv", "x" * 140_000 + ",value\n", None, "field larger than field limit"),
        ("rules.jsonl", bytes(range(256)), None, "cannot be read"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str | bytes, given: str | None, said: str
) -> None:
    with pytest.raises(SourceError) as error:
        list(loading.rows(source(tmp_path, name, content), given))
    assert name in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "name,content",
    [
        ("rules", "value,tag\ncaf\u00e9,t\nflood,\n"),
        ("rules", "tag;Value\nt;caf\u00e9\n;flood\n"),
        ("rules", "caf\u00e9\nflood\n"),
        ("rules.dat", '[{"value": "caf\u00e9"}, {"value": "flood", "tag": "x"}]'),
        ("rules.json", '\n["caf\u00e9",\n"flood"]'),
        ("rules.dat", '{"value": "caf\u00e9"}\n{"value": "flood"}'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_input_is_told_by_its_content_in_the_encodings_of_spreadsheets(
    tmp_path: Path, name: str, content: str, encoding: str
) -> None:
    found = loading.rows(source(tmp_path, name, content.encode(encoding)))
    assert [row.fields["value"] for row in found] == ["caf\u00e9", "flood"]


@pytest.mark.parametrize(
    "text,encoding",
    [
        ("größe,straße\nüber", "cp1252"),
        ("шторм\nнаводнение", "cp1251"),
        ("嵐\n洪水\n台風", "cp932"),
    ],
)
def test_the_code_page_of_a_country_is_recognised(tmp_path: Path, text: str, encoding: str) -> None:
    found = loading.rows(source(tmp_path, "rules.txt", text.encode(encoding)))
    assert [row.fields["value"] for row in found] == text.split("\n")


@pytest.mark.parametrize("url", ["postgresql://host/db", "sqlite:///rules.db"])
def test_another_database_is_told_with_what_is_possible(url: str) -> None:
    with pytest.raises(SourceError, match=r"psql -c 'copy \(select.*sqlite3 -csv"):
        list(loading.rows(url))


def test_standard_input_may_be_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"value,tag\nstorm,w\n")))
    assert [row.fields for row in loading.rows("-")] == [{"value": "storm", "tag": "w"}]


@pytest.mark.parametrize(
    "written,loaded",
    [
        ('"storm bay"', "storm bay"),
        ("storm;flood", "storm,flood"),
        ("\u0645\u0637\u0631\u060c\u0641\u064a\u0636\u0627\u0646", "\u0645\u0637\u0631,\u0641\u064a\u0636\u0627\u0646"),
        ("storm\uff0cflood", "storm,flood"),
        ("sto\u200brm", "storm"),
        ("\u201cstorm\u201d, flood", "storm,flood"),
    ],
)
def test_signs_of_other_languages_are_taken_off_and_told(written: str, loaded: str) -> None:
    found = loading.load([Row("here", {"value": written})], "track")
    assert [rule["value"] for rule in found.rules["track"]] == [loaded]
    assert [(note.value, note.text) for note in found.notes] == [(written, f"is now {loaded!r}")]
    kept = loading.load([Row("here", {"value": written})], "track", as_is=True)
    assert [rule["value"] for rule in kept.rules["track"]] == [written]
    assert len(kept.notes) == 1


@pytest.mark.parametrize(
    "value,told",
    [
        ("from:12 storm", "from:, which is no operator"),
        ("storm lang:en", "lang:, which is no operator"),
        ("storm OR flood", "separate alternatives by commas"),
        ("storm -flood", "nothing can be excluded"),
        ("sto\u200brm", "U+200B"),
        ("coca-cola,for,order,http://a.b", ""),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", ""),
    ],
)
def test_what_means_less_than_people_think_is_told(value: str, told: str) -> None:
    found = loading.load([Row("here", {"value": value})], "track", as_is=True)
    assert [told in note.text for note in found.notes] == ([True] if told else [])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.csv cannot be read: .*No such file"):
        list(loading.rows(str(tmp_path / "gone.csv")))


@pytest.mark.parametrize(
    "content,place,said",
    [
        ('{"value": "cat"}\n{"value": \n', "rules.jsonl, line 2", "is not JSON"),
        ('5\n{"value": "cat"}', "rules.jsonl, line 1", "is not a JSON object"),
        ('"rules"\n{"value": "cat"}', "rules.jsonl, line 1", "is not a JSON object"),
        ('{"value": ""}\n{"value": "cat"}', "rules.jsonl, line 1", "has no value"),
        ('{"tag": "t"}\n{"value": "cat"}', "rules.jsonl, line 1", "has no value"),
        ('{"value": "x", "type": "tweet"}\n{"value": "cat"}', "rules.jsonl, line 1", "has the type 'tweet'"),
        ('{"value": "cat"}\n{"value": "' + "é" * 31 + '"}', "rules.jsonl, line 2", "has 62 bytes"),
        ('{"value": "cat"}\n{"value": ",,"}', "rules.jsonl, line 2", "only commas"),
    ],
)
def test_a_bad_row_is_a_problem_with_its_place_and_the_others_are_loaded(
    tmp_path: Path, content: str, place: str, said: str
) -> None:
    loaded = loading.load(loading.rows(source(tmp_path, "rules.jsonl", content)), "track")
    assert [problem.place for problem in loaded.problems] == [place]
    assert said in loaded.problems[0].text
    assert values(loaded, "track") == ["cat"]


@pytest.mark.parametrize(
    "traptor_type,value,said",
    [
        ("follow", "jack", "is not a user id"),
        ("follow", "12a", "is not a user id"),
        ("follow", "١٢", "is not a user id"),
        ("follow", "1.7919972E+07", "is not a user id"),
        ("follow", "user12345678", "is not a user id"),
        ("follow", "https://twitter.com/jack/status/701580163612110848", "is not a user id"),
        ("follow", "from:12 OR from:13", "is not a user id"),
        ("follow", "https://twitter.com/jack?user_id=12a", "is not a user id"),
        ("track", b"caf\xe9", "is not UTF-8"),
        ("locations", "1,2,3", "has 3 numbers"),
        ("locations", "3,2,1,1", "south above its north"),
        ("locations", "1,2,300,4", "longitude"),
        ("locations", ",".join(f"{west},1,{west + 1},2" for west in range(26)), "asks for 26"),
        ("track", ",".join(f"w{number}" for number in range(401)), "asks for 401"),
    ],
)
def test_what_twitter_would_refuse_is_a_problem(traptor_type: str, value: str, said: str) -> None:
    loaded = loading.load(rows(value), traptor_type)
    assert loaded.rules == {}
    assert said in loaded.problems[0].text


CLEANED = [
    ("track", "cat", "cat"),
    ("track", "url_contains:example.com", "example com"),
    ("track", 'url_contains: "example.com"', "example com"),
    ("track", 'cat url_contains:"my-site.com/path"', "cat my-site com/path"),
    ("track", "www.example.com", "www example com"),
    ("follow", "17919972", "17919972"),
    ("follow", "12", "12"),
    ("follow", "from:12", "12"),
    ("follow", "https://twitter.com/intent/user?user_id=17919972", "17919972"),
    ("follow", "https://twitter.com/intent/user?user_id=12&lang=en", "12"),
    ("follow", "https://twitter.com/i/user/17919972", "17919972"),
    ("locations", "1,2,3,4", "1,2,3,4"),
    ("locations", "[-122.75 36.8 -121.75 37.8]", "-122.75,36.8,-121.75,37.8"),
    ("locations", "[1, 2,  3 4]", "1,2,3,4"),
]


@pytest.mark.parametrize("traptor_type,given,cleaned", CLEANED)
def test_values_are_cleaned_up_and_told(traptor_type: str, given: str, cleaned: str) -> None:
    loaded = loading.load(rows(given), traptor_type)
    assert values(loaded, traptor_type) == [cleaned]
    assert [(note.value, note.text) for note in loaded.notes] == (
        [] if given == cleaned else [(given, f"is now {cleaned!r}")]
    )
    assert loading.CLEAN_UPS[traptor_type](cleaned) == cleaned


def test_values_can_be_left_as_they_are() -> None:
    loaded = loading.load(rows("example.com"), "track", as_is=True)
    assert (values(loaded, "track"), loaded.notes) == (["example.com"], [])


@pytest.mark.parametrize(
    "named,wanted,loaded_as",
    [
        ("keyword", None, "track"),
        ("username", None, "follow"),
        ("geo", None, "locations"),
        ("Track", None, "track"),
        ("", "follow", "follow"),
        ("follow", "follow", "follow"),
        ("follow", "track", None),
    ],
)
def test_the_type_is_the_rows_or_the_one_that_is_wanted(named: str, wanted: str | None, loaded_as: str | None) -> None:
    value = "1,2,3,4" if named == "geo" else "12"
    loaded = loading.load([Row("line 1", {"value": value, "type": named})], wanted)
    assert list(loaded.rules) == ([loaded_as] if loaded_as else [])
    assert loaded.problems == []


def test_a_row_without_a_type_says_so() -> None:
    assert loading.load(rows("cat")).problems[0].text == "has no type: name one with --type"


def test_fields_become_text_and_empty_ones_go() -> None:
    given = {"value": 12, "tag": "", "rule_id": 7, "note": None, "weight": 1.5, "on": True, "more": {"a": [1]}}
    loaded = loading.load([Row("line 1", given)], "track")
    assert loaded.rules["track"] == [
        {"value": "12", "rule_id": "7", "weight": "1.5", "on": "true", "more": json.dumps({"a": [1]})}
    ]


def test_the_same_value_is_loaded_once_with_all_its_tags() -> None:
    given = [
        Row("line 1", {"value": "Cat", "tag": "a"}),
        Row("line 2", {"value": "cat", "tag": "b"}),
        Row("line 3", {"value": "CAT", "tag": "a"}),
        Row("line 4", {"value": "cat"}),
    ]
    loaded = loading.load(given, "track")
    assert loaded.rules["track"] == [{"rule_id": "", "value": "Cat", "tag": "a,b"}]
    assert [(note.place, note.text) for note in loaded.notes] == [
        ("line 2", "is the same as line 1, whose tag is now 'a,b'"),
        ("line 3", "is the same as line 1"),
        ("line 4", "is the same as line 1"),
    ]


def test_what_a_merged_rule_loses_is_told() -> None:
    given = [
        Row("line 1", {"value": "cat", "rule_id": "1", "note": "same"}),
        Row("line 2", {"value": "cat", "rule_id": "2", "note": "same", "team": "b"}),
    ]
    [note] = loading.load(given, "track").notes
    assert note.text == "is the same as line 1; left out: rule_id '2', team 'b'"


def test_bytes_of_a_database_are_text() -> None:
    given = [Row("row 1", {"value": "été".encode(), "tag": b"a"}), Row("row 2", {"value": "cat", "tag": b"\xff"})]
    loaded = loading.load(given, "track")
    assert loaded.rules["track"] == [{"rule_id": "", "value": "été", "tag": "a"}]
    assert loaded.problems[0].text == "has a tag that is not UTF-8"


def test_empty_rows_of_a_spreadsheet_are_no_rules(tmp_path: Path) -> None:
    found = list(loading.rows(source(tmp_path, "rules.csv", "value,tag\n,\ncat,t\n,\n,t\n")))
    assert [row.place for row in found] == ["rules.csv, line 3", "rules.csv, line 5"]


def test_a_rule_that_became_untranslatable_is_known_by_its_id(tmp_path: Path) -> None:
    ruleset = '{"rules": [{"value": "cat lang:en", "id": 5}]}'
    [problem] = loading.load(loading.rows(source(tmp_path, "rules.json", ruleset))).problems
    assert problem.rule_id == "5"


@pytest.mark.parametrize(
    "url,error",
    [
        ("mysql://[bad", None),
        ("mysql://u@h:x/db", None),
        ("mysql://u@h/db", RuntimeError("'cryptography' is required")),
    ],
)
def test_a_database_that_cannot_be_asked_is_one_line(
    monkeypatch: pytest.MonkeyPatch, url: str, error: Exception | None
) -> None:
    def connect(**_: Any) -> None:
        raise error or AssertionError("the address should have been refused")

    monkeypatch.setattr("pymysql.connect", connect)
    with pytest.raises(SourceError, match="cannot be read"):
        list(loading.rows(url))


def test_two_values_cannot_have_one_rule_id() -> None:
    given = [
        Row("line 1", {"value": "cat", "rule_id": "1"}),
        Row("line 2", {"value": "dog", "rule_id": "1"}),
        Row("line 3", {"value": "dog", "rule_id": "2"}),
    ]
    loaded = loading.load(given, "track")
    assert [(problem.place, problem.text) for problem in loaded.problems] == [("line 2", "has the rule_id 1 of line 1")]
    assert values(loaded, "track") == ["cat", "dog"]


def test_an_id_made_from_content_is_stable_and_ignores_what_twitter_ignores() -> None:
    assert loading.content_id("cat") == "77af778b51abd4a3"
    assert loading.content_id(" CAT ") == loading.content_id("cat")
    assert loading.content_id("cats") != loading.content_id("cat")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["value", "type", "tag", "rule_id", "other"])


@given(
    st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=5), st.sampled_from(["track", "follow", "locations"])
)
def test_every_row_becomes_a_rule_a_note_or_a_problem(given_rows: list[dict[str, Any]], traptor_type: str) -> None:
    fields = [{**row, "type": ""} for row in given_rows]
    loaded = loading.load([Row(f"line {n}", one) for n, one in enumerate(fields)], traptor_type)
    kept = sum(map(len, loaded.rules.values()))
    merged = sum(note.text.startswith("is the same as") for note in loaded.notes)
    assert kept + merged + len(loaded.problems) == len(fields)
    for rule in loaded.rules.get(traptor_type, []):
        loading.check(traptor_type, rule)
        assert all(isinstance(value, str) and value.encode() for name, value in rule.items() if name != "rule_id")


@pytest.mark.parametrize(
    "line", ['{"value": "\\ud800"}', "{" * 100_000, '{"value": "cat", "tag": "\\udfff"}', "\x00", "NaN", "1" * 5000]
)
def test_odd_lines_do_no_harm(tmp_path: Path, line: str) -> None:
    loaded = loading.load(loading.rows(source(tmp_path, "rules.jsonl", line)), "track")
    json.dumps([*loaded.rules.values(), loaded.problems], ensure_ascii=False).encode()


def test_a_cell_is_read_as_it_was_before_it_was_made_harmless(tmp_path: Path) -> None:
    """A spreadsheet would take ``@nasa`` for a formula; a short row has no last cells."""
    found = loading.rows(source(tmp_path, "rules.csv", "value,tag,type\n'@nasa,'t,track\n'cat\n"))
    assert [row.fields for row in found] == [
        {"value": "@nasa", "tag": "'t", "type": "track"},
        {"value": "'cat", "tag": None, "type": None},
    ]


@pytest.mark.parametrize("phrases, is_taken", [(2, True), (3, False)])
def test_a_rule_may_ask_for_what_one_connection_takes(
    phrases: int, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.LIMITS, "track", 2)
    loaded = loading.load(rows(",".join("abc"[:phrases])), "track")
    assert len(loaded.rules.get("track", [])) == is_taken
    assert [remark.text for remark in loaded.problems] == ["asks for 3, and one connection takes 2"] * (not is_taken)


class Database:
    """Answers one query; notes how it was reached, and what it was asked."""

    def __init__(self, columns: list[str] | None, *found: dict[str, Any]) -> None:
        self.description = columns and [(name,) for name in columns]
        self.found = found
        self.options: dict[str, Any] = {}
        self.asked: list[str] = []
        self.is_closed = False

    def connect(self, **options: Any) -> "Database":
        self.options = options
        return self

    def cursor(self) -> "Database":
        return self

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        """The cursor."""

    def execute(self, query: str) -> None:
        self.asked.append(query)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.found)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    "url, options",
    [
        ("mysql://ana:s%40lt@db.example:3307/rules",
         {"host": "db.example", "port": 3307, "user": "ana", "password": "s@lt", "database": "rules"}),
        ("mysql://an%40a@db.example/rules",
         {"host": "db.example", "port": 3306, "user": "an@a", "password": "given", "database": "rules"}),
        ("mysql:///rules?unix_socket=/run/my.sock",
         {"host": "localhost", "port": 3306, "user": None, "password": "given", "unix_socket": "/run/my.sock"}),
    ],
)  # fmt: skip
def test_a_database_is_reached_as_its_url_says(
    url: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(["Value", "tag"], {"Value": "cat", "tag": "t"})
    monkeypatch.setattr("pymysql.connect", database.connect)
    [row] = loading.rows(url, query="SELECT 1", password="given")
    assert {name: database.options[name] for name in options} == options
    assert (database.asked, database.is_closed) == (["SELECT 1"], True)
    assert row == (f"mysql://{options['host']}/rules, row 1", {"value": "cat", "tag": "t"}, "", "")


@pytest.mark.parametrize("columns", [["id", "tag"], None])
def test_a_query_without_values_is_told(columns: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymysql.connect", Database(columns, {"id": 1, "tag": "t"}).connect)
    with pytest.raises(SourceError, match=r"^mysql://h/db gives no column `value`; RULES_QUERY"):
        list(loading.rows("mysql://u@h/db", query="SELECT 1"))


@pytest.mark.parametrize(
    "name, content, found",
    [
        ("rules.txt", "cat\n\n two dogs \n", [{"value": "cat"}, {"value": "two dogs"}]),
        ("RULES.TXT", "cat", [{"value": "cat"}]),
        ("rules.txt", f"\n{JSON_LINES}", [{"value": "cat", "tag": "t"}]),
        ("rules.txt", GNIP, [{"value": "cat", "tag": "t"}]),
    ],
)
def test_a_text_is_a_list_unless_it_begins_as_json(
    tmp_path: Path, name: str, content: str, found: list[dict[str, str]]
) -> None:
    rows_found = loading.rows(source(tmp_path, name, content))
    assert [{name: row.fields[name] for name in ("value", "tag") if name in row.fields} for row in rows_found] == found
