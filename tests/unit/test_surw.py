# SPDX-License-Identifier: GPL-2.0-or-later
"""Selectively uniform walk: uniform over the interesting events, whatever else the actors do."""

from __future__ import annotations

import pytest

from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.surw import SelectiveWalk
from ksmtrio.sched.strategies.urw import UniformWalk
from tests.harness import World, run_actors
from tests.statistics import chi_square, chi_square_limit, interleavings, sample, writers

PROGRAMS = [((2, 2), 0), ((5, 1), 0), ((3, 2), 4), ((2, 2, 2), 1), ((4, 1, 1), 3)]


def walk(seed: int, *counts: int) -> SelectiveWalk:
    """Return a walk that is interested in the word which all `writers` write."""
    return SelectiveWalk(seed, target="box.word", counts=counts)


@pytest.mark.parametrize(("counts", "private"), PROGRAMS)
def test_every_order_of_interesting_events_is_as_likely_as_any_other(
    counts: tuple[int, ...], private: int
) -> None:
    classes = interleavings(counts)
    found = sample(
        writers(*counts, private=private), lambda seed: walk(seed, *counts), seeds=10 * classes
    )
    assert chi_square(found, classes) < chi_square_limit(classes)


def shifts(world: World) -> None:
    """Each of two actors shifts a bit of its own into a word five times: each order, one result.

    The program by which the paper compares samplers.
    """
    word = Cell(world.box, "word", 0)

    def add(name: str, bit: int) -> None:
        async def body() -> None:
            for _ in range(5):
                await world.rt.point("f.1", "write", word)
                word.write_in_step("f.1", 2 * word.value + bit)

        world.actor(name, body)

    add("zero", 0)
    add("one", 1)
    world.log.append(word)


@pytest.mark.parametrize(
    ("strategy", "uniform"),
    [
        (lambda seed: walk(seed, 5, 5), True),
        (lambda seed: UniformWalk(seed, counts=(5, 5)), True),
        (RandomStrategy, False),
    ],
    ids=["surw", "urw", "random"],
)
def test_all_252_results_of_the_shifts_are_equally_frequent(strategy, uniform):
    found = sample(shifts, strategy, seeds=1_500, what=lambda world: world.log[0].value)
    assert (chi_square(found, 252) < chi_square_limit(252)) == uniform


def test_counts_that_are_too_small_lose_no_order() -> None:
    found = sample(writers(2, 2), lambda seed: walk(seed, 1, 0), seeds=300)
    assert len(found) == 6


def test_counts_that_are_too_large_keep_nobody_waiting_for_ever() -> None:
    found = sample(writers(2, 2, private=2), lambda seed: walk(seed, 4, 2), seeds=400)
    assert found.total() == 400
    assert len(found) == 6


def test_without_a_target_the_priorities_decide_alone() -> None:
    found = sample(writers(2, 2), lambda seed: SelectiveWalk(seed, target="", counts=()), seeds=400)
    assert len(found) == 6


@pytest.mark.parametrize("counts", [(9, 9), (1, 1), (9, 1), (0, 0)])
@pytest.mark.parametrize("seed", range(10))
def test_intended_actor_that_waits_for_an_uninteresting_one_does_not_hang(
    counts: tuple[int, int], seed: int
) -> None:
    def waiting(world: World) -> None:
        word = Cell(world.box, "word", 0)

        async def spins() -> None:
            while await word.read("s.1") == 0:
                await world.rt.yield_("s.2")

        async def writes() -> None:
            await word.write("w.1", 1)

        world.actor("spins", spins)
        world.actor("writes", writes)

    world = run_actors(waiting, strategy=walk(seed, *counts))
    assert world.rt.stop_reason == "done"
    assert world.rt.points < 200
