import os
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from traptor.archives import report
from traptor.archives.tally import Stretch, Tally, Timeline, posted_at, top
from traptor.printable import printable

START = 1_611_669_960
RULES = [
    {"rule_id": "1", "tag": "weather", "value": "storm,flood warning"},
    {"rule_id": "2", "tag": "<script>alert(1)</script>", "value": "a & b"},
]


def timeline(*minutes: int) -> Timeline:
    made = Timeline()
    for minute in minutes:
        made.note(START + 60 * minute + 1)
    return made


def tally() -> Tally:
    made = Tally()
    made.counts.update(tweets=12, matched=3, damaged=1)
    made.rules.update({"1": 1, "2": 2})
    made.read = timeline(*range(6), *range(26, 32))
    made.written = timeline(0, 3, 27)
    made.languages.update(en=2, ja=1)
    made.hashtags.update({"storm": 2, "été": 1})
    made.accounts.update({"ana": 3})
    return made


class Page(HTMLParser):
    """What a page refers to, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    page = report.page(tally(), RULES, ["a.tar", "<b>.gz"])
    parsed = Page(page)
    assert parsed.tags["script"] == parsed.tags["b"] == 0
    assert parsed.links == []
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_page_tells_what_was_seen() -> None:
    texts = Page(report.page(tally(), RULES, ["a.tar"])).texts
    told = ["12", "3", "9", "25.0 %", "storm,flood warning", "<script>alert(1)</script>", "ja", "#été", "@ana"]
    assert [text for text in told if text not in texts] == []
    assert "no tweet from 2021-01-26 14:12 to 2021-01-26 14:32 (20 min)" in texts
    assert texts.index("<script>alert(1)</script>") < texts.index("weather")  # the rule with more tweets comes first


def test_recorded_gaps_come_before_silence() -> None:
    outside = Stretch(START - 86_400, START - 80_000, "track:0 had no stream (cut)")
    across = Stretch(START - 600, START + 60, "<track:1> had no stream (cut)")
    page = report.page(tally(), RULES, ["a topic"], [outside, across])
    assert "no tweet from" not in page
    assert [page.count("track:0 had no stream"), page.count("&lt;track:1&gt; had no stream")] == [1, 2]
    assert f'<rect class="gap" x="{report.LEFT}.0"' in page
    assert "None: none is recorded." in report.page(tally(), RULES, ["a topic"], [])


def test_a_replay_without_tweets_has_a_page_too() -> None:
    assert "no tweets" in report.page(Tally(), [], ["a"])


@pytest.mark.parametrize(
    "minutes, gaps",
    [
        ([], []),
        ([5], []),
        ([0, 1, 2, 7], []),
        ([0, 6], [Stretch(START + 60, START + 360)]),
        ([0, 6, 60], [Stretch(START + 60, START + 360), Stretch(START + 420, START + 3600)]),
    ],
)
def test_gaps_are_five_empty_stretches_and_more(minutes: list[int], gaps: list[Stretch]) -> None:
    assert timeline(*minutes).gaps() == gaps


def test_a_timeline_keeps_a_bounded_number_of_stretches() -> None:
    whole = Timeline()
    for day in range(4000):
        one = Timeline()
        one.note(day * 86_400.0)
        one.note(day * 86_400.0 + 7200)
        whole.add(one)
    assert (whole.width_seconds, len(whole.counts), whole.counts.total()) == (21_600, 4000, 8000)


def test_names_are_bounded_and_the_frequent_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traptor.archives.tally.MOST_NAMES", 2)
    whole, more = Tally(), Tally()
    more.hashtags.update(a=5, b=1, c=4, d=1)
    whole.add(more)
    assert top(whole.hashtags, 10) == [("a", 5), ("c", 4)]


@pytest.mark.parametrize(
    "created_at, seconds",
    [
        ("Tue Jan 26 14:06:00 +0000 2021", START),
        ("2021-01-26T15:06:00+01:00", START),
        ("Mon Jan 01 00:00:00 +0000 0001", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("soon", None),
        (None, None),
    ],
)
def test_only_times_that_a_tweet_can_have_are_placed(created_at: str | None, seconds: int | None) -> None:
    assert posted_at(created_at) == seconds


def test_describe_takes_the_whole_text_of_a_long_tweet() -> None:
    made = Tally()
    made.describe(
        b'{"lang":"fr","user":{"screen_name":"ana"},"entities":{"hashtags":[]},'
        b'"extended_tweet":{"entities":{"hashtags":[{"text":"Pluie"},{"text":"pluie"}]}}}'
    )
    made.describe(b'{"lang":7}')
    assert (made.languages, made.hashtags, made.accounts) == ({"fr": 1}, {"pluie": 1}, {"ana": 1})


@pytest.mark.parametrize("width_pixels", [1200, 390], ids=["desk", "phone"])
def test_a_browser_shows_it_whole_at_any_width(tmp_path: Path, width_pixels: int) -> None:
    page = tmp_path / "report.html"
    rules = [*RULES[1:], {"rule_id": "9" * 40, "tag": "t" * 90, "value": ",".join(map(str, range(400)))}]
    counted = tally()
    counted.hashtags.update({"x" * 100: 10_000_000})
    gaps = [Stretch(START + 420, START + 1560, "track:0 had no stream (" + "y" * 80 + ")")]
    page.write_text(report.page(counted, rules, ["a" * 100], gaps), encoding="utf-8")
    # An outer page with a frame of the given width: a window of Chromium has a least width of its own.
    measure = tmp_path / "measure.html"
    measure.write_text(
        f'<iframe src="report.html" style="width:{width_pixels}px;height:20000px;border:0"></iframe><pre></pre><script>'
        "onload = () => { const page = document.querySelector('iframe').contentDocument; const find = (name) =>"
        " page.querySelectorAll(name).length; document.querySelector('pre').textContent = JSON.stringify({"
        " wide: page.documentElement.scrollWidth, bars: find('rect.read'), inner: find('rect.written'),"
        " gaps: find('rect.gap'), rows: find('tbody tr'), scripts: find('script'),"
        " chart: page.querySelector('svg').getBoundingClientRect().height > 50 }) }</script>"
    )
    shown = chromium("--dump-dom", "--allow-file-access-from-files", measure.as_uri())
    facts = shown.partition("<pre>")[2].partition("</pre>")[0]
    assert facts == (f'{{"wide":{width_pixels},"bars":12,"inner":3,"gaps":1,"rows":8,"scripts":0,"chart":true}}')


HOSTILE = [
    "<script>document.title='owned'</script>", "</title><h1>owned</h1>", '"><img src=x onerror=alert(1)>',
    "&lt;b&gt; ]]> <!--", "\x1b]0;owned\x07", "\u202egnp.exe", "\u2066hidden", "{{7*7}} ${sources}", "caf\udce9", "\0",
]  # fmt: skip


def test_in_a_browser_hostile_texts_stay_text(tmp_path: Path) -> None:
    made = tally()
    for one in HOSTILE:
        made.languages[one] = made.hashtags[one] = made.accounts[one] = made.rules[one] = 1
    rules = [{"rule_id": one, "tag": one, "value": one} for one in HOSTILE]
    gaps = [Stretch(START, START + 60 * number, one) for number, one in enumerate(HOSTILE, 1)]
    page = tmp_path / "report.html"
    page.write_text(report.page(made, rules, HOSTILE, gaps), encoding="utf-8")
    shown = Page(chromium("--dump-dom", page.as_uri()))
    texts = [text.lstrip("#@") for text in shown.texts]
    # As the rule's id, tag and value, as a language, a hashtag and an account.
    assert {one: texts.count(printable(one)) for one in HOSTILE} == dict.fromkeys(HOSTILE, 6)
    assert [
        tag for tag in ("script", "img", "h1", "b") if shown.tags[tag] != Page(report.page(Tally(), [], [])).tags[tag]
    ] == []
    assert not set("\x1b\x07\u202e\u2066\0\ufffd") & set("".join(shown.texts))


def test_a_browser_prints_it(tmp_path: Path) -> None:
    page, printed = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(report.page(tally(), RULES, ["a.tar"]), encoding="utf-8")
    chromium(f"--print-to-pdf={printed}", page.as_uri())
    assert printed.read_bytes().startswith(b"%PDF")


def chromium(*arguments: str) -> str:
    """Run it without a window. At home its absence is a reason to skip; under CI=true to fail."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if not binary:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium; Debian's package is `chromium`")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    run = subprocess.run([binary, *options, *arguments], capture_output=True, text=True, timeout=120, check=True)
    return run.stdout
