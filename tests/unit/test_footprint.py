# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmtrio.sched.footprint` and `ksmtrio.sched.tap`: what a transition touched."""

from __future__ import annotations

import pytest

from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.footprint import Footprints, Step, dependent, kind_of
from ksmtrio.sched.tap import ADD, ANYTHING, READ, WRITE, Fan, life_of
from tests.harness import Box, World, alone, page_lock, run_actors, steppers

RW = READ | WRITE


def steps_of(build, *turns: str) -> list[Step]:
    footprints = Footprints()
    run_actors(build, *turns, recorder=footprints)
    return footprints.steps


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ({"x": READ}, {"x": READ}, False),
        ({"x": READ}, {"x": WRITE}, True),
        ({"x": WRITE}, {"x": WRITE}, True),
        ({"x": ADD}, {"x": ADD}, False),
        ({"x": ADD}, {"x": READ}, True),
        ({"x": READ | ADD}, {"x": ADD}, True),
        ({"x": WRITE}, {"y": WRITE}, False),
        ({ANYTHING: READ}, {"y": WRITE}, True),
        ({ANYTHING: READ}, {"y": READ}, False),
        ({}, {"y": WRITE}, False),
    ],
)
def test_footprints_conflict_unless_both_read_or_both_add(one, other, conflict) -> None:
    assert dependent(one, other) is conflict
    assert dependent(other, one) is conflict


@pytest.mark.parametrize(
    ("event", "value", "kind"),
    [
        ("read", 0, READ),
        ("write", 0, WRITE),
        ("cmpxchg", True, WRITE),
        ("cmpxchg", False, READ),
        ("inc_not_zero", False, READ),
        ("trylock_page", False, READ),
        ("trylock_page", None, WRITE),
        ("test_bit locked", True, READ),
        ("test_and_set_bit locked", True, READ),
        ("test_and_set_bit locked", False, WRITE),
        ("clear_bit locked", False, READ),
        ("mutex_lock", None, WRITE),
    ],
)
def test_an_operation_that_changes_nothing_is_a_read(event, value, kind) -> None:
    assert kind_of(event, value) == kind


def test_a_transition_is_an_operation_with_what_follows_up_to_the_next() -> None:
    def build(world: World) -> None:
        x, y = Cell(world.box, "x", 0), Cell(world.box, "y", 0)

        async def body() -> None:
            await x.read("f.1")
            y.write_in_step("f.1", 1)
            await y.write("f.2", 2)

        world.actor("a", body)

    start, first, second = steps_of(build)
    assert (start.op, start.accesses) == ("start", {})
    life = {life_of("box"): READ}
    assert first.accesses == {"box.x": READ, "box.y": WRITE} | life
    assert second.accesses == {"box.y": RW} | life


def test_a_resumed_transition_names_the_one_that_woke_it() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "m")

        async def body() -> None:
            await mutex.lock("f.1")
            await mutex.unlock("f.2")

        world.actor("a", body)
        world.actor("b", body)

    steps = steps_of(build, "a@f.2", "b", "a", "b")
    (resumed,) = [step for step in steps if step.op == "resume"]
    assert resumed.woken_by is not None
    waker = steps[resumed.woken_by]
    assert (waker.actor, waker.at) == (0, "f.2")
    attempt = next(step for step in steps if step.actor == 1 and step.op == "mutex_lock")
    assert attempt.accesses["box.m"] & WRITE  # it queued


def test_a_wait_condition_reads_anything() -> None:
    def build(world: World) -> None:
        queue = WaitQueue(world.box, "q")

        async def body() -> None:
            await queue.wait_event("f.1", lambda: True, idle=False)

        world.actor("a", body)

    assert steps_of(build)[1].accesses[ANYTHING] == READ


def test_a_check_of_ours_reads_the_words_it_looks_at() -> None:
    def build(world: World) -> None:
        x = Cell(world.box, "x", 0)

        async def body() -> None:
            await world.rt.cond_resched("f.1")
            x.look()

        world.actor("a", body)

    assert steps_of(build)[1].accesses == {"box.x": READ}


def test_an_attempt_at_a_bit_lock_reads_the_word_that_holds_the_bit() -> None:
    def build(world: World) -> None:
        lock = page_lock(world.box)

        async def body() -> None:
            await lock.lock("f.1")
            await lock.unlock("f.2")

        async def tries() -> None:
            await lock.trylock("g.1")

        world.actor("a", body)
        world.actor("b", tries)

    steps = steps_of(build, "a@f.2", "b", "a")
    attempt = next(step for step in steps if step.at == "g.1")
    assert attempt.accesses["box.flags"] == READ


def test_a_death_conflicts_with_each_access() -> None:
    def build(world: World) -> None:
        other = Box(world.rt, "other")
        word = Cell(other, "x", 0)

        async def killer() -> None:
            await world.rt.cond_resched("f.1")
            other.die("freed", "f.1")

        async def reader() -> None:
            await word.read("g.1")

        world.actor("a", killer)
        world.actor("b", reader)

    steps = steps_of(build)
    kill = next(step for step in steps if step.at == "f.1")
    look = next(step for step in steps if step.at == "g.1")
    assert dependent(kill.accesses, look.accesses)


def test_yields_commute_and_a_look_at_the_clock_does_not() -> None:
    def build(world: World) -> None:
        async def gives_way() -> None:
            await world.rt.yield_("f.1")

        async def looks() -> None:
            await world.rt.cond_resched("g.1")
            world.rt.jiffies()

        for name in ("a", "b"):
            world.actor(name, gives_way)
        world.actor("c", looks)

    steps = steps_of(build)
    starts = [step for step in steps if step.op == "start"]
    look = next(step for step in steps if step.at == "g.1")
    assert not dependent(starts[0].accesses, starts[1].accesses)
    assert dependent(starts[0].accesses, look.accesses)


def test_choices_belong_to_their_transition() -> None:
    async def op(world: World) -> None:
        await world.rt.cond_resched("f.1")
        world.rt.choose(3, "f.1")

    footprints = Footprints()
    alone(op, recorder=footprints)
    assert footprints.steps[1].choices == [("data", 0, 3)]


def test_a_fan_tells_all_its_taps_the_same() -> None:
    one, two = Footprints(), Footprints()
    run_actors(steppers, recorder=Fan(one, two))
    assert [step.at for step in one.steps] == [step.at for step in two.steps]
    assert len(one.steps) == 9
