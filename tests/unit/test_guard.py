# SPDX-License-Identifier: GPL-2.0-or-later
"""Guarded fields: a touch without the lock is noticed, and goes through all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.rwsem import RwSem
from ksmtrio.sched.guard import Guarded
from ksmtrio.sched.runtime import Runtime
from tests.harness import Box, World, run_actors


class Tree(Box):
    """A structure with a field under a mutex and one under a read/write semaphore."""

    root: Guarded[int] = Guarded(lambda self, actor: self.mutex.held_by(actor), "tree_mutex")
    size: Guarded[int] = Guarded(
        lambda self, actor: self.sem.held_by(actor),
        "tree_sem",
        writers=lambda self, actor: self.sem.write_held_by(actor),
    )

    def __init__(self, rt: Runtime) -> None:
        super().__init__(rt, "tree")
        self.mutex = Mutex(self, "tree_mutex")
        self.sem = RwSem(self, "tree_sem")
        self.root = 1
        self.size = 10


def alone(op: Callable[[World, Tree], Awaitable[None]]) -> World:
    """Run one coroutine with a tree as the only actor."""

    def build(world: World) -> None:
        tree = Tree(world.rt)

        async def body() -> None:
            await op(world, tree)

        world.actor("a", body)

    return run_actors(build)


def test_holder_touches_the_field_freely() -> None:
    async def op(world: World, tree: Tree) -> None:
        await tree.mutex.lock("f.1")
        tree.root += 1
        world.log.append(tree.root)
        await tree.mutex.unlock("f.2")

    world = alone(op)
    assert (world.log, world.splats) == ([2], [])


def test_read_without_the_lock_is_noticed_and_answered() -> None:
    async def op(world: World, tree: Tree) -> None:
        await world.rt.cond_resched("f.1")
        world.log.append(tree.root)

    world = alone(op)
    (splat,) = world.splats
    assert world.log == [1]
    assert (splat.kind, splat.at, splat.target.name) == ("unguarded-access", "f.1", "tree")
    assert splat.message == "tree.root touched by a without tree_mutex"
    assert world.rt.stop_reason == "done"


def test_write_without_the_lock_is_noticed_and_done() -> None:
    async def op(world: World, tree: Tree) -> None:
        tree.root = 5
        world.log.append(tree._root)  # type: ignore[attr-defined]

    world = alone(op)
    assert (world.log, world.kinds) == ([5], ["unguarded-access"])


def test_lock_of_another_actor_does_not_help() -> None:
    def build(world: World) -> None:
        tree = Tree(world.rt)

        async def holder() -> None:
            await tree.mutex.lock("h.1")
            await world.rt.cond_resched("h.2")
            await tree.mutex.unlock("h.3")

        async def intruder() -> None:
            world.log.append(tree.root)

        world.actor("h", holder)
        world.actor("i", intruder)

    world = run_actors(build, "h@h.2", "i", "h")
    assert [splat.message for splat in world.splats] == [
        "tree.root touched by i without tree_mutex"
    ]


def test_reader_may_read_but_not_write_where_writers_need_more() -> None:
    async def op(world: World, tree: Tree) -> None:
        await tree.sem.down_read("f.1")
        world.log.append(tree.size)
        tree.size = 11
        await tree.sem.up_read("f.2")
        await tree.sem.down_write("f.3")
        tree.size = 12
        await tree.sem.up_write("f.4")

    world = alone(op)
    assert [splat.at for splat in world.splats] == ["f.1"]
    assert world.log == [10]


def test_touch_of_a_dead_object_is_noticed_even_by_the_holder() -> None:
    async def op(world: World, tree: Tree) -> None:
        await tree.mutex.lock("f.1")
        tree.die("freed", "f.1")
        world.log.append(tree.root)
        tree.root = 3

    world = alone(op)
    assert world.kinds == ["use-after-free", "use-after-free", "held-at-exit"]
    assert world.splats[0].message == "a touches tree.root"


def test_set_up_and_oracles_are_not_checked() -> None:
    trees: list[Tree] = []

    def build(world: World) -> None:
        tree = Tree(world.rt)
        tree.root = 7
        trees.append(tree)

        async def body() -> None:
            await world.rt.cond_resched("f.1")

        world.actor("a", body)

    world = run_actors(build)
    assert trees[0].root == 7
    assert world.splats == []


def test_declaration_is_found_on_the_class() -> None:
    assert isinstance(Tree.root, Guarded)


def test_objects_do_not_share_values() -> None:
    trees: list[Tree] = []

    def build(world: World) -> None:
        trees.extend([Tree(world.rt), Tree(world.rt)])
        trees[0].root = 2

        async def body() -> None:
            pass

        world.actor("a", body)

    run_actors(build)
    assert [tree.root for tree in trees] == [2, 1]
