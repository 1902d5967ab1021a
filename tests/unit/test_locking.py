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
from ksmtrio.sched.actor_state import State
from ksmtrio.sched.cell import Cell, Flags
from ksmtrio.sched.host_trio import TrioHost
from ksmtrio.sched.runtime import Runtime
from tests.harness import Body, Box, Tape, Turns, World, every_schedule, run_actors

PG_LOCKED = 1


def page_lock(owner: Box) -> BitLock:
    """Return a page lock with a flags word of its own."""
    return BitLock(owner, "page_lock", Flags(owner, "flags", 0, {PG_LOCKED: "locked"}), PG_LOCKED)


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


def alone(op: Callable[[World], Awaitable[None]], **options: Any) -> World:
    """Run one coroutine as the only actor."""

    def build(world: World) -> None:
        async def body() -> None:
            await op(world)

        world.actor("a", body)

    return run_actors(build, **options)


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


# -- mutex -------------------------------------------------------------------------------------


def queue_for_a_mutex(world: World) -> None:
    """Four actors take one mutex each; `a` is meant to come first, `b` and `d` to queue."""
    mutex = Mutex(world.box, "mutex")

    async def body() -> None:
        await mutex.lock("f.1")
        world.enter()
        world.leave()
        await mutex.unlock("f.2")

    for name in "abcd":
        world.actor(name, body)


def test_woken_head_takes_the_mutex_if_it_runs_first() -> None:
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "a", "b", "c")
    assert world.log[:3] == ["a", "b", "c"]


def test_running_newcomer_may_take_the_mutex_before_the_woken_head() -> None:
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "a", "c", "b")
    assert world.log[:3] == ["a", "c", "b"]


def test_woken_head_that_loses_keeps_its_place_in_the_queue() -> None:
    #  a holds; b, then d queue; a unlocks and wakes b; c is faster; b blocks again, still first
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "d", "a", "c@f.2", "b", "c", "d", "b")
    assert world.log == ["a", "c", "b", "d"]
    assert world.splats == []


def test_unlock_wakes_only_the_head() -> None:
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "d", "a", "d", "c", "b")
    assert world.log == ["a", "c", "b", "d"]


def test_waiters_that_no_newcomer_disturbs_are_served_in_order() -> None:
    for order in permutations("bcd"):
        world = run_actors(queue_for_a_mutex, "a@f.2", *order, "a")
        assert world.log == ["a", *order]


def test_last_holder_may_take_the_mutex_again_before_the_woken_head() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def twice() -> None:
            for _ in range(2):
                await mutex.lock("f.1")
                world.enter()
                world.leave()
                await mutex.unlock("f.2")

        async def once() -> None:
            await mutex.lock("g.1")
            world.enter()
            world.leave()
            await mutex.unlock("g.2")

        world.actor("a", twice)
        world.actor("b", once)

    logs = {tuple(world.log) for world in every_schedule(build)}
    assert logs == {("a", "a", "b"), ("a", "b", "a"), ("b", "a", "a")}
    assert run_actors(build, "a@f.2", "b", "a", "b").log == ["a", "a", "b"]


def misused_mutex(world: World) -> None:
    """`x` unlocks what it does not hold; `a` and `b` lock as usual."""
    mutex = Mutex(world.box, "mutex")

    async def stranger() -> None:
        await mutex.unlock("x.1")

    async def body() -> None:
        await mutex.lock("f.1")
        world.enter()
        await world.rt.cond_resched("f.2")
        world.leave()
        await mutex.unlock("f.3")

    world.actor("x", stranger)
    world.actor("a", body)
    world.actor("b", body)


def test_unlock_of_a_free_mutex_lets_two_in_and_makes_the_third_wait() -> None:
    world = run_actors(misused_mutex, "x", "a@f.2", "b@f.2")
    assert world.kinds == ["unlock-of-unlocked"]
    assert world.crowd == 2


def test_count_of_two_does_not_let_a_third_in() -> None:
    def build(world: World) -> None:
        misused_mutex(world)
        world.actor("c", world.bodies[1])

    world = run_actors(build, "x", "a@f.2", "b@f.2", "c", "a", "c", "b")
    assert world.log == ["a", "b", "c"]
    assert world.crowd == 2
    assert world.kinds == ["unlock-of-unlocked"]
    #  both unlock before c runs: the second raises the count to 2 again
    world = run_actors(build, "x", "a@f.2", "b@f.2", "c", "a", "b", "c")
    assert world.log == ["a", "b"]
    assert world.kinds == ["unlock-of-unlocked", "hung-task"]


def test_foreign_unlock_lets_another_in_beside_the_holder() -> None:
    world = run_actors(misused_mutex, "a@f.2", "x", "b@f.2")
    assert world.kinds == ["foreign-unlock"]
    assert world.crowd == 2
    assert world.rt.stop_reason == "done"


def test_foreign_unlock_wakes_the_head_waiter() -> None:
    world = run_actors(misused_mutex, "a@f.2", "b", "x", "b@f.2")
    assert world.crowd == 2


def test_misuse_shows_in_some_schedules_only() -> None:
    crowds = [(world.crowd, tuple(world.kinds)) for world in every_schedule(misused_mutex)]
    assert {crowd for crowd, _ in crowds} == {1, 2}
    noticed = {kind for _, kinds in crowds for kind in kinds}
    assert noticed == {"foreign-unlock", "unlock-of-unlocked", "hung-task"}


def test_waiter_woken_at_a_count_of_two_sleeps_on_and_hangs() -> None:
    #  b queues behind a; a unlocks (count 1, b woken); x unlocks again (count 2); b wants exactly 1
    world = run_actors(misused_mutex, "a@f.2", "b", "a", "x", "b")
    assert world.kinds == ["unlock-of-unlocked", "hung-task"]
    assert world.splats[1].message == "b waits for box.mutex at f.1"


def test_mutex_tells_whether_it_is_free() -> None:
    async def op(world: World) -> None:
        mutex = Mutex(world.box, "mutex")
        seen = [mutex.free]
        await mutex.lock("f.1")
        seen.append(mutex.free)
        await mutex.unlock("f.2")
        assert [*seen, mutex.free] == [True, False, True]

    assert alone(op).splats == []


def test_mutex_survives_the_return_of_the_function_that_took_it() -> None:
    async def op(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def going_offline() -> None:
            await mutex.lock("f.1")

        async def offline() -> None:
            await mutex.unlock("f.2")

        await going_offline()
        assert mutex.held_by(world.rt.me)
        await offline()

    assert alone(op).splats == []


# -- rwsem -------------------------------------------------------------------------------------


def readers_and_writers(*roles: str) -> Callable[[World], None]:
    """Return a world of readers (r1, r2...) and writers (w1...), each once through the lock."""

    def build(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        def body(role: str) -> Body:
            async def read() -> None:
                await sem.down_read("r.1")
                world.enter()
                await world.rt.cond_resched("r.2")
                world.leave()
                await sem.up_read("r.3")

            async def write() -> None:
                await sem.down_write("w.1")
                world.enter()
                assert world.inside == [world.rt.me.name]
                assert sem.write_held_by(world.rt.me)
                await world.rt.cond_resched("w.2")
                assert world.inside == [world.rt.me.name]
                world.leave()
                await sem.up_write("w.3")

            return read if role.startswith("r") else write

        for role in roles:
            world.actor(role, body(role))

    return build


def test_readers_share_and_a_writer_is_alone_in_every_schedule() -> None:
    worlds = every_schedule(readers_and_writers("r1", "w1"))
    assert all(world.splats == [] and world.rt.stop_reason == "done" for world in worlds)
    worlds = every_schedule(readers_and_writers("r1", "r2"))
    assert {world.crowd for world in worlds} == {1, 2}


def test_two_readers_and_a_writer_end_in_every_order() -> None:
    def build(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        async def read() -> None:
            await sem.down_read("r.1")
            world.enter()
            assert "w" not in world.inside
            await sem.up_read("r.2")
            world.leave()

        async def write() -> None:
            await sem.down_write("w.1")
            world.enter()
            assert world.inside == ["w"]
            world.leave()
            await sem.up_write("w.2")

        world.actor("r1", read)
        world.actor("w", write)
        world.actor("r2", read)

    worlds = every_schedule(build)
    assert {tuple(w.log) for w in worlds} == set(permutations(["r1", "w", "r2"]))
    assert all(w.splats == [] for w in worlds)


def test_queued_writer_blocks_later_readers() -> None:
    build = readers_and_writers("r1", "w1", "r2")
    world = run_actors(build, "r1@r.2", "w1", "r2", "r1", "r2", "w1")
    assert world.log == ["r1", "w1", "r2"]
    world = run_actors(build, "r1@r.2", "r2@r.2", "w1", "r1")
    assert world.log == ["r1", "r2", "w1"]


def test_writer_waits_for_the_last_reader() -> None:
    world = run_actors(readers_and_writers("r1", "r2", "w1"), "r1@r.2", "r2@r.2", "w1", "r2", "w1")
    assert world.log == ["r1", "r2", "w1"]
    assert world.crowd == 2


def test_readers_at_the_head_of_the_queue_wake_together_up_to_the_next_writer() -> None:
    build = readers_and_writers("w1", "r1", "r2", "w2", "r3")
    world = run_actors(
        build, "w1@w.2", "r1", "r2", "w2", "r3", "w1", "r3", "r1@r.2", "r2@r.2", "r3", "w2"
    )
    assert world.log == ["w1", "r1", "r2", "w2", "r3"]
    assert world.crowd == 2


def test_lock_is_handed_over_so_that_a_newcomer_cannot_overtake() -> None:
    world = run_actors(readers_and_writers("w1", "r1", "w2"), "w1@w.2", "r1", "w1", "w2", "r1")
    assert world.log == ["w1", "r1", "w2"]
    world = run_actors(readers_and_writers("w1", "w2", "r1"), "w1@w.2", "w2", "w1", "r1", "w2")
    assert world.log == ["w1", "w2", "r1"]


def test_writers_are_served_in_order_of_arrival() -> None:
    for order in permutations(["w2", "w3", "w4"]):
        world = run_actors(readers_and_writers("w1", "w2", "w3", "w4"), "w1@w.2", *order, "w1")
        assert world.log == ["w1", *order]


def test_read_trylock_fails_on_a_writer_and_behind_a_queued_writer() -> None:
    def build(world: World) -> None:
        readers_and_writers("r1", "w1")(world)
        sem = RwSem(world.box, "other")

        async def tries() -> None:
            world.note(str(await sem.down_read_trylock("t.1")))
            world.note(str(await sem.down_read_trylock("t.1")))
            await sem.up_read("t.2")
            await sem.up_read("t.2")

        world.actor("t", tries)

    assert run_actors(build, "t", "r1").log[:2] == ["t True", "t True"]

    def contended(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        async def reader() -> None:
            await sem.down_read("r.1")
            await sem.up_read("r.2")

        async def writer() -> None:
            await sem.down_write("w.1")
            await sem.up_write("w.2")

        async def tries() -> None:
            world.log.append(await sem.down_read_trylock("t.1"))
            if world.log[-1]:
                await sem.up_read("t.2")

        world.actor("r", reader)
        world.actor("w", writer)
        world.actor("t", tries)

    assert run_actors(contended, "r@r.2", "t", "r").log == [True]
    assert run_actors(contended, "w@w.2", "t", "w").log == [False]
    assert run_actors(contended, "r@r.2", "w", "t", "r").log == [False]
    assert run_actors(contended, "r@r.2", "w", "r", "w", "t").log == [True]


def test_reading_twice_is_noticed_and_passes_while_no_writer_waits() -> None:
    async def op(world: World) -> None:
        sem = RwSem(world.box, "rwsem")
        await sem.down_read("f.1")
        await sem.down_read("f.2")
        await sem.up_read("f.3")
        assert sem.held_by(world.rt.me)
        await sem.up_read("f.4")
        assert not sem.held_by(world.rt.me)

    assert alone(op).kinds == ["recursive-lock"]


def test_reading_twice_deadlocks_around_a_queued_writer() -> None:
    def build(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        async def reader() -> None:
            await sem.down_read("r.1")
            await sem.down_read("r.2")

        async def writer() -> None:
            await sem.down_write("w.1")

        world.actor("r", reader)
        world.actor("w", writer)

    world = run_actors(build, "r@r.2", "w", "r")
    assert world.kinds == ["recursive-lock", "deadlock"]
    assert world.splats[1].message == "r waits for box.rwsem at r.2"


def test_cycle_through_the_second_of_two_readers_is_a_deadlock() -> None:
    def build(world: World) -> None:
        sem, mutex, wait = (
            RwSem(world.box, "rwsem"),
            Mutex(world.box, "m"),
            WaitQueue(world.box, "q"),
        )

        async def waits_for_ever() -> None:
            await sem.down_read("i.1")
            await wait.wait_event("i.2", lambda: False, idle=False)

        async def reader() -> None:
            await sem.down_read("r.1")
            await mutex.lock("r.2")

        async def writer() -> None:
            await mutex.lock("w.1")
            await sem.down_write("w.2")

        world.actor("i", waits_for_ever)
        world.actor("r", reader)
        world.actor("w", writer)

    world = run_actors(build, "i", "r@r.2", "w", "r")
    assert world.kinds == ["deadlock"]
    assert world.splats[0].message == "r waits for box.m at r.2; w waits for box.rwsem at w.2"


def test_two_offliners_and_a_registration_deadlock() -> None:
    """The hazard of two parallel offlines: mutex and rwsem are taken in both orders."""

    def build(world: World) -> None:
        chain, mutex = RwSem(world.box, "chain"), Mutex(world.box, "ksm")

        async def offline() -> None:
            await chain.down_read("o.1")
            await mutex.lock("o.2")
            await chain.up_read("o.3")
            await chain.down_read("o.4")
            await mutex.unlock("o.5")
            await chain.up_read("o.6")

        async def register() -> None:
            await chain.down_write("n.1")
            await chain.up_write("n.2")

        world.actor("t1", offline)
        world.actor("t2", offline)
        world.actor("reg", register)

    world = run_actors(build, "t1@o.4", "t2", "reg", "t1")
    assert world.kinds == ["deadlock"]
    assert world.splats[0].message == "t1 waits for box.chain at o.4; t2 waits for box.ksm at o.2"
    assert run_actors(build, "t1@o.4", "t2", "t1", "t2", "reg").splats == []


def test_read_hold_does_not_count_as_a_write_hold() -> None:
    async def op(world: World) -> None:
        sem = RwSem(world.box, "rwsem")
        await sem.down_read("f.1")
        assert not sem.write_held_by(world.rt.me)
        await sem.up_read("f.2")

    assert alone(op).kinds == []


# -- spinlock ----------------------------------------------------------------------------------


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


# -- page lock ---------------------------------------------------------------------------------


def lockers(world: World) -> None:
    """Three actors lock one page; a fourth only tries."""
    lock = page_lock(world.box)

    async def body() -> None:
        await lock.lock("f.1")
        world.enter()
        world.leave()
        await lock.unlock("f.2")

    async def tries() -> None:
        taken = await lock.trylock("t.1")
        world.note(str(taken))
        if taken:
            await lock.unlock("t.2")

    for name in "abc":
        world.actor(name, body)
    world.actor("t", tries)


def test_any_waiter_may_win_the_page_lock() -> None:
    for winner, loser in ("bc", "cb"):
        world = run_actors(lockers, "a@f.2", "b", "c", "a", winner, loser, "t")
        assert world.log[:3] == ["a", winner, loser]


def test_newcomer_may_win_the_page_lock_before_the_waiters() -> None:
    world = run_actors(lockers, "a@f.2", "b", "a", "c@f.2", "b", "c", "b", "t")
    assert world.log[:3] == ["a", "c", "b"]
    assert world.splats == []


def test_trylock_of_a_third_party_may_win_before_the_waiters() -> None:
    world = run_actors(lockers, "a@f.2", "b", "a", "t@t.2", "b", "t", "b", "c")
    assert world.log == ["a", "t True", "b", "c"]


def test_trylock_fails_at_once_on_a_locked_page() -> None:
    tape = Tape()
    world = run_actors(lockers, "a@f.2", "t", "a", recorder=tape)
    assert world.log[:2] == ["a", "t False"]
    assert ("t.1", "trylock_page", "page_lock(box)", False) in tape.operations


def test_waiting_for_a_page_does_not_take_it() -> None:
    def build(world: World) -> None:
        lock = page_lock(world.box)

        async def holder() -> None:
            await lock.lock("h.1")
            world.note("in")
            await world.rt.cond_resched("h.2")
            world.note("out")
            await lock.unlock("h.3")

        async def waiter() -> None:
            await lock.wait_unlocked("w.1")
            assert not lock.held_by(world.rt.me)
            world.note("on")

        world.actor("h", holder)
        world.actor("w", waiter)

    worlds = every_schedule(build)
    assert {tuple(w.log) for w in worlds} == {
        ("h in", "h out", "w on"),
        ("w on", "h in", "h out"),
    }
    assert all(w.splats == [] for w in worlds)


def test_waiter_for_an_unlocked_page_sleeps_on_when_a_newcomer_is_faster() -> None:
    def build(world: World) -> None:
        lock = page_lock(world.box)

        async def holder() -> None:
            for _ in range(2):
                await lock.lock("h.1")
                world.note("in")
                await lock.unlock("h.2")

        async def waiter() -> None:
            await lock.wait_unlocked("w.1")
            world.note("on")

        world.actor("h", holder)
        world.actor("w", waiter)

    #  after the first unlock w is woken, but h locks again before w looks
    turns = ["h@h.2", "w", "h@h.1", "h@h.2", "w", "h", "w"]
    assert run_actors(build, *turns).log == ["h in", "h in", "w on"]


def test_lockless_reader_of_the_flags_sees_the_lock_bit() -> None:
    async def op(world: World) -> None:
        flags = Flags(world.box, "flags", 0, {PG_LOCKED: "locked"})
        lock = BitLock(world.box, "page_lock", flags, PG_LOCKED)
        world.log.append(lock.locked)
        await lock.lock("f.1")
        world.log.extend([lock.locked, await flags.test("f.2", PG_LOCKED)])
        await lock.unlock("f.3")
        world.log.append(await flags.test("f.4", PG_LOCKED))

    assert alone(op).log == [False, True, True, False]


# -- wait queue --------------------------------------------------------------------------------


def signal(world: World, *, wakes: bool, idle: bool = False, waiters: int = 1) -> None:
    """One actor makes a condition true and, perhaps, says so; others wait for it."""
    queue, ready = WaitQueue(world.box, "ksm_thread_wait"), Cell(world.box, "ready", value=False)

    async def waiter() -> None:
        await queue.wait_event("w.1", lambda: ready.value, idle=idle)
        assert ready.value
        assert not world.rt.me.idle
        world.note("awake")

    async def waker() -> None:
        await ready.write("s.1", value=True)
        if wakes:
            await queue.wake_up("s.2")

    for number in range(waiters):
        world.actor(f"w{number}", waiter)
    world.actor("s", waker)


@pytest.mark.parametrize("waiters", [1, 2])
def test_no_schedule_loses_a_wake_up(waiters: int) -> None:
    worlds = every_schedule(lambda world: signal(world, wakes=True, waiters=waiters))
    assert len(worlds) > 3
    for world in worlds:
        assert world.splats == []
        assert len(world.log) == waiters


def test_missing_wake_up_hangs_in_some_schedules() -> None:
    worlds = every_schedule(lambda world: signal(world, wakes=False))
    messages = [[splat.message for splat in world.splats] for world in worlds]
    assert [] in messages
    assert ["w0 waits for ksm_thread_wait at w.1"] in messages
    assert {kind for world in worlds for kind in world.kinds} == {"hung-task"}


def test_idle_waiter_counts_as_hung_only_when_it_has_work_and_nobody_said_so() -> None:
    worlds = every_schedule(lambda world: signal(world, wakes=False, idle=True))
    assert {len(world.log) for world in worlds} == {0, 1}
    for world in worlds:
        assert [splat.kind for splat in world.splats] == ["hung-task"] * (1 - len(world.log))


def test_idle_waiter_without_work_never_counts_as_hung() -> None:
    def build(world: World) -> None:
        queue = WaitQueue(world.box, "ksm_thread_wait")

        async def waiter() -> None:
            await queue.wait_event("w.1", lambda: False, idle=True)

        world.actor("w", waiter)

    assert all(world.splats == [] for world in every_schedule(build))


def test_waiter_whose_condition_is_still_false_sleeps_on() -> None:
    def build(world: World) -> None:
        queue, count = WaitQueue(world.box, "wait"), Cell(world.box, "count", 0)

        async def waiter() -> None:
            await queue.wait_event("w.1", lambda: count.value == 2, idle=False)
            world.note(str(count.value))

        async def waker() -> None:
            for value in (1, 2):
                await count.write("s.1", value)
                await queue.wake_up("s.2")

        world.actor("w", waiter)
        world.actor("s", waker)

    worlds = every_schedule(build)
    assert all(world.log == ["w 2"] and world.splats == [] for world in worlds)


def test_wake_up_tells_the_recorder_how_many_it_woke() -> None:
    tape = Tape()
    run_actors(lambda world: signal(world, wakes=True, waiters=2), "w0", "w1", "s", recorder=tape)
    assert ("s.2", "wake_up", "ksm_thread_wait", 2) in tape.operations


# -- RCU ---------------------------------------------------------------------------------------


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
