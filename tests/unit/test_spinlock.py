# SPDX-License-Identifier: GPL-2.0-or-later
"""Spinlocks: order of arrival, nesting, misuse."""

from __future__ import annotations

from itertools import permutations

from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.sched.cell import Cell
from tests.harness import World, alone, run_actors


def spinners(world: World) -> None:
    """Four actors take one spinlock each."""
    lock, word = SpinLock(world.box, "spinlock"), Cell(world.box, "word", 0)

    async def body() -> None:
        await lock.lock("f.1")
        world.enter()
        await word.read("f.2")
        world.leave()
        lock.unlock("f.3")

    for name in "abcd":
        world.actor(name, body)


def test_spinlock_is_served_in_order_of_arrival_whoever_runs_first() -> None:
    for order in permutations("bcd"):
        for woken in permutations("bcd"):
            world = run_actors(spinners, "a@f.2", *order, "a", *woken)
            assert world.log == ["a", *order]


def test_newcomer_never_overtakes_a_spinning_waiter() -> None:
    world = run_actors(spinners, "a@f.2", "d", "a", "b", "c", "d")
    assert world.log[:2] == ["a", "d"]


def test_spinlock_nests_and_counts() -> None:
    async def op(world: World) -> None:
        outer, inner = SpinLock(world.box, "outer"), SpinLock(world.box, "inner")
        await outer.lock("f.1")
        await inner.lock("f.2")
        assert world.rt.me.preempt_count == 2
        outer.unlock("f.3")
        inner.unlock("f.4")
        assert world.rt.me.preempt_count == 0

    assert alone(op).splats == []


def test_foreign_unlock_leaves_the_old_holder_able_to_sleep_after_its_own_unlock() -> None:
    def build(world: World) -> None:
        lock, word = SpinLock(world.box, "spinlock"), Cell(world.box, "word", 0)

        async def holder() -> None:
            await lock.lock("h.1")
            await word.read("h.2")
            lock.unlock("h.3")
            await world.rt.sleep("h.4")

        async def stranger() -> None:
            lock.unlock("s.1")

        world.actor("h", holder)
        world.actor("s", stranger)

    world = run_actors(build, "h@h.2", "s", "h")
    assert world.kinds == ["foreign-unlock", "unlock-of-unlocked"]
    assert [actor.preempt_count for actor in world.rt.actors] == [0, 0]
