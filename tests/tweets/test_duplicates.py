import pytest

from traptor.tweets.duplicates import RecentIds


@pytest.mark.parametrize(
    "most,asked,known",
    [
        (3, "1 1 2 1", "n y n y"),
        (3, "1 2 3 4 1", "n n n n n"),
        (3, "1 2 3 4 2 3 4", "n n n n y y y"),
        (1, "1 1 2 2 1", "n y n y n"),
        (0, "1 1 1", "n n n"),
    ],
)
def test_an_id_is_known_within_the_window(most: int, asked: str, known: str) -> None:
    recent = RecentIds(most)
    assert [recent.is_known(id_str) for id_str in asked.split()] == [answer == "y" for answer in known.split()]


def test_what_one_has_seen_another_learns() -> None:
    first, second = RecentIds(3), RecentIds(3)
    first.learn("1234")
    assert first.ids() == ["2", "3", "4"]
    second.learn(first.ids())
    assert [second.is_known(id_str) for id_str in "41"] == [True, False]


def test_the_window_is_all_that_is_kept() -> None:
    recent = RecentIds(100)
    for number in range(10_000):
        recent.is_known(str(number))
    assert len(recent._ids) == len(recent._order) == 100
