# SPDX-License-Identifier: GPL-2.0-or-later
"""The baton: who may run, when time passes, and how an execution ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from ksmtrio.errors import EmulatorError, KernelBug, NullDereference, ReplayDiverged, VmBug
from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.host_trio import TrioHost
from ksmtrio.sched.runtime import EndOfExecution, Runtime
from ksmtrio.sched.strategies.random import RandomStrategy
from tests.harness import Turns, Watched, World, every_schedule, run_actors, steppers

# -- the baton -----------------------------------------------------------------------------------


def test_number_of_interleavings_is_what_combinatorics_says() -> None:
    # two segments and an end each, one choice at the start: every order of (2 + 1) parts
    logs = {tuple(w.log) for w in every_schedule(lambda w: steppers(w, actors=2))}
    assert len(logs) == 6
    logs = {tuple(w.log) for w in every_schedule(lambda w: steppers(w, actors=3, steps=1))}
    assert len(logs) == 6


def test_code_between_two_awaits_is_indivisible() -> None:
    def build(world: World) -> None:
        async def body() -> None:
            for _ in range(2):
                await world.rt.cond_resched("f.1")
                world.enter()
                for _ in range(10):
                    assert world.inside == [world.rt.me.name]
                world.leave()

        world.actor("a", body)
        world.actor("b", body)

    assert all(world.crowd == 1 for world in every_schedule(build))


def test_current_is_the_running_actor_and_nobody_outside() -> None:
    def build(world: World) -> None:
        assert world.rt.current is None

        async def body() -> None:
            mine = world.rt.current
            await world.rt.cond_resched("f.1")
            assert world.rt.current is world.rt.me is mine

        world.actor("a", body)
        world.actor("b", body)

    for world in every_schedule(build):
        assert world.rt.current is None
        assert world.rt.stop_reason == "done"


def test_enabled_actors_are_listed_in_creation_order_whatever_wakes_first() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def body() -> None:
            await mutex.lock("f.1")
            await world.rt.sleep("f.2")
            await mutex.unlock("f.3")

        for name in "abcde":
            world.actor(name, body)

    for seed in range(20):
        strategy = Watched(RandomStrategy(seed))
        world = run_actors(build, strategy=strategy)
        assert world.splats == []
        assert all(seen == sorted(set(seen)) for seen in strategy.seen)
        assert all(len(seen) > 1 for seen in strategy.seen)


def test_lone_actor_takes_no_choice() -> None:
    world = run_actors(lambda w: steppers(w, actors=1, steps=5), choices=Choices(), exact=True)
    assert world.rt.choices.schedule == []
    assert world.rt.points == 5


def test_pending_operation_is_announced_before_it_runs() -> None:
    def build(world: World) -> None:
        cell = Cell(world.box, "word", 0)

        async def writer() -> None:
            await cell.write("w.1", 1)

        async def looker() -> None:
            pending = world.rt.actors[0]
            world.log.append((pending.at, pending.op, pending.obj is cell, cell.value))

        world.actor("w", writer)
        world.actor("l", looker)

    assert run_actors(build, "w@w.1", "l", "w").log == [("w.1", "write", True, 0)]


def test_marks_are_told_when_the_operation_runs() -> None:
    def build(world: World) -> None:
        cell = Cell(world.box, "word", 0)
        world.rt.marks["w.1"] = [lambda actor, at: world.log.append((actor.name, at, cell.value))]

        async def body() -> None:
            await cell.write("w.1", 1)
            await cell.read("w.2")

        world.actor("a", body)

    assert run_actors(build).log == [("a", "w.1", 0)]


def test_execution_without_actors_is_over_at_once() -> None:
    assert run_actors(lambda _: None).rt.points == 0


def test_actors_without_points_run_in_the_order_chosen() -> None:
    def build(world: World) -> None:
        async def body() -> None:
            world.note("ran")

        world.actor("a", body)
        world.actor("b", body)

    assert run_actors(build, "b", "a").log == ["b ran", "a ran"]


def test_bodies_and_actors_must_match() -> None:
    rt = Runtime(Turns(), TrioHost())
    rt.add_actor("a", cpu=0)
    with pytest.raises(ValueError, match="zip"):
        trio.run(rt.run, [])


def test_actor_renders_its_name_and_state() -> None:
    rt = Runtime(Turns(), TrioHost())
    actor = rt.add_actor("ksmd", cpu=2, background=True)
    assert str(actor) == "ksmd"
    assert repr(actor) == "<actor ksmd runnable at start>"
    assert (actor.index, actor.cpu, actor.background) == (0, 2, True)


# -- names and epochs ----------------------------------------------------------------------------


def test_objects_are_named_by_creator_and_count() -> None:
    def build(world: World) -> None:
        rt = world.rt
        world.log += [rt.creation_name("page"), rt.creation_name("vma"), rt.creation_name("page")]

        async def body() -> None:
            await rt.cond_resched("f.1")
            world.log.append(rt.creation_name("page"))
            world.log.append(rt.creation_name("page"))

        world.actor("a", body)
        world.actor("b", body)

    expected = {f"{who}/page#{n}" for who in ("start", "a", "b") for n in (1, 2)}
    for world in every_schedule(build):
        assert set(world.log) == expected | {"start/vma#1"}


def test_epochs_ascend() -> None:
    rt = Runtime(Turns(), TrioHost())
    assert rt.next_epoch() < rt.next_epoch()


# -- time ----------------------------------------------------------------------------------------


def test_yield_and_sleep_cost_one_jiffy_and_points_cost_none() -> None:
    def build(world: World) -> None:
        async def body() -> None:
            await world.rt.yield_("f.1")
            await world.rt.cond_resched("f.2")
            await world.rt.sleep("f.3")
            await world.rt.sleep("f.3")

        world.actor("a", body)

    world = run_actors(build)
    assert world.rt.clock.jiffies == 3
    assert world.rt.points == 4


def test_jiffies_of_all_actors_add_up_in_every_schedule() -> None:
    def build(world: World) -> None:
        async def body() -> None:
            await world.rt.yield_("f.1")
            await world.rt.sleep("f.2")

        world.actor("a", body)
        world.actor("b", body)

    assert {world.rt.clock.jiffies for world in every_schedule(build)} == {4}


def sleeper_and_worker(world: World) -> None:
    """One actor sleeps; the other works and looks at it."""

    async def sleeper() -> None:
        await world.rt.sleep("s.1")
        assert world.rt.me.state is State.RUNNABLE
        world.note("up")

    async def worker() -> None:
        for _ in range(2):
            await world.rt.cond_resched("w.1")
            world.note(world.rt.actors[0].state.value)

    world.actor("s", sleeper)
    world.actor("w", worker)


def test_sleeper_may_be_woken_at_any_later_point() -> None:
    logs = {tuple(world.log) for world in every_schedule(sleeper_and_worker)}
    assert ("w sleeping", "w sleeping", "s up") in logs
    assert ("w sleeping", "s up", "w finished") in logs
    assert ("s up", "w finished", "w finished") in logs


def test_sleeper_is_woken_when_nobody_else_can_run() -> None:
    assert run_actors(sleeper_and_worker, "s@s.1", "w", "w", "w").log[-1] == "s up"
    assert all("s up" in world.log for world in every_schedule(sleeper_and_worker))


def test_sleeper_is_woken_when_the_others_only_wait() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def sleeper() -> None:
            await mutex.lock("s.1")
            await world.rt.sleep("s.2")
            await mutex.unlock("s.3")

        async def waiter() -> None:
            await mutex.lock("w.1")
            await mutex.unlock("w.2")

        world.actor("s", sleeper)
        world.actor("w", waiter)

    for world in every_schedule(build):
        assert world.splats == []
        assert world.rt.stop_reason == "done"


# -- the end -------------------------------------------------------------------------------------


def test_step_bound_is_noticed_and_ends_the_execution() -> None:
    def build(world: World) -> None:
        async def spins() -> None:
            while True:
                await world.rt.cond_resched("f.1")

        world.actor("a", spins)
        world.actor("b", spins)

    world = run_actors(build, strategy=RandomStrategy(0), points_max=50)
    (splat,) = world.splats
    assert (splat.kind, splat.at) == ("step-bound", "f.1")
    assert splat.message == "no end within 50 points"
    assert world.rt.stop_reason == "step bound"


def test_execution_may_take_exactly_as_many_points_as_the_bound() -> None:
    assert run_actors(lambda w: steppers(w, actors=2, steps=5), points_max=10).splats == []
    assert run_actors(lambda w: steppers(w, actors=2, steps=5), points_max=9).kinds == [
        "step-bound"
    ]


def test_idle_background_actor_lets_the_execution_end() -> None:
    def build(world: World) -> None:
        queue = WaitQueue(world.box, "ksm_thread_wait")

        async def ksmd() -> None:
            await queue.wait_event("k.1", lambda: False, idle=True)

        async def task() -> None:
            await world.rt.cond_resched("t.1")
            world.note("done")

        world.actor("ksmd", ksmd, background=True)
        world.actor("task", task)

    for world in every_schedule(build):
        assert (world.log, world.splats, world.rt.stop_reason) == (["task done"], [], "done")
        assert world.rt.actors[0].state is State.BLOCKED


def test_background_actor_with_work_is_waited_for() -> None:
    def build(world: World) -> None:
        steppers(world, actors=1, steps=1)

        async def ksmd() -> None:
            for _ in range(3):
                await world.rt.sleep("k.1")
            world.note("done")

        world.actor("ksmd", ksmd, background=True)

    assert all("ksmd done" in world.log for world in every_schedule(build))


def test_actor_that_waits_while_an_idle_one_could_help_hangs() -> None:
    def build(world: World) -> None:
        queue = WaitQueue(world.box, "wait")

        async def ksmd() -> None:
            await queue.wait_event("k.1", lambda: False, idle=True)

        async def task() -> None:
            await queue.wait_event("t.1", lambda: False, idle=False)

        world.actor("ksmd", ksmd, background=True)
        world.actor("task", task)

    (splat,) = run_actors(build).splats
    assert (splat.kind, splat.message) == ("hung-task", "task waits for wait at t.1")


def test_end_stops_everybody_where_they_are() -> None:
    def build(world: World) -> None:
        steppers(world, actors=2, steps=3)

        async def judge() -> None:
            await world.rt.cond_resched("j.1")
            world.rt.end("corrupt")

        world.actor("judge", judge)

    world = run_actors(build, "a0", "judge", "a1")
    assert world.rt.stop_reason == "corrupt"
    assert world.rt.over
    assert world.log == ["a0 0", "a0 1", "a0 2"]
    assert world.splats == []


def test_actor_that_never_started_does_not_start_after_the_end() -> None:
    def build(world: World) -> None:
        async def judge() -> None:
            world.rt.end("corrupt")

        async def late() -> None:
            world.note("started")

        world.actor("judge", judge)
        world.actor("late", late)

    assert run_actors(build, "judge").log == []


def test_listener_may_end_the_execution_at_a_notice() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def body() -> None:
            await mutex.unlock("f.1")
            world.note("went on")

        world.actor("a", body)

    assert run_actors(build).log == ["a went on"]
    world = run_actors(build, fatal=["unlock-of-unlocked"])
    assert (world.log, world.rt.stop_reason) == ([], "unlock-of-unlocked")


@pytest.mark.parametrize("kind", ["hung-task", "held-at-exit", "step-bound"])
def test_listener_may_end_the_execution_at_a_notice_about_its_end(kind: str) -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def body() -> None:
            await mutex.lock("f.1")
            while kind == "step-bound":
                await world.rt.cond_resched("f.2")

        world.actor("a", body)
        world.actor("b", body)

    world = run_actors(build, "a", fatal=[kind], points_max=20)
    assert world.kinds[-1] == kind
    assert world.rt.stop_reason == kind


def test_every_listener_hears_a_notice() -> None:
    def build(world: World) -> None:
        world.rt.listeners.append(lambda *what: world.log.append(what[0]))

        async def body() -> None:
            await Mutex(world.box, "mutex").unlock("f.1")

        world.actor("a", body)

    world = run_actors(build)
    assert world.log == world.kinds == ["unlock-of-unlocked"]


@pytest.mark.parametrize(
    ("bug", "kind"),
    [(KernelBug, "BUG_ON"), (VmBug, "VM_BUG_ON"), (NullDereference, "null-dereference")],
)
def test_bug_of_the_kernel_is_noticed_and_ends_the_execution(
    bug: type[KernelBug], kind: str
) -> None:
    def build(world: World) -> None:
        steppers(world, actors=1)

        async def body() -> None:
            await world.rt.cond_resched("f.1")
            raise bug("f.1", "count is negative")

        world.actor("b", body)

    world = run_actors(build, "b", "a0")
    (splat,) = world.splats
    assert (splat.kind, splat.at, splat.message) == (kind, "f.1", "count is negative")
    assert (world.rt.stop_reason, world.log) == ("kernel bug", [])
    assert run_actors(build, "b", fatal=[kind]).rt.stop_reason == kind


# -- faults of ours ------------------------------------------------------------------------------


def test_python_error_in_an_actor_becomes_an_emulator_error() -> None:
    def build(world: World) -> None:
        steppers(world, actors=2)

        async def body() -> None:
            await world.rt.cond_resched("f.1")
            raise KeyError("get_ksm_page.9")

        world.actor("b", body)

    with pytest.raises(EmulatorError, match=r"KeyError: 'get_ksm_page\.9'") as caught:
        run_actors(build, "b", "a0")
    assert isinstance(caught.value.__cause__, KeyError)


def test_emulator_error_is_raised_as_it_is() -> None:
    def build(world: World) -> None:
        async def body() -> None:
            raise EmulatorError("as it is")

        world.actor("a", body)

    with pytest.raises(EmulatorError, match=r"^as it is$"):
        run_actors(build)


class Broken(Turns):
    """A strategy that fails at its n-th choice."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        self._left -= 1
        if self._left < 0:
            raise LookupError("no idea")
        return super().pick(enabled, current)


@pytest.mark.parametrize("at", range(4))
def test_error_in_a_strategy_becomes_an_emulator_error_wherever_it_is_asked(at: int) -> None:
    # of three actors with one point: at the start, at a point, at an exit
    with pytest.raises(EmulatorError, match="LookupError: no idea"):
        run_actors(lambda w: steppers(w, actors=3, steps=1), strategy=Broken(at))


@pytest.mark.parametrize("at", range(4))
def test_schedule_that_ends_early_diverges_wherever_it_ends(at: int) -> None:
    with pytest.raises(ReplayDiverged, match="schedule choices ended before the execution did"):
        run_actors(lambda w: steppers(w, actors=3, steps=1), choices=Choices([0] * at), exact=True)


@pytest.mark.parametrize("how", ["hung", "held", "bug", "notice"])
def test_error_in_a_listener_becomes_an_emulator_error(how: str) -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        def listener(*_: Any, **__: Any) -> None:
            raise LookupError("bad oracle")

        async def body() -> None:
            if how == "bug":
                raise KernelBug("f.1", "bug")
            if how == "notice":
                await mutex.unlock("f.1")
            await mutex.lock("f.1")
            if how == "hung":
                await world.rt.cond_resched("f.2")
                world.rt.me.held.clear()  # so that its exit is not the first to be noticed

        world.rt.listeners[:] = [listener]
        world.actor("a", body)
        world.actor("b", body)

    with pytest.raises(EmulatorError, match="LookupError: bad oracle"):
        run_actors(build, "a@f.2", "b", "a")


def test_end_of_execution_is_not_caught_by_handlers_of_the_model() -> None:
    assert not issubclass(EndOfExecution, Exception)
