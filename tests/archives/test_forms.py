import io
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor.archives import forms
from traptor.archives.forms import Message, Problem
from traptor.archives.packing import Span

ONE = '{"id_str":"1","text":"a [storm], \\"}{\\" \\ud83d\\ude80 é \\ud800","n":12345678901234567890,"f":1.50}'.encode()
TWO = b'{"id_str":"2","text":"b"}'


def pretty(raw: bytes) -> bytes:
    return json.dumps(json.loads(raw), indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")


def read(text: bytes, piece_bytes: int = 1 << 20) -> list[Message | Problem]:
    return list(forms.messages(io.BufferedReader(Span(io.BytesIO(text), step_bytes=piece_bytes)), "a"))


def bodies(found: list[Message | Problem]) -> list[bytes]:
    return [one.body for one in found if isinstance(one, Message)]


FORMS = {
    "lines": ONE + b"\n" + TWO,
    "an array": b"[" + ONE + b", " + TWO + b"]",
    "an array, one per line": b"[\n" + ONE + b",\n" + TWO + b"\n]\n",
    "an array, comma first": b"[" + ONE + b"\n," + TWO + b"\n]",
    "an array after blank lines": b"\n\n [" + ONE + b"," + TWO + b"]",
    "arrays after each other": b"[" + ONE + b"]\n[" + TWO + b"]",
    "arrays in an array": b"[[" + ONE + b"],[],[" + TWO + b"]]",
    "beside each other": ONE + TWO,
    "after blank lines": b"\r\n\r\n" + ONE + b"\r\n" + TWO,
    "record separators": b"\x1e" + ONE + b"\n\x1e" + TWO + b"\n",
    "a user's archive": b"window.YTD.tweets.part0 = [" + ONE + b"," + TWO + b"]",
    "two parts of it": b"window.YTD.tweets.part0 = [" + ONE + b"]\nwindow.YTD.tweets.part1 = [" + TWO + b"];\n",
    "an older one": b"Grailbird.data.tweets_2013_01 = \n [" + ONE + b"," + TWO + b"]",
    "a large answer": b'{"statuses": [\n' + ONE + b",\n" + TWO + b'], "search_metadata": {"count": 2}, "next": "x"}',
    "answers after each other": b'{"results":[\n' + ONE + b'], "next":"x"}\n{"results":[\n' + TWO + b'],"a":{}}',
}


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("form", FORMS)
def test_values_are_read_from_every_form_as_they_are(form: str, piece_bytes: int) -> None:
    assert read(FORMS[form], piece_bytes) == [Message("a", one.number, one.body) for one in read(FORMS[form])]
    assert bodies(read(FORMS[form], piece_bytes)) == [ONE, TWO]


@pytest.mark.parametrize("between", [b"\n", b"", b",\n", b"\x1e"])
def test_what_stands_on_several_lines_comes_on_one(between: bytes) -> None:
    text = pretty(TWO) + between + b'{\r\n"id":7,\r\n"n":1.50,\n"text":"\\ud800"\r\n}'
    found = read(text)
    assert [json.loads(body) for body in bodies(found)] == [json.loads(TWO), {"id": 7, "n": 1.5, "text": "\ud800"}]
    assert b"\n" not in b"".join(bodies(found))
    assert bodies(read(pretty(TWO) + b'{\n"n": 1.50, "id": 12345678901234567890}'))[1] == (
        b'{"n":1.50,"id":12345678901234567890}'
    )


def test_an_answer_on_one_line_is_one_value() -> None:
    text = b'{"statuses":[' + ONE + b"]}\n" + b'{"data":[],"meta":{}}\n'
    assert bodies(read(text)) == text.splitlines()


def test_numbers_are_those_of_the_lines() -> None:
    assert [one.number for one in read(b"[\n" + pretty(TWO) + b",\n" + TWO + b"\n]") if isinstance(one, Message)] == [
        2, 6,
    ]  # fmt: skip


TWEETS = [b'{"id_str":"%d","user":{"id_str":"7"},"entities":{"hashtags":[{"text":"x"}]}}' % n for n in range(6)]
BROKEN = [b'{"id_str":"3","user":{"id_str":', b'{"id_str" "3"}', b'{"id_str":"3","text":"\xff\n"}', b"{broken", b"nul"]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(
    "begin, between, end",
    [(b"[", b",", b"]"), (b"[\n", b",\n", b"\n]"), (b"\x1e", b"\n\x1e", b"\n"), (b"\n", b"\n", b"\n")],
    ids=["array", "line by line", "record separators", "lines"],
)
def test_damage_takes_one_value(begin: bytes, between: bytes, end: bytes, broken: bytes) -> None:
    found = read(begin + between.join([*TWEETS[:3], broken, *TWEETS[4:]]) + end)
    assert bodies(found) == TWEETS[:3] + TWEETS[4:]
    assert len(found) == 6


@pytest.mark.parametrize("broken", [*BROKEN[:4], b'{"delete":{"status":{"id":1', b'{"id_str":"3"' + bytes(100)])
@pytest.mark.parametrize("begin, between", [(b"[\n", b",\n"), (b"\x1e", b"\n\x1e"), (b"", b"\n")])
def test_damage_at_the_beginning_takes_one_value(begin: bytes, between: bytes, broken: bytes) -> None:
    found = read(begin + between.join([broken, *TWEETS]) + b"\n")
    assert bodies(found) == TWEETS
    assert len(found) == 7


def test_damage_that_begins_unlike_the_others_takes_one_value() -> None:
    assert bodies(read(b"[" + b",".join([*TWEETS[:3], b'{"cut":"x', *TWEETS[4:]]) + b"]")) == TWEETS[:3] + TWEETS[4:]


def test_damage_in_pretty_ones_takes_one_value() -> None:
    texts = [pretty(tweet) for tweet in TWEETS]
    found = read(b"[\n" + b",\n".join([*texts[:3], texts[3][:60], *texts[4:]]) + b"\n]")
    assert bodies(found) == TWEETS[:3] + TWEETS[4:]
    assert [one.place for one in found if isinstance(one, Problem)] == [f"a, line {2 + 3 * len(texts[0].splitlines())}"]


@pytest.mark.parametrize("text", [b"[" + ONE + b"," + TWO[:-3], b"[\n" + pretty(ONE) + b",\n{\n"])
def test_what_is_cut_is_told(text: bytes) -> None:
    found = read(text)
    assert len(bodies(found)) == 1
    assert [one.reason.partition(":")[0] for one in found if isinstance(one, Problem)] == ["is not JSON"]


@pytest.mark.parametrize("begin, between", [(b"[", b","), (b"", b"\n"), (b"[\n", b",\n")])
def test_a_value_without_an_end_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, between: bytes
) -> None:
    monkeypatch.setattr(forms, "MAX_MESSAGE_BYTES", 10_000)
    monkeypatch.setattr(forms, "PIECE_BYTES", 1_000)
    large = b'{"id_str":"%s"}' % (b"x" * 50_000)
    found = read(begin + between.join([TWEETS[0], large, TWEETS[1]]) + b"\n")
    assert bodies(found) == TWEETS[:2]
    assert [one.reason for one in found if isinstance(one, Problem)] == ["is longer than 10000 bytes"]


def test_what_is_damaged_over_and_over_is_left() -> None:
    found = read(b"[" + b'{"a":[' * 5000)
    assert len(found) == forms.MOST_DAMAGED + 1
    assert found[-1] == Problem("a, after line 1", "1000 damaged values in a row: it is left there")


VALUES = st.lists(
    st.dictionaries(
        st.text(max_size=8),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    ),
    min_size=1,
    max_size=5,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.sampled_from(["[,]", "[\n,\n]", "\x1e\n\x1e\n", " \n "]))
def test_whatever_is_written_is_read_back(
    values: list[dict[str, Any]], ensure_ascii: bool, indent: int | None, around: str
) -> None:
    begin, between, end = around[:1], around[1:-1], around[-1:]
    text = begin + between.join(json.dumps(one, ensure_ascii=ensure_ascii, indent=indent) for one in values) + end
    found = read(text.encode("utf-8", "surrogatepass"))
    assert [json.loads(body) for body in bodies(found)] == values


@given(st.binary(max_size=300), st.sampled_from([b"", b"[", b"{", b"\x1e", b'{"statuses":[', b"a = ["]))
def test_no_bytes_are_a_crash(text: bytes, begin: bytes) -> None:
    for one in read(begin + text):
        assert isinstance(one, Message | Problem)


@pytest.mark.parametrize(
    "text, told",
    [
        (b"\x89PNG\r\n\x1a\n", "a picture: "),
        (b"\xff\xd8\xff\xe0", "a picture: "),
        (b"%PDF-1.4", "a PDF document: "),
        (b"\n<!DOCTYPE html><html>", "a web page: "),
        (b"{'id': 1, 'text': 'storm'}\n", "Python's own writing, not JSON: "),
        (b"[{u'id': 1}]", "Python's own writing, not JSON: "),
        (b"id,text,created_at\n1,storm,2021\n", "a table (CSV): "),
        (b'"author";"tweet_id"\r\n"a";"1"\r\n', "a table (CSV): "),
        (b"1950000000000000001\n1950000000000000002\n", "a list of tweet ids: "),
        (b"1950000000000000001", None),
        (b"[1950000000000000001, 1950000000000000002]", "a list of tweet ids: "),
        (b'[\n  "1950000000000000001"\n]', "a list of tweet ids: "),
        (b"\x1f\x9d\x90", "packed with 7-Zip, RAR, LZ4, lzip or compress: "),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS: git lfs pull"),
        (b"SQLite format 3\0", "a SQLite database: "),
        (b"PAR1\x15", "a table (Parquet, Arrow or Avro): "),
        (b"abc\0\1\2", "binary, of a kind that is not known: "),
    ],
)
def test_what_cannot_be_read_is_named_once(text: bytes, told: str | None) -> None:
    found = read(text)
    if told is None:
        assert bodies(found) == [text]
        return
    [problem] = found
    assert isinstance(problem, Problem)
    assert problem.reason.startswith(f"is {told.partition(': ')[0]}: ")
    assert "jq" not in problem.reason


@pytest.mark.parametrize("text", [ONE, b"not JSON, a line of text\n", b'"id","text"', b"{\n", pretty(ONE), b"[1, 2]"])
def test_what_may_be_json_is_tried(text: bytes) -> None:
    assert all(isinstance(one, Message) or "not JSON:" in one.reason for one in read(text))


def test_many_values_in_little_memory_come_in_order() -> None:
    text = b"[" + b",".join(b'{"id":%d}' % number for number in range(100_000)) + b"]"
    ids = [json.loads(body)["id"] for body in bodies(read(text))]
    assert len(ids) == 100_000
    assert all(after - before == 1 for before, after in pairwise(ids))
