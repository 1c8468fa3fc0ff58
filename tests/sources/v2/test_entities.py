"""What stands in a text, and where: of long posts, replies, media that are told in part."""

from typing import Any

import pytest

from traptor.sources.v2 import shape

DATA = {"id": "20", "text": "x", "author_id": "7"}
PHOTO = {"media_key": "3_99", "type": "photo", "url": "https://pbs.example/a.jpg"}
LINK = {"start": 5, "end": 19, "url": "https://t.co/1", "expanded_url": "https://x.com/ana/status/20/photo/1"}


def tweet(data: dict[str, Any], *media: dict[str, Any]) -> dict[str, Any]:
    [found] = shape.tweets({"data": {**DATA, **data}, "includes": {"media": media}})
    return found


@pytest.mark.parametrize("characters, is_cut", [(140, False), (141, True)])
def test_a_text_of_more_than_140_characters_is_cut_to_so_many(characters: int, is_cut: bool) -> None:
    found = tweet({"text": "x" * characters})
    assert (found["truncated"], len(found["text"])) == (is_cut, 140)
    assert found.get("extended_tweet", found).get("full_text", found["text"]) == "x" * characters


def test_the_cut_text_has_the_entities_that_end_within_it() -> None:
    words = "word " * 27
    text = words + "#a #b #c" + " word" * 9
    tags = [{"start": at, "end": at + 2, "tag": text[at + 1]} for at in (135, 138, 141)]
    found = tweet({"text": text, "entities": {"hashtags": tags}})
    assert found["text"] == words + "#a…"
    assert [tag["text"] for tag in found["entities"]["hashtags"]] == ["a"]
    assert [tag["text"] for tag in found["extended_tweet"]["entities"]["hashtags"]] == ["a", "b", "c"]


@pytest.mark.parametrize("shown, expected", [([5, 300], [5, 300]), (None, [0, 300])])
def test_a_long_text_shows_what_v2_says_or_all(shown: list[int] | None, expected: list[int]) -> None:
    found = tweet({"text": "@ana " + "x" * 295, **({"display_text_range": shown} if shown else {})})
    assert found["extended_tweet"]["display_text_range"] == expected


@pytest.mark.parametrize(
    "note, cut, start, expected",
    [
        ("@ana " + "x" * 200, "@ana xxx…", 5, 5),
        ("other" + "x" * 200, "@ana xxx…", 5, 0),
        ("@ana " + "x" * 200, "@ana xxx…", 0, 0),
        ("@ana " + "x" * 200, None, 5, 5),
        ("@ana", "@ana", 4, 4),
        ("@ana", "@ana xxx", 5, 0),
    ],
    ids=["hidden", "begins otherwise", "nothing hidden", "no cut text", "all of it", "more than there is"],
)
def test_whom_a_reply_mentions_is_hidden_in_its_note_too(note: str, cut: str | None, start: int, expected: int) -> None:
    found = tweet({"text": cut, "note_tweet": {"text": note}, "display_text_range": [start, 9]})
    whole = found.get("extended_tweet", found)
    assert whole["display_text_range"] == [expected, len(note)]


def test_a_link_that_is_no_medium_stays_a_link() -> None:
    link = {"start": 5, "end": 19, "url": "https://t.co/1", "expanded_url": "https://a.example"}
    found = tweet({"text": "look https://t.co/1", "entities": {"urls": [link]}})
    assert [(one["expanded_url"], one["indices"]) for one in found["entities"]["urls"]] == [
        ("https://a.example", [5, 19])
    ]


def test_a_medium_is_found_by_the_key_of_its_link_alone() -> None:
    found = tweet({"text": "look https://t.co/1", "entities": {"urls": [{**LINK, "media_key": "3_99"}]}}, PHOTO)
    assert [medium["id"] for medium in found["extended_entities"]["media"]] == [99]
    assert found["entities"]["urls"] == []


def test_a_note_has_the_link_of_a_medium_that_is_not_included() -> None:
    urls = [{**LINK, "start": 5, "end": 19}]
    found = tweet({"text": "look https://t.co/1", "entities": {"urls": urls}, "note_tweet": {"text": "look " * 9}})
    assert [(link["url"], link["indices"]) for link in found["entities"]["urls"]] == [("https://t.co/1", [46, 60])]


@pytest.mark.parametrize("start, expected", [(0, [0, 6]), (1, [0, 6]), (12, [14, 20])])
def test_a_tag_stands_where_the_text_says_it(start: int, expected: list[int]) -> None:
    tag = {"start": start, "end": start + 6, "tag": "storm"}
    found = tweet({"text": "#storm and no #STORM", "entities": {"hashtags": [tag]}})
    assert found["entities"]["hashtags"] == [{"text": "storm", "indices": expected}]


@pytest.mark.parametrize("key, id_", [("3_" + "1" * 19, int("1" * 19)), ("3_" + "1" * 20, None), ("3_١", None)])
def test_the_id_of_a_medium_is_a_number_of_64_bits(key: str, id_: int | None) -> None:
    found = tweet({"attachments": {"media_keys": [key]}}, {**PHOTO, "media_key": key})
    [medium] = found["extended_entities"]["media"]
    assert (medium["id"], medium["id_str"]) == (id_, id_ and str(id_))


@pytest.mark.parametrize(
    "told, expected",
    [
        ({}, {}),
        ({"width": 20}, {}),
        ({"height": 10}, {}),
        ({"width": 20, "height": 10}, {"sizes": {"large": {"w": 20, "h": 10, "resize": "fit"}}}),
        ({"alt_text": ""}, {"ext_alt_text": ""}),
        ({"duration_ms": 5}, {}),
        ({"variants": []}, {"video_info": {"duration_millis": None, "variants": []}}),
    ],
)
def test_a_medium_has_what_is_told_of_it(told: dict[str, Any], expected: dict[str, Any]) -> None:
    found = tweet({"attachments": {"media_keys": ["3_99"]}}, {**PHOTO, **told})
    [medium] = found["extended_entities"]["media"]
    names = ("sizes", "ext_alt_text", "video_info")
    assert {name: medium[name] for name in names if name in medium} == expected
