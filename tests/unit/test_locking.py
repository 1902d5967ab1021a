# SPDX-License-Identifier: GPL-2.0-or-later
"""Each lock and each of its operations, under every schedule of a small world where it matters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import permutations
from typing import Any

import attrs
import pytest

from ksmtrio.errors import EmulatorError
from ksmtrio.locking.base import Lock
from ksmtrio.locking.bit_lock import BitLock
from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.locking.rwsem import RwSem
from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.host_trio import TrioHost
from ksmtrio.sched.runtime import Runtime
from tests.harness import (
    Box,
    Tape,
    Turns,
    World,
    alone,
    every_schedule,
    page_lock,
    run_actors,
)


@attrs.frozen
class Kind:
    """One way to take a lock exclusively and to let go of it."""

    name: str
    make: Callable[[Box], Any]
    take: Callable[[Any, str], Awaitable[None]]
    drop: Callable[[Any, str], Awaitable[None]]
    taken: str
    dropped: str
    sleeps: bool = True


async def _spin_unlock(lock: SpinLock, at: str) -> None:
    lock.unlock(at)


MUTEX = Kind(
    "mutex", lambda box: Mutex(box, "mutex"), Mutex.lock, Mutex.unlock, "mutex_lock", "mutex_unlock"
)
WRITE = Kind(
    "rwsem", lambda box: RwSem(box, "rwsem"), RwSem.down_write, RwSem.up_write,
    "down_write", "up_write",
)  # fmt: skip
PAGE = Kind("page_lock", page_lock, BitLock.lock, BitLock.unlock, "lock_page", "unlock_page")
SPIN = Kind(
    "spinlock", lambda box: SpinLock(box, "spinlock"), SpinLock.lock, _spin_unlock,
    "spin_lock", "spin_unlock", sleeps=False,
)  # fmt: skip
KINDS = [MUTEX, WRITE, PAGE, SPIN]

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
sleeping_kind = pytest.mark.parametrize(
    "kind", [k for k in KINDS if k.sleeps], ids=lambda kind: kind.name
)


def contenders(kind: Kind, count: int) -> Callable[[World], None]:
    """Return a world where `count` actors go through one critical section each."""

    def build(world: World) -> None:
        lock = kind.make(world.box)
        word = Cell(world.box, "word", 0)

        async def body() -> None:
            await kind.take(lock, "f.1")
            world.enter()
            if not kind.sleeps:  # its unlock is no schedule point
                await word.read("f.2")
            world.leave()
            await kind.drop(lock, "f.3")

        async def long_body() -> None:
            await kind.take(lock, "f.1")
            world.enter()
            await word.read("f.2")
            assert lock.held_by(world.rt.me)
            assert list(lock.holders()) == [world.rt.me]
            world.leave()
            await kind.drop(lock, "f.3")
            assert not lock.held_by(world.rt.me)

        for name in "abc"[:count]:
            world.actor(name, long_body if count == 2 else body)

    return build


# -- every lock --------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("count", [2, 3])
def test_no_schedule_lets_two_in(kind: Kind, count: int) -> None:
    worlds = every_schedule(contenders(kind, count))
    assert len(worlds) > count
    for world in worlds:
        assert world.splats == []
        assert world.rt.stop_reason == "done"
        assert all(actor.state is State.FINISHED for actor in world.rt.actors)
        assert world.crowd == 1
        assert all(actor.held == [] for actor in world.rt.actors)
        assert all(actor.preempt_count == 0 for actor in world.rt.actors)


@every_kind
def test_any_of_three_may_come_first_second_and_last(kind: Kind) -> None:
    orders = {tuple(world.log) for world in every_schedule(contenders(kind, 3))}
    assert orders == set(permutations("abc"))


@every_kind
def test_every_schedule_is_run_once(kind: Kind) -> None:
    worlds = every_schedule(contenders(kind, 2))
    schedules = [tuple(world.rt.choices.schedule) for world in worlds]
    assert len(set(schedules)) == len(schedules)


@every_kind
def test_holder_is_known_and_remembers_where(kind: Kind) -> None:
    tape = Tape()

    async def op(world: World) -> None:
        lock = kind.make(world.box)
        assert list(lock.holders()) == []
        await kind.take(lock, "f.1")
        assert lock.held_by(world.rt.me)
        assert world.rt.me.held == [lock]
        assert lock.acquired_at == "f.1"
        await kind.drop(lock, "f.2")
        assert world.rt.me.held == []

    world = alone(op, recorder=tape)
    events = [(at, event) for at, event, name, _ in tape.operations if name != "box.flags"]
    assert events == [("f.1", kind.taken), ("f.2", kind.dropped)]
    assert world.splats == []


@every_kind
def test_lock_held_at_exit_is_noticed(kind: Kind) -> None:
    async def op(world: World) -> None:
        await kind.take(kind.make(world.box), "f.1")

    (splat,) = alone(op).splats
    assert (splat.kind, splat.at) == ("held-at-exit", "f.1")
    assert splat.message == f"a ends with {splat.target.name} held"


@every_kind
def test_waiter_for_a_lock_held_at_exit_hangs(kind: Kind) -> None:
    def build(world: World) -> None:
        lock = kind.make(world.box)

        async def body() -> None:
            await kind.take(lock, "f.1")

        world.actor("a", body)
        world.actor("b", body)

    world = run_actors(build, "a", "b")
    assert world.kinds == ["held-at-exit", "hung-task"]
    assert world.splats[1].message == f"b waits for {world.splats[1].target.name} at f.1"


@every_kind
def test_recursion_is_noticed_and_deadlocks_the_actor_with_itself(kind: Kind) -> None:
    async def op(world: World) -> None:
        lock = kind.make(world.box)
        await kind.take(lock, "f.1")
        await kind.take(lock, "f.2")

    kinds = alone(op).kinds
    assert kinds[-1] == "deadlock"
    assert "recursive-lock" in kinds
    assert set(kinds) <= {"recursive-lock", "deadlock", "sleeping-in-atomic"}


@every_kind
def test_unlock_by_another_names_the_holder(kind: Kind) -> None:
    def build(world: World) -> None:
        lock = kind.make(world.box)

        async def holder() -> None:
            await kind.take(lock, "h.1")
            await world.rt.point("h.2", "noop", None)

        async def stranger() -> None:
            await kind.drop(lock, "s.1")

        world.actor("h", holder)
        world.actor("s", stranger)

    world = run_actors(build, "h@h.2", "s", "h", fatal=["foreign-unlock"])
    (splat,) = world.splats
    assert (splat.kind, splat.at) == ("foreign-unlock", "s.1")
    assert splat.message == f"s unlocks {splat.target.name}, held by h"
    assert splat.other is not None
    assert (splat.other.kind, splat.other.at) == ("held", "h.1")
    assert splat.other.actor is world.rt.actors[0]
    assert world.rt.stop_reason == "foreign-unlock"


@every_kind
def test_unlock_of_a_free_lock_is_noticed(kind: Kind) -> None:
    async def op(world: World) -> None:
        await kind.drop(kind.make(world.box), "f.1")

    (splat,) = alone(op).splats
    assert (splat.kind, splat.other) == ("unlock-of-unlocked", None)
    assert splat.message == f"a unlocks {splat.target.name}, held by nobody"


@every_kind
@pytest.mark.parametrize("what", ["take", "drop"])
def test_use_of_a_lock_in_a_dead_structure_is_noticed(kind: Kind, what: str) -> None:
    async def op(world: World) -> None:
        lock = kind.make(world.box)
        if what == "drop":
            await kind.take(lock, "f.1")
        world.box.die("freed", "f.1")
        await (kind.drop if what == "drop" else kind.take)(lock, "f.2")

    world = alone(op)
    assert ("use-after-free", "f.2") in [(splat.kind, splat.at) for splat in world.splats]


@every_kind
def test_abba_deadlocks_in_some_schedules_and_the_cycle_is_told(kind: Kind) -> None:
    def build(world: World) -> None:
        one, two = kind.make(Box(world.rt, "one")), kind.make(Box(world.rt, "two"))

        async def both(first: Any, second: Any) -> None:
            await kind.take(first, "f.1")
            await kind.take(second, "f.2")
            await kind.drop(second, "f.3")
            await kind.drop(first, "f.4")

        world.actor("a", lambda: both(one, two))
        world.actor("b", lambda: both(two, one))

    worlds = every_schedule(build)
    told = {splat.message for w in worlds for splat in w.splats if splat.kind == "deadlock"}
    first, second = kind.make(Box(worlds[0].rt, "one")), kind.make(Box(worlds[0].rt, "two"))
    assert told == {f"a waits for {second.name} at f.2; b waits for {first.name} at f.2"}
    assert any(w.kinds == [] or (not kind.sleeps and "deadlock" not in w.kinds) for w in worlds)
    assert not any("hung-task" in w.kinds for w in worlds)


def test_cycle_of_three_is_told_in_order_and_without_bystanders() -> None:
    def build(world: World) -> None:
        locks = [Mutex(world.box, name) for name in ("x", "y", "z")]

        async def two(first: int, second: int) -> None:
            await locks[first].lock("f.1")
            await locks[second].lock("f.2")

        async def bystander() -> None:
            await locks[0].lock("g.1")

        world.actor("bystander", bystander)
        for name, first, second in (("a", 0, 1), ("b", 1, 2), ("c", 2, 0)):
            world.actor(name, lambda f=first, s=second: two(f, s))  # type: ignore[misc]

    world = run_actors(build, "a@f.2", "b@f.2", "c@f.2", "bystander", "a", "b", "c")
    assert [splat.message for splat in world.splats] == [
        "a waits for box.y at f.2; b waits for box.z at f.2; c waits for box.x at f.2"
    ]


def test_locks_are_named_after_their_structure() -> None:
    box = Box(Runtime(Turns(), TrioHost()), "mm(A)")
    assert Mutex(box, "mmap_sem").name == "mm(A).mmap_sem"
    assert page_lock(Box(box.rt, "pfn=42")).name == "page_lock(pfn=42)"
    assert Mutex(Box(box.rt, ""), "ksm_thread_mutex").name == "ksm_thread_mutex"
    assert repr(Mutex(box, "mmap_sem")) == "<mm(A).mmap_sem>"


def test_lock_class_is_the_field_unless_given() -> None:
    box = Box(Runtime(Turns(), TrioHost()))
    assert Mutex(box, "mutex").lock_class == "mutex"
    assert RwSem(box, "mmap_sem", "mmap_sem/1").lock_class == "mmap_sem/1"


def test_base_lock_has_no_holders_of_its_own() -> None:
    box = Box(Runtime(Turns(), TrioHost()))
    with pytest.raises(NotImplementedError):
        Lock(box, "lock").held_by(Runtime(Turns(), TrioHost()).add_actor("a", cpu=0))


def test_lock_outside_an_execution_is_a_fault_of_ours() -> None:
    box = Box(Runtime(Turns(), TrioHost()))
    with pytest.raises(EmulatorError, match="no actor held the baton"):
        Mutex(box, "mutex").lock("f.1").send(None)


# -- sleeping in atomic context ----------------------------------------------------------------

SLEEPERS: dict[str, Callable[[World], Awaitable[Any]]] = {
    "mutex_lock": lambda w: Mutex(w.box, "mutex").lock("f.2"),
    "down_read": lambda w: RwSem(w.box, "rwsem").down_read("f.2"),
    "down_write": lambda w: RwSem(w.box, "rwsem").down_write("f.2"),
    "lock_page": lambda w: page_lock(w.box).lock("f.2"),
    "wait_on_page_locked": lambda w: page_lock(w.box).wait_unlocked("f.2"),
    "wait_event": lambda w: WaitQueue(w.box, "wait").wait_event("f.2", lambda: True, idle=False),
    "sleep": lambda w: w.rt.sleep("f.2"),
    "yield": lambda w: w.rt.yield_("f.2"),
    "cond_resched": lambda w: w.rt.cond_resched("f.2"),
}
NON_SLEEPERS: dict[str, Callable[[World], Awaitable[Any]]] = {
    "trylock_page": lambda w: page_lock(w.box).trylock("f.2"),
    "down_read_trylock": lambda w: RwSem(w.box, "rwsem").down_read_trylock("f.2"),
    "spin_lock": lambda w: SpinLock(w.box, "inner").lock("f.2"),
    "wake_up": lambda w: WaitQueue(w.box, "wait").wake_up("f.2"),
    "mutex_unlock": lambda w: Mutex(w.box, "mutex").unlock("f.2"),
    "read": lambda w: Cell(w.box, "word", 0).read("f.2"),
}


@pytest.mark.parametrize("name", SLEEPERS)
def test_sleeping_with_a_spinlock_held_is_noticed_even_if_nothing_blocks(name: str) -> None:
    async def op(world: World) -> None:
        lock = SpinLock(world.box, "spinlock")
        await lock.lock("f.1")
        await SLEEPERS[name](world)

    splat = alone(op).splats[0]
    assert (splat.kind, splat.at) == ("sleeping-in-atomic", "f.2")
    assert splat.message == "a may sleep with box.spinlock held"
    assert splat.target.name == "box.spinlock"


@pytest.mark.parametrize("name", SLEEPERS)
def test_sleeping_in_an_rcu_section_is_noticed(name: str) -> None:
    async def op(world: World) -> None:
        rcu_read_lock(world.rt)
        await SLEEPERS[name](world)

    splat = alone(op).splats[0]
    assert (splat.kind, splat.target) == ("sleeping-in-atomic", None)
    assert splat.message == "a may sleep with RCU held"


@pytest.mark.parametrize("name", SLEEPERS)
def test_sleeping_is_fine_once_the_atomic_section_is_over(name: str) -> None:
    async def op(world: World) -> None:
        lock = SpinLock(world.box, "spinlock")
        await lock.lock("f.1")
        lock.unlock("f.1")
        rcu_read_lock(world.rt)
        rcu_read_unlock(world.rt)
        await SLEEPERS[name](world)

    assert "sleeping-in-atomic" not in alone(op).kinds


@pytest.mark.parametrize("name", NON_SLEEPERS)
def test_what_never_sleeps_may_be_done_in_atomic_context(name: str) -> None:
    async def op(world: World) -> None:
        await SpinLock(world.box, "spinlock").lock("f.1")
        rcu_read_lock(world.rt)
        await NON_SLEEPERS[name](world)

    assert "sleeping-in-atomic" not in alone(op).kinds


@sleeping_kind
def test_sleeping_with_a_sleeping_lock_held_is_fine(kind: Kind) -> None:
    async def op(world: World) -> None:
        lock = kind.make(world.box)
        await kind.take(lock, "f.1")
        await world.rt.sleep("f.2")
        await kind.drop(lock, "f.3")

    assert alone(op).splats == []


@every_kind
def test_watchers_are_told_of_locks_taken_and_released(kind: Kind) -> None:
    told: list[tuple[str, ...]] = []

    def acquired(actor: ActorState, lock: Any, event: str) -> None:
        assert actor.held[-1] is lock
        told.append(("acquired", actor.name, lock.field, event))

    def released(actor: ActorState, lock: Any, at: str) -> None:
        assert lock not in actor.held
        told.append(("released", actor.name, lock.field, at))

    def build(world: World) -> None:
        lock = kind.make(world.box)
        world.rt.on_acquire.append(acquired)
        world.rt.on_release[lock.lock_class] = [released]

        async def body() -> None:
            await kind.take(lock, "f.1")
            await kind.drop(lock, "f.2")

        world.actor("a", body)

    run_actors(build)
    assert told == [
        ("acquired", "a", kind.name, kind.taken),
        ("released", "a", kind.name, "f.2"),
    ]
