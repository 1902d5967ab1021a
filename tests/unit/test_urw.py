# SPDX-License-Identifier: GPL-2.0-or-later
"""Uniform random walk: every interleaving equally often, given the counts; all of them, always."""

from __future__ import annotations

from collections import Counter

import pytest

from ksmtrio.prng import Stream
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.urw import UniformWalk, draw
from tests.statistics import chi_square, chi_square_limit, interleavings, sample, writers

PROGRAMS = [(2, 2), (5, 1), (4, 2), (2, 2, 2), (1, 2, 4)]
programs = pytest.mark.parametrize("counts", PROGRAMS)


def executions(counts: tuple[int, ...]) -> int:
    """Return how many executions give each interleaving ten on average."""
    return 10 * interleavings(counts)


@pytest.mark.parametrize(
    ("classes", "table"), [(4, 16.266), (6, 20.515), (15, 36.123), (101, 149.449)]
)
def test_limit_of_chi_square_agrees_with_the_tables(classes: int, table: float) -> None:
    assert chi_square_limit(classes) == pytest.approx(table, rel=0.03)


@programs
def test_every_interleaving_is_as_likely_as_any_other(counts: tuple[int, ...]) -> None:
    found = sample(
        writers(*counts), lambda seed: UniformWalk(seed, counts=counts), seeds=executions(counts)
    )
    classes = interleavings(counts)
    assert chi_square(found, classes) < chi_square_limit(classes)


@programs
def test_random_walk_fails_the_same_test(counts: tuple[int, ...]) -> None:
    found = sample(writers(*counts), RandomStrategy, seeds=executions(counts))
    classes = interleavings(counts)
    assert chi_square(found, classes) > chi_square_limit(classes)


def test_wrong_counts_skew_the_walk_and_lose_no_interleaving() -> None:
    found = sample(writers(2, 2), lambda seed: UniformWalk(seed, counts=(9, 0)), seeds=600)
    assert len(found) == 6
    assert chi_square(found, 6) > chi_square_limit(6)


def test_walk_without_counts_is_the_random_walk() -> None:
    found = sample(writers(2, 2), lambda seed: UniformWalk(seed, counts=()), seeds=800)
    assert found[0, 0, 1, 1] + found[1, 1, 0, 0] == pytest.approx(400, abs=60)


def test_draw_is_in_proportion_to_the_weights() -> None:
    stream = Stream(1, "test")
    counts = Counter(draw(stream, [1, 0, 3]) for _ in range(4_000))
    assert sorted(counts) == [0, 2]
    assert counts[0] == pytest.approx(1_000, abs=100)
