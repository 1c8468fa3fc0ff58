"""The report of a replay: one HTML page that needs nothing else, neither scripts nor a network."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape as escaped
from importlib.resources import files
from string import Template

from traptor.archives.tally import Stretch, Tally, Timeline, top, utc
from traptor.printable import harmless
from traptor.tweets.rule import Rule

MOST_BARS = 160
MOST_ROWS = 25
MOST_GAPS = 50
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 260, 64, 12, 28
"""Of the chart and its margins, in units of its own."""


def page(tally: Tally, rules: Sequence[Rule], sources: Iterable[str], recorded: Sequence[Stretch] | None = None) -> str:
    """The whole page, as text. Where no gaps are recorded, they are told by silence."""
    counts = tally.counts
    gaps = tally.read.gaps() if recorded is None else recorded
    return Template(files("traptor.archives").joinpath("report.html").read_text(encoding="utf-8")).substitute(
        style=files("traptor").joinpath("pages.css").read_text(encoding="utf-8"),
        sources=escape(", ".join(sources)),
        period=_period(tally.read),
        tweets=f"{counts['tweets']:,}",
        matched=f"{counts['matched']:,}",
        unmatched=f"{counts['tweets'] - counts['matched']:,}",
        share=f"{_percent(counts['matched'], counts['tweets'])}",
        damaged=f"{counts['damaged']:,}",
        chart=chart(tally.read, tally.written, gaps),
        stretch=_duration(_for_bars(tally.read).width_seconds),
        rules=_table(("rule", "tag", "value", "tweets"), _rule_rows(tally, rules)),
        languages=_counted("language", tally.languages),
        hashtags=_counted("hashtag", tally.hashtags, "#"),
        accounts=_counted("account", tally.accounts, "@"),
        gaps=_gaps(gaps, "no five stretches in a row without a tweet" if recorded is None else "none is recorded"),
    )


def escape(text: str) -> str:
    """What strangers wrote, as text that neither acts nor turns what stands beside it."""
    return escaped(harmless(text))


def _period(timeline: Timeline) -> str:
    if not timeline.counts:
        return "no tweets"
    return f"{utc(min(timeline.counts))} to {utc(max(timeline.counts) + timeline.width_seconds)} UTC"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


# The chart


def chart(read: Timeline, written: Timeline, gaps: Sequence[Stretch]) -> str:
    """SVG: a bar per stretch of time for the tweets read, in it one for those written, gaps behind."""
    if not read.counts:
        return "<p>No tweets.</p>"
    bars = _for_bars(read)
    inner = _for_bars(written, bars.width_seconds)
    start, end = min(bars.counts), max(bars.counts) + bars.width_seconds
    most = max(bars.counts.values())

    def x(time_seconds: float) -> float:
        within = min(max(time_seconds, start), end)
        return round(LEFT + (WIDTH - LEFT) * (within - start) / (end - start), 1)

    def bar(time_seconds: int, count: int, name: str) -> str:
        height = round((HEIGHT - TOP - BOTTOM) * count / most, 1)
        width = round(max(x(time_seconds + bars.width_seconds) - x(time_seconds) - 0.5, 0.5), 1)
        top_edge = round(HEIGHT - BOTTOM - height, 1)
        place = f'x="{x(time_seconds)}" y="{top_edge}" width="{width}" height="{height}"'
        return f'<rect class="{name}" {place}><title>{utc(time_seconds)}: {count:,} {name}</title></rect>'

    parts = [
        *(
            f'<rect class="gap" x="{x(gap.start)}" y="{TOP}" width="{round(max(x(gap.end) - x(gap.start), 1), 1)}"'
            f' height="{HEIGHT - TOP - BOTTOM}"><title>{_gap_title(gap)}</title></rect>'
            for gap in gaps
            if start < gap.end and gap.start < end
        ),
        *(bar(time_seconds, count, "read") for time_seconds, count in sorted(bars.counts.items())),
        *(bar(time_seconds, count, "written") for time_seconds, count in sorted(inner.counts.items())),
        f'<text x="{LEFT - 6}" y="{TOP + 10}" text-anchor="end">{most:,}</text>',
        f'<text x="{LEFT - 6}" y="{HEIGHT - BOTTOM}" text-anchor="end">0</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{utc(start)}</text>',
        f'<text x="{WIDTH}" y="{HEIGHT - 8}" text-anchor="end">{utc(end)}</text>',
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH}"/>',
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="tweets over time">{"".join(parts)}</svg>'


def _for_bars(timeline: Timeline, least_seconds: int = 60) -> Timeline:
    """A copy in stretches of whole minutes, wide enough for the bars to fit."""
    copy = Timeline()
    copy.add(timeline)
    times = timeline.counts or {0: 0}
    wide = (max(times) - min(times)) // MOST_BARS // 60 * 60 + 60
    copy.widen_to(max(wide, least_seconds))
    return copy


# The tables


def _rule_rows(tally: Tally, rules: Sequence[Rule]) -> list[tuple[str, str, str, int]]:
    rows = [(rule["rule_id"], rule.get("tag", ""), rule["value"], tally.rules[rule["rule_id"]]) for rule in rules]
    return sorted(rows, key=lambda row: -row[-1])


def _counted(name: str, names: Counter[str], sign: str = "") -> str:
    rows = [(f"{sign}{one}", count) for one, count in top(names, MOST_ROWS)]
    table = _table((name, "tweets"), rows)
    return f"{table}<p>and {len(names) - MOST_ROWS:,} more</p>" if len(names) > MOST_ROWS else table


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """The last column is a count, shown with a bar as long as it is large."""
    if not rows:
        return "<p>None.</p>"
    most = max(int(row[-1]) for row in rows) or 1
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in row[:-1])
        + _count_cell(int(row[-1]), most)
        + "</tr>"
        for row in rows
    )
    kind = ' class="rules"' if len(heads) > 2 else ""  # a phone has no room for so many columns
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _count_cell(count: int, most: int) -> str:
    return f'<td class="count"><span style="width:{round(100 * count / most, 1)}%"></span>{count:,}</td>'


def _gaps(gaps: Sequence[Stretch], none: str) -> str:
    if not gaps:
        return f"<p>None: {none}.</p>"
    longest = sorted(gaps, key=lambda gap: gap.start - gap.end)[:MOST_GAPS]
    items = "".join(f"<li>{_gap_title(gap)}</li>" for gap in sorted(longest))
    more = f"<p>The longest {MOST_GAPS} of {len(gaps):,}.</p>" if len(gaps) > MOST_GAPS else ""
    return f"<ul>{items}</ul>{more}"


def _gap_title(gap: Stretch) -> str:
    return escape(f"{gap.what} from {utc(gap.start)} to {utc(gap.end)} ({_duration(gap.end - gap.start)})")


def _duration(seconds: int) -> str:
    """In the largest unit that it fills: ``3 days``, ``90 min``."""
    for unit_seconds, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_seconds or (seconds >= unit_seconds and seconds % unit_seconds == 0):
            return f"{seconds / unit_seconds:.3g} {unit}"
    return f"{seconds} s"
