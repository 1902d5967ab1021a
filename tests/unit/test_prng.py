# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeded streams: equal on every Python, independent by purpose, uniform."""

from __future__ import annotations

from collections import Counter

import pytest

from ksmtrio.prng import Stream


def draw(seed: int, purpose: str, *, count: int = 20, n: int = 1_000_000) -> list[int]:
    stream = Stream(seed, purpose)
    return [stream.below(n) for _ in range(count)]


def test_equal_seed_and_purpose_give_equal_numbers() -> None:
    assert draw(7, "schedule") == draw(7, "schedule")


def test_seeds_differ() -> None:
    assert draw(7, "schedule") != draw(8, "schedule")


def test_purposes_of_one_seed_differ() -> None:
    assert draw(7, "schedule") != draw(7, "data")


def test_numbers_never_change_between_versions() -> None:
    assert draw(0, "schedule", count=8, n=100) == [77, 20, 68, 50, 54, 95, 2, 17]


@pytest.mark.parametrize("seed", [-1, 0, 1 << 80])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert draw(seed, "schedule") == draw(seed, "schedule")


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 1 << 40])
def test_below_stays_in_range(n: int) -> None:
    assert all(0 <= value < n for value in draw(3, "data", count=200, n=n))


def test_below_reaches_every_value_about_equally_often() -> None:
    counts = Counter(draw(11, "data", count=6_000, n=6))
    assert sorted(counts) == [0, 1, 2, 3, 4, 5]
    assert all(850 < count < 1150 for count in counts.values())


def test_below_one_takes_nothing_from_the_stream() -> None:
    plain, interrupted = Stream(5, "data"), Stream(5, "data")
    interrupted.below(1)
    assert plain.below(1 << 40) == interrupted.below(1 << 40)


def test_one_in_happens_about_once_in_n() -> None:
    stream = Stream(2, "faults")
    assert 400 < sum(stream.one_in(8) for _ in range(4_000)) < 600


def test_one_in_one_is_certain() -> None:
    assert Stream(2, "faults").one_in(1)
