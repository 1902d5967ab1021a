# SPDX-License-Identifier: GPL-2.0-or-later
"""Partial order sampling: events that race start afresh, events that do not cost nothing."""

from __future__ import annotations

import pytest

from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies.pos import EventPriorities, PartialOrderSampling, race
from ksmtrio.sched.strategies.random import RandomStrategy
from tests.harness import World, run_actors
from tests.statistics import sample, writers


def pending(op: str, obj: object) -> ActorState:
    """Return an actor that has announced an operation."""
    actor = ActorState(0, "a", 0)
    actor.op, actor.obj = op, obj
    return actor


@pytest.mark.parametrize(
    ("one", "other", "racing"),
    [
        (("read", "x"), ("read", "x"), False),
        (("read", "x"), ("write", "x"), True),
        (("mutex_lock", "m"), ("mutex_lock", "m"), True),
        (("test_bit", "f"), ("read", "f"), False),
        (("test_bit", "f"), ("set_bit", "f"), True),
        (("write", "x"), ("write", "y"), False),
        (("yield", None), ("yield", None), False),
    ],
)
def test_operations_on_one_object_race_unless_both_only_read(one, other, racing):
    assert race(pending(*one), pending(*other)) == racing
    assert race(pending(*other), pending(*one)) == racing


def late(world: World, *, events: int = 12) -> None:
    """The paper's motive: `b` must write once after all the events of `a`, which race with none."""
    own, word = Cell(world.box, "own", 0), Cell(world.box, "word", 0)

    async def long() -> None:
        for _ in range(events):
            await own.write("a.1", 0)
        await word.write("a.2", 1)

    async def short() -> None:
        world.log.append(await word.read("b.1"))

    world.actor("a", long)
    world.actor("b", short)


def test_one_race_after_many_private_events_is_hit_far_more_often_than_by_chance() -> None:
    seeds = 600
    by_chance = sample(late, RandomStrategy, seeds=seeds)
    by_priorities = sample(late, PartialOrderSampling, seeds=seeds)
    # a random walk gets there one time in 2^13, priorities one time in 14
    assert by_chance[1,] <= 2
    assert by_priorities[1,] == pytest.approx(seeds / 14, abs=25)


def handicap(world: World) -> None:
    """`b` is behind `a` in one race; it must not be behind in the next for that."""
    word = Cell(world.box, "word", 0)

    async def many() -> None:
        for _ in range(3):
            await word.write("a.1", 0)
            world.log.append("a")

    async def one() -> None:
        await word.write("b.1", 0)
        world.log.append("b")

    world.actor("a", many)
    world.actor("b", one)


@pytest.mark.parametrize(
    ("strategy", "last"),
    [(PartialOrderSampling, 1 / 8), (EventPriorities, 1 / 4)],
    ids=["drawn anew", "kept"],
)
def test_event_that_lost_a_race_starts_afresh(strategy, last):
    seeds = 800
    found = sample(handicap, strategy, seeds=seeds)
    assert found["a", "a", "a", "b"] == pytest.approx(last * seeds, abs=40)


@pytest.mark.parametrize("strategy", [PartialOrderSampling, EventPriorities])
def test_every_order_is_reached(strategy):
    assert len(sample(writers(2, 2), strategy, seeds=400)) == 6


def test_actors_that_share_nothing_leave_each_other_their_priorities() -> None:
    class Seen(PartialOrderSampling):
        kept = 0

        def step(self, actor: ActorState) -> None:
            before = set(self._priority) - {actor.index}
            super().step(actor)
            self.kept += before == set(self._priority)
            assert before == set(self._priority)

    def apart(world: World) -> None:
        def add(number: int) -> None:
            own = Cell(world.box, f"own{number}", 0)

            async def body() -> None:
                for _ in range(4):
                    await own.write("f.1", 0)

            world.actor(f"a{number}", body)

        for number in range(3):
            add(number)

    strategy = Seen(1)
    run_actors(apart, strategy=strategy)
    assert strategy.kept == 3 + 12
