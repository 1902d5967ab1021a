# SPDX-License-Identifier: GPL-2.0-or-later
"""PCT: what its guarantee says, with the number of choices fixed, guessed, or unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from itertools import permutations, product
from math import factorial

import pytest
import trio

from ksmtrio.locking.mutex import Mutex
from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies import build, resolve
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.pct import FairPct, Pct, expected_choices
from ksmtrio.sched.strategies.profile import Profile
from tests.harness import Build, World, every_schedule, execute, run_actors
from tests.programs import lost_update, lost_update_hit, torn_look, torn_look_hit
from tests.statistics import sample

EXECUTIONS = 1_000


def late_init(world: World) -> None:
    """A bug of depth 1: the user runs before the initialisation."""
    ready = Cell(world.box, "ready", value=False)

    async def init() -> None:
        for _ in range(2):
            await world.rt.cond_resched("i.1")
        await ready.write("i.2", value=True)

    async def user() -> None:
        world.log.append(await ready.read("u.1"))

    async def bystander() -> None:
        for _ in range(2):
            await world.rt.cond_resched("b.1")

    world.actor("init", init)
    world.actor("bystander", bystander)
    world.actor("user", user)


def late_init_hit(world: World) -> bool:
    """Whether the user saw nothing."""
    return world.log == [False]


def behind_a_lock(world: World) -> None:
    """A bug of depth 2 with a lock: `b` looks between two sections of `a` that belong together."""
    mutex, word = Mutex(world.box, "mutex"), Cell(world.box, "word", 0)

    async def moves() -> None:
        for value in (1, 2):
            await mutex.lock("a.1")
            await word.write("a.2", value)
            await mutex.unlock("a.3")

    async def looks() -> None:
        await mutex.lock("b.1")
        world.log.append(await word.read("b.2"))
        await mutex.unlock("b.3")

    world.actor("a", moves)
    world.actor("b", looks)


def behind_a_lock_hit(world: World) -> bool:
    """Whether `b` saw the state in between."""
    return world.log == [1]


def long_look(world: World) -> None:
    """As `torn_look`, with more than one place for each of the two changes."""
    word = Cell(world.box, "word", 0)

    async def counts() -> None:
        for value in (1, 2):
            await word.write("a.1", value)
            await world.rt.cond_resched("a.2")

    async def looks() -> None:
        for _ in range(2):
            world.log.append(await word.read("b.1"))
            await world.rt.cond_resched("b.2")

    world.actor("a", counts)
    world.actor("b", looks)


BUGS = {
    "late_init": (late_init, late_init_hit, 3, 1),
    "lost_update": (lost_update, lost_update_hit, 2, 2),
    "behind_a_lock": (behind_a_lock, behind_a_lock_hit, 2, 2),
    "torn_look": (torn_look, torn_look_hit, 2, 3),
    "long_look": (long_look, torn_look_hit, 2, 3),
}
bugs = pytest.mark.parametrize(("program", "hit", "actors", "depth"), BUGS.values(), ids=BUGS)


@cache
def choices_of(program: Build) -> int:
    """Return how many schedule choices an execution takes at most, over all schedules."""
    return max(len(world.rt.choices.schedule) for world in every_schedule(program))


class Drawn(Pct):
    """PCT whose draws are given: the place of each change, and the actors' ranks as they appear."""

    def __init__(self, places: Sequence[int], ranks: Sequence[int], *, points: int) -> None:
        super().__init__(0, depth=len(places) + 1, points=points)
        self._changes = {1 + place: change for change, place in enumerate(places)}
        self._ranks = iter(ranks)

    def _fresh(self) -> int:
        return 1 + next(self._ranks)

    def demote(self, actor: ActorState) -> None:
        raise AssertionError("the guarantee is for programs that do not yield")


def probability(
    program: Build, hit: Callable[[World], bool], actors: int, depth: int, points: int
) -> Fraction:
    """Return the probability of a hit, over all draws that there are."""

    async def hits() -> int:
        return sum(
            [
                hit(await execute(program, Drawn(places, ranks, points=points)))
                for places in product(range(points), repeat=depth - 1)
                for ranks in permutations(range(actors))
            ]
        )

    return Fraction(trio.run(hits), factorial(actors) * points ** (depth - 1))


@bugs
def test_probability_of_a_hit_is_at_least_what_is_promised(
    program: Build, hit: Callable[[World], bool], actors: int, depth: int
) -> None:
    points = choices_of(program)
    exact = probability(program, hit, actors, depth, points)
    assert exact >= Fraction(1, actors * points ** (depth - 1))


def test_promise_is_tight_for_a_bug_with_one_place_for_each_change() -> None:
    points = choices_of(torn_look)
    assert probability(*BUGS["torn_look"], points) == Fraction(1, 2 * points**2)


@pytest.mark.parametrize("name", ["late_init", "lost_update", "behind_a_lock", "long_look"])
def test_bug_is_hit_at_least_as_often_as_promised(name: str) -> None:
    program, hit, actors, depth = BUGS[name]
    points = choices_of(program)
    found = sample(
        program,
        lambda seed: Pct(seed, depth=depth, points=points),
        seeds=EXECUTIONS,
        what=hit,
    )
    assert found[True] >= EXECUTIONS / (actors * points ** (depth - 1))


@pytest.mark.parametrize(
    ("program", "hit", "actors", "depth"), list(BUGS.values())[:2], ids=list(BUGS)[:2]
)
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
