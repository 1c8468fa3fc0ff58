"""How fast a replay is: ``python -m bench.replay``, and with ``--array MB`` how much memory a large array takes.

One worker, then two, and one rule set on each packing, beside zcat | jq. All read the same tweets, in FILES files, and
write those that match, to a reader that counts them. jq's filter looks in the same fields for the same words, and must
find as many. CPU is of the whole process tree, its start included. The array comes through a pipe, made as it is read,
and must not take more than MOST_MEMORY_MB.
"""

import argparse
import bz2
import gzip
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import zstandard

from bench.tweets import rules, tweets
from traptor.simulator.feed import encode

TERMS = 50
FILES = 4
MOST_MEMORY_MB = 100
JQ = r"""
def links: .expanded_url, .display_url;
def content: (.extended_tweet // .) as $whole | ($whole.full_text // .text),
    ($whole.entities | .hashtags[].text, .user_mentions[].screen_name, .symbols[]?.text, (.urls[] | links)),
    (($whole.extended_entities // $whole.entities).media[]? | links);
def contents: content, (.retweeted_status // empty | contents), (.quoted_status // empty | content);
select([contents | strings] | join(" ") | test("\\b(TERMS)\\b"; "i"))
"""
PACKINGS: dict[str, tuple[Callable[[bytes], bytes], list[str]]] = {
    "plain": (bytes, ["cat"]),
    "gz": (gzip.compress, ["zcat"]),
    "bz2": (bz2.compress, ["bzcat"]),
    "zst": (lambda text: zstandard.ZstdCompressor().compress(text), ["zstdcat"]),
}


class Run(NamedTuple):
    """One process tree from start to end; ``matched`` are the lines that it wrote."""

    wall_seconds: float
    cpu_seconds: float
    matched: int


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tweets", type=int, default=40_000)
    arguments.add_argument("--array", type=int, metavar="MB", help="only the memory that an array of so many MB takes")
    parsed = arguments.parse_args()
    if parsed.array:
        memory(parsed.array)
    else:
        speed(parsed.tweets)


def speed(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        terms = [rule for rule in rules("track", 10 * TERMS) if rule["value"].isalpha()][: 2 * TERMS]
        wanted = terms[:TERMS]  # so that half of the tweets match
        lines = [encode(tweet) + b"\r\n" for tweet in tweets(terms, "track", count)]
        parts = [b"".join(lines[first::FILES]) for first in range(FILES)]
        text_bytes = sum(map(len, lines))
        file_of_rules = Path(folder) / "rules.jsonl"
        file_of_rules.write_text("".join(json.dumps(rule) + "\n" for rule in wanted))
        jq = JQ.replace("TERMS", "|".join(rule["value"] for rule in wanted))
        print(f"{count:,} tweets, {text_bytes / count / 1000:.1f} KB each, {text_bytes / 1e6:.0f} MB\n")
        print(f"{'':7}{'':>14}{'file MB/s':>11}{'text MB/s':>11}{'tweets/s':>10}{'CPU µs/tweet':>14}{'matched':>9}")
        for name, (pack, unpack) in PACKINGS.items():
            files = [Path(folder) / f"{number}.{name}" for number in range(FILES)]
            for file, part in zip(files, parts, strict=True):
                file.write_bytes(pack(part))
            sizes = (sum(file.stat().st_size for file in files), text_bytes, count)
            ours, by_two = (replayed(files, file_of_rules, workers) for workers in (1, 2))
            show(name, "replay", ours, sizes)
            show("", "2 workers", by_two, sizes)
            show_ratio(by_two, ours)
            if shutil.which("jq") and shutil.which(unpack[0]):
                theirs = measured(f"{' '.join([*unpack, *map(str, files)])} | jq -c '{jq}'")
                show("", f"{unpack[0]} | jq", theirs, sizes)
                show_ratio(ours, theirs)


def memory(size_mb: int) -> None:
    """Of the largest process of a replay of one array, pretty-printed and on one line by turns."""
    terms = [rule for rule in rules("track", 100) if rule["value"].isalpha()]
    some = list(tweets(terms, "track", 500))
    array = b",".join(json.dumps(tweet, indent=indent).encode() for tweet in some for indent in (None, 2))
    with tempfile.TemporaryDirectory() as folder:
        file_of_rules = Path(folder) / "rules.jsonl"
        file_of_rules.write_text(json.dumps(terms[0]))
        arguments = [sys.executable, "-m", "traptor", "replay", "--workers", "1", "--rules", str(file_of_rules), "-"]
        began = time.monotonic()
        with subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin
            assert process.stderr
            process.stdin.write(b"[" + array)
            times = size_mb * 1_000_000 // len(array)
            for _ in range(times - 1):
                process.stdin.write(b"," + array)
            process.stdin.write(b"]")
            process.stdin.close()
            told = process.stderr.read().decode().splitlines()[-1]
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    seconds = time.monotonic() - began
    print(f"array of {times * len(array) / 1e6:,.0f} MB in {seconds:.0f} s; largest process {peak_mb:.0f} MB\n{told}")
    assert f"lines {times * 2 * len(some)}, " in told
    assert peak_mb < MOST_MEMORY_MB


def replayed(files: list[Path], file_of_rules: Path, workers: int) -> Run:
    named = " ".join(map(str, files))
    return measured(
        f"{sys.executable} -m traptor replay --workers {workers} --rules {file_of_rules} {named} 2>/dev/null"
    )


def measured(command: str) -> Run:
    """Run a shell command, its start included, and count the lines that it writes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with subprocess.Popen(["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE) as process:
        assert process.stdout
        matched = sum(chunk.count(b"\n") for chunk in iter(lambda: process.stdout.read(1 << 20), b""))
    wall_seconds = time.monotonic() - began
    assert process.returncode == 0, command
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_seconds, cpu_seconds, matched)


def show(name: str, what: str, run: Run, sizes: tuple[int, int, int]) -> None:
    file_bytes, text_bytes, count = sizes
    print(
        f"{name:7}{what:>14}{file_bytes / 1e6 / run.wall_seconds:>11.1f}{text_bytes / 1e6 / run.wall_seconds:>11.1f}"
        f"{count / run.wall_seconds:>10,.0f}{run.cpu_seconds / count * 1e6:>14.1f}{run.matched:>9,}"
    )


def show_ratio(fast: Run, slow: Run) -> None:
    assert fast.matched == slow.matched, "the filters are not equivalent"
    wall, cpu = slow.wall_seconds / fast.wall_seconds, slow.cpu_seconds / fast.cpu_seconds
    print(f"{'':7}{'ratio':>14}{'':>22}{wall:>10.2f}{cpu:>14.2f}")


if __name__ == "__main__":
    main()
