# SPDX-License-Identifier: GPL-2.0-or-later
"""PCT: what its guarantee says, with the number of choices fixed, guessed, or unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import sqrt

import pytest

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies import build, resolve
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.pct import FairPct, Pct, expected_choices
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.random import RandomStrategy
from tests.harness import Build, World, run_actors
from tests.programs import lost_update, lost_update_hit, torn_look, torn_look_hit
from tests.statistics import sample

EXECUTIONS = 1_000


def late_init(world: World) -> None:
    """A bug of depth 1: the user runs before the initialisation."""
    ready = Cell(world.box, "ready", value=False)

    async def init() -> None:
        for _ in range(4):
            await world.rt.cond_resched("i.1")
        await ready.write("i.2", value=True)

    async def user() -> None:
        world.log.append(await ready.read("u.1"))

    async def bystander() -> None:
        for _ in range(4):
            await world.rt.cond_resched("b.1")

    world.actor("init", init)
    world.actor("bystander", bystander)
    world.actor("user", user)


def late_init_hit(world: World) -> bool:
    """Whether the user saw nothing."""
    return world.log == [False]


BUGS = [
    (late_init, late_init_hit, 3, 1),
    (lost_update, lost_update_hit, 2, 2),
    (torn_look, torn_look_hit, 2, 3),
]
bugs = pytest.mark.parametrize(
    ("program", "hit", "actors", "depth"), BUGS, ids=[f"depth {bug[-1]}" for bug in BUGS]
)


def choices_of(program: Build) -> int:
    """Return how many schedule choices an execution takes at most, by trial."""
    return max(
        sample(
            program,
            RandomStrategy,
            seeds=100,
            what=lambda world: len(world.rt.choices.schedule),
        )
    )


@bugs
def test_bug_is_hit_at_least_as_often_as_promised(
    program: Build, hit: Callable[[World], bool], actors: int, depth: int
) -> None:
    points = choices_of(program)
    promised = EXECUTIONS / (actors * points ** (depth - 1))
    found = sample(
        program,
        lambda seed: Pct(seed, depth=depth, points=points),
        seeds=EXECUTIONS,
        what=hit,
    )
    # no more than three standard deviations below: the bound is tight for the third bug
    assert found[True] >= promised - 3 * sqrt(promised)


@pytest.mark.parametrize(("program", "hit", "actors", "depth"), BUGS[:2], ids=["1", "2"])
@pytest.mark.parametrize("known", [1, 2, 100, 0])
def test_bug_is_hit_with_an_estimate_that_is_wrong_or_missing(
    program: Build,
    hit: Callable[[World], bool],
    actors: int,
    depth: int,
    known: int,
) -> None:
    profile = Profile(choices=known)

    def strategy(seed: int) -> Strategy:
        return build(resolve("pct", seed, depth=depth, profile=profile))

    assert sample(program, strategy, seeds=EXECUTIONS, what=hit)[True] > 0


def test_estimate_is_mostly_believed_and_now_and_then_doubled() -> None:
    drawn = Counter(expected_choices(Stream(seed, "points"), 100) for seed in range(2_000))
    assert drawn[100] == pytest.approx(1_500, abs=90)
    assert drawn[200] == pytest.approx(375, abs=60)
    assert drawn[400] == pytest.approx(94, abs=35)
    assert set(drawn) <= {100 << doublings for doublings in range(10)}


def test_without_an_estimate_every_order_of_magnitude_is_tried() -> None:
    drawn = Counter(expected_choices(Stream(seed, "points"), 0) for seed in range(1_400))
    assert sorted(drawn) == [1 << bits for bits in range(1, 15)]
    assert max(drawn.values()) < 150


def test_change_demotes_who_would_have_run() -> None:
    enabled = [ActorState(index, f"a{index}", index) for index in range(3)]
    strategy = Pct(4, depth=2, points=1)
    before = Pct(4, depth=1, points=1).pick(enabled, None)
    order = [strategy.pick(enabled, enabled[0]) for _ in range(3)]
    assert order[0] != before
    assert order == [order[0]] * 3


def test_actor_that_spins_without_yielding_starves_nobody_under_the_fair_variant() -> None:
    def spinning(world: World) -> None:
        word = Cell(world.box, "word", 0)

        async def spins() -> None:
            while await word.read("s.1") == 0:
                pass

        async def writes() -> None:
            await word.write("w.1", 1)

        world.actor("spins", spins)
        world.actor("writes", writes)

    def ends(strategy: Pct) -> str:
        return run_actors(spinning, strategy=strategy, fatal=("step-bound",)).rt.stop_reason

    seeds = range(20)
    assert "step-bound" in {ends(Pct(seed, depth=1, points=30)) for seed in seeds}
    assert {ends(FairPct(seed, depth=1, points=30)) for seed in seeds} == {"done"}


@pytest.mark.parametrize("seed", range(5))
def test_fair_variant_is_pct_for_as_long_as_expected(seed: int) -> None:
    plain, fair = Pct(seed, depth=3, points=50), FairPct(seed, depth=3, points=50)
    enabled = [ActorState(index, f"a{index}", index) for index in range(4)]
    assert [plain.pick(enabled, None) for _ in range(50)] == [
        fair.pick(enabled, None) for _ in range(50)
    ]
    assert len({fair.pick(enabled, None) for _ in range(100)}) == 4
