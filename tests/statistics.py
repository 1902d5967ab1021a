# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics for tests of what a strategy promises: fixed seeds, so that each has one outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from math import factorial, prod, sqrt

import trio

from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies.base import Strategy
from tests.harness import Build, World, execute

_NORMAL_QUANTILE = 3.0902
"""Of the standard normal distribution at 0.999."""


def interleavings(counts: tuple[int, ...]) -> int:
    """Return the number of interleavings of actors with so many events each."""
    return factorial(sum(counts)) // prod(map(factorial, counts))


def chi_square(counted: Counter[Hashable], classes: int) -> float:
    """Return how far counts are from equal shares, over all `classes`, seen or not."""
    assert len(counted) <= classes
    expected = counted.total() / classes
    seen = sum((count - expected) ** 2 / expected for count in counted.values())
    return seen + (classes - len(counted)) * expected


def chi_square_limit(classes: int) -> float:
    """Return what `chi_square` of equal shares stays below, 999 times of 1000.

    Source: Wilson, Hilferty, "The Distribution of Chi-Square", PNAS 1931: its cube root is nearly
    normal. Within 3 % of the tables from three degrees of freedom on.
    """
    freedom = classes - 1
    return freedom * (1 - 2 / (9 * freedom) + _NORMAL_QUANTILE * sqrt(2 / (9 * freedom))) ** 3


def writers(*counts: int, private: int = 0) -> Build:
    """Return a world of actors that write to one word so often, and log each time who did.

    Args:
        counts: writes of each actor.
        private: accesses of each actor to a word of its own before each of its writes.
    """

    def build(world: World) -> None:
        word = Cell(world.box, "word", 0)

        def add(number: int, count: int) -> None:
            own = Cell(world.box, f"own{number}", 0)

            async def body() -> None:
                for _ in range(count):
                    for _ in range(private):
                        await own.write("f.1", number)
                    await word.write("f.2", number)
                    world.log.append(number)

            world.actor(f"a{number}", body)

        for number, count in enumerate(counts):
            add(number, count)

    return build


def sample(
    build: Build,
    strategy: Callable[[int], Strategy],
    *,
    seeds: int,
    what: Callable[[World], Hashable] = lambda world: tuple(world.log),
) -> Counter[Hashable]:
    """Return how often each thing came of the seeds 0, 1, ..."""

    async def main() -> Counter[Hashable]:
        return Counter([what(await execute(build, strategy(seed))) for seed in range(seeds)])

    return trio.run(main)
