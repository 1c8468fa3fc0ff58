"""How long to wait after which failures, and which ones are for good."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor.sources import backoff
from traptor.sources.backoff import Backoff, Kind

NOW = 1_456_104_893.0


def waits(kind: Kind, count: int) -> list[float]:
    again = Backoff(jitter=lambda: 0.0)
    return [again.failed(kind) for _ in range(count)]


@pytest.mark.parametrize(
    "kind,expected",
    [
        (Kind.DROPPED, [0, 0.25, 0.5, 0.75]),
        (Kind.NETWORK, [0.25, 0.5, 0.75, 1.0]),
        (Kind.HTTP, [5, 10, 20, 40, 80, 160, 320, 320]),
        (Kind.RATE_LIMITED, [60, 120, 240, 480, 960, 1920, 3600, 3600]),
        (Kind.STILL_COUNTED, [0.5, 1, 2, 4, 8, 8]),
    ],
)
def test_waits_grow_as_twitter_asks(kind: Kind, expected: list[float]) -> None:
    assert waits(kind, len(expected)) == expected


@pytest.mark.parametrize("kind,ceiling", [(Kind.DROPPED, 16), (Kind.NETWORK, 16), (Kind.HTTP, 320)])
def test_waits_end_at_a_ceiling(kind: Kind, ceiling: float) -> None:
    assert waits(kind, 2000)[-1] == ceiling


@pytest.mark.parametrize("jitter,expected", [(0.0, 5.0), (0.5, 5.25), (0.999, 5.4995)])
def test_jitter_only_lengthens(jitter: float, expected: float) -> None:
    assert Backoff(jitter=lambda: jitter).failed(Kind.HTTP) == pytest.approx(expected)


@pytest.mark.parametrize(
    "kind,asked,expected",
    [
        (Kind.RATE_LIMITED, 7, [7, 14, 28, 56]),
        (Kind.HTTP, 200, [200, 320, 320]),
        (Kind.HTTP, 7200, [7200, 7200]),
    ],
)
def test_what_the_server_asks_for_wins_and_grows_while_it_is_not_enough(
    kind: Kind, asked: float, expected: list[float]
) -> None:
    again = Backoff(jitter=lambda: 0.0)
    assert [again.failed(kind, asked) for _ in expected] == expected


def test_kinds_are_counted_apart_and_a_good_stretch_forgets_them() -> None:
    again = Backoff(jitter=lambda: 0.0)
    assert [again.failed(kind) for kind in (Kind.HTTP, Kind.NETWORK, Kind.HTTP, Kind.NETWORK)] == [5, 0.25, 10, 0.5]
    again.succeeded()
    assert [again.failed(kind) for kind in (Kind.HTTP, Kind.NETWORK, Kind.DROPPED)] == [5, 0.25, 0]


@pytest.mark.parametrize(
    "status,failures,expected",
    [
        *[(status, 1, True) for status in (403, 404, 406, 410, 413, 416)],
        (401, 1, False),
        (401, 2, False),
        (401, 3, True),
        *[(status, 100, False) for status in (None, 200, 400, 420, 429, 500, 502, 503)],
    ],
)
def test_refusals(status: int | None, failures: int, expected: bool) -> None:
    assert backoff.is_refusal(status, failures) is expected


@pytest.mark.parametrize(
    "status,expected",
    [(None, Kind.NETWORK), (401, Kind.HTTP), (420, Kind.RATE_LIMITED), (429, Kind.RATE_LIMITED), (503, Kind.HTTP)],
)
def test_the_status_tells_the_kind(status: int | None, expected: Kind) -> None:
    assert backoff.kind_of(status) is expected


@pytest.mark.parametrize(
    "code,expected",
    [(1, Kind.DROPPED), (2, Kind.RATE_LIMITED), (7, Kind.RATE_LIMITED), (10, Kind.NETWORK), (12, Kind.DROPPED)],
)
def test_the_code_of_a_disconnect_message_tells_the_kind(code: int, expected: Kind) -> None:
    assert backoff.DISCONNECTS[code] is expected
    assert code not in backoff.FINAL_DISCONNECTS


@pytest.mark.parametrize(
    "headers,expected",
    [
        ({}, None),
        ({"Retry-After": "17"}, 17.0),
        ({"Retry-After": "1"}, 1.0),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "0", "x-rate-limit-reset": str(int(NOW) + 90)}, 90.0),
        ({"x-rate-limit-reset": str(NOW + 0.5)}, None),
        ({"x-rate-limit-reset": str(int(NOW) + 90)}, 90.0),
        ({"Retry-After": "17", "x-rate-limit-reset": str(int(NOW) + 90)}, 17.0),
        ({"Retry-After": "soon", "x-rate-limit-reset": str(int(NOW) + 90)}, 90.0),
        ({"Retry-After": "-5"}, None),
        ({"x-rate-limit-reset": str(int(NOW) - 1)}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "86401"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": formatdate(NOW + 120, usegmt=True)}, 120.0),
        ({"Retry-After": formatdate(NOW - 120, usegmt=True)}, None),
        ({"Retry-After": formatdate(NOW + 90_000, usegmt=True)}, None),
        ({"Retry-After": "Mon, 99999999999999999999 Jan 2026 00:00:00 GMT"}, None),
        ({"Retry-After": "9" * 400}, None),
    ],
)
def test_what_headers_ask_for(headers: dict[str, str], expected: float | None) -> None:
    assert backoff.asked_wait_seconds(429, headers, NOW) == expected


@pytest.mark.parametrize(
    "status,remaining,expected",
    [(429, "", 90.0), (420, "", 90.0), (429, "0", 90.0), (429, "48", None), (503, "", None), (503, "0", None)],
)
def test_a_reset_is_meant_where_the_limit_is_reached(status: int, remaining: str, expected: float | None) -> None:
    counted = {"x-rate-limit-remaining": remaining} if remaining else {}
    headers = {"x-rate-limit-reset": str(int(NOW) + 90), **counted}
    assert backoff.asked_wait_seconds(status, headers, NOW) == expected
    assert backoff.asked_wait_seconds(status, {**headers, "Retry-After": "7"}, NOW) == 7


DATES = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}, {:02} {} {} {}:{}:{} {}".format,
        st.sampled_from(["Mon", "Monday", ""]),
        st.integers(-5, 10**20),
        st.sampled_from(["Jan", "Feb", "Dec", "x"]),
        st.one_of(st.integers(-5, 10**20), st.sampled_from([0, 1, 9999, 10_000, 2026])),
        st.integers(0, 10**6),
        st.integers(0, 99),
        st.one_of(st.integers(0, 99), st.text(max_size=3)),
        st.sampled_from(["GMT", "-0000", "+9999", "+2500", "-99999999999999999999", "", "EST"]),
    ),
)


@given(DATES)
def test_no_date_of_a_server_ends_the_process(date: str) -> None:
    assert backoff.advice(401, {"Date": date}, NOW)
    assert backoff.advice(403, {"Date": date}, NOW) == backoff.REFUSALS[403]
    asked = backoff.asked_wait_seconds(503, {"Retry-After": date}, NOW)
    assert asked is None or 1 <= asked <= 86_400


@pytest.mark.parametrize(
    "date,is_clock",
    [
        (formatdate(NOW - 301, usegmt=True), True),
        (formatdate(NOW + 301, usegmt=True), True),
        (formatdate(NOW - 299, usegmt=True), False),
        ("Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", False),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", False),
    ],
)
def test_a_clock_that_is_off_is_named(date: str, is_clock: bool) -> None:
    assert ("clock of this machine is" in backoff.advice(401, {"Date": date}, NOW)) is is_clock
    assert "clock of this machine is" not in backoff.advice(403, {"Date": date}, NOW)


DATE = "Mon, 22 Feb 2016 01:34:53 GMT"
SENT_AT = 1456104893.0


@pytest.mark.parametrize(
    "status,date,skew_seconds,expected",
    [
        (401, DATE, 301, "the clock of this machine is +301 s off Twitter's: set it right"),
        (401, DATE, -301, "the clock of this machine is -301 s off Twitter's: set it right"),
        (401, DATE, 300, backoff.REFUSALS[401]),
        (401, "yesterday", 301, backoff.REFUSALS[401]),
        (401, None, 301, backoff.REFUSALS[401]),
        (403, DATE, 301, backoff.REFUSALS[403]),
        (None, None, 0, "its answer cannot be read"),
    ],
)
def test_what_a_refusal_advises(status: int | None, date: str | None, skew_seconds: float, expected: str) -> None:
    headers = {"Date": date} if date else {}
    assert backoff.advice(status, headers, SENT_AT + skew_seconds) == expected
