# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU read side: what stays readable, and for whom."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.sched.cell import Cell
from tests.harness import Box, World, run_actors


class Slab(Box):
    """A structure whose memory stays of its type until readers are gone."""

    type_stable = True


def reader_and_freer(box_type: type[Box], *, nested: bool = False) -> Callable[[World], None]:
    """Return a world where one actor reads a word under RCU and another frees the structure."""

    def build(world: World) -> None:
        thing = box_type(world.rt, "thing")
        word = Cell(thing, "word", 0)

        async def reader() -> None:
            rcu_read_lock(world.rt)
            if nested:
                rcu_read_lock(world.rt)
                rcu_read_unlock(world.rt)
            await word.read("r.1")
            rcu_read_unlock(world.rt)
            await word.read("r.2")

        async def freer() -> None:
            await world.rt.cond_resched("f.1")
            thing.die("freed", "f.1")

        world.actor("r", reader)
        world.actor("f", freer)

    return build


@pytest.mark.parametrize("nested", [False, True])
def test_type_stable_structure_may_be_read_by_a_section_older_than_its_death(nested: bool) -> None:  # noqa: FBT001
    world = run_actors(reader_and_freer(Slab, nested=nested), "r@r.1", "f", "r")
    assert [(splat.kind, splat.at) for splat in world.splats] == [("use-after-free", "r.2")]


def test_section_younger_than_the_death_is_no_excuse() -> None:
    world = run_actors(reader_and_freer(Slab), "f", "r")
    assert [(splat.kind, splat.at) for splat in world.splats] == [
        ("use-after-free", "r.1"),
        ("use-after-free", "r.2"),
    ]


def test_rcu_does_not_excuse_a_read_of_an_ordinary_structure() -> None:
    world = run_actors(reader_and_freer(Box), "r@r.1", "f", "r")
    assert world.kinds == ["use-after-free", "use-after-free"]


def test_section_is_one_of_its_own_after_the_outermost_unlock() -> None:
    def build(world: World) -> None:
        slab = Slab(world.rt, "slab")
        word = Cell(slab, "word", 0)

        async def reader() -> None:
            rcu_read_lock(world.rt)
            rcu_read_unlock(world.rt)
            await world.rt.cond_resched("r.1")
            rcu_read_lock(world.rt)
            await word.read("r.2")
            rcu_read_unlock(world.rt)
            assert world.rt.me.rcu_depth == 0

        async def freer() -> None:
            slab.die("freed", "f.1")

        world.actor("r", reader)
        world.actor("f", freer)

    assert run_actors(build, "r@r.1", "f", "r").kinds == ["use-after-free"]


def test_lock_of_a_type_stable_structure_may_be_taken_in_an_older_section() -> None:
    def build(world: World) -> None:
        slab = Slab(world.rt, "anon_vma")
        lock = SpinLock(slab, "lock")

        async def walker() -> None:
            rcu_read_lock(world.rt)
            await lock.lock("r.1")
            lock.unlock("r.2")
            rcu_read_unlock(world.rt)

        async def freer() -> None:
            slab.die("freed", "f.1")

        world.actor("r", walker)
        world.actor("f", freer)

    assert run_actors(build, "r@r.1", "f", "r").splats == []
