# SPDX-License-Identifier: GPL-2.0-or-later
"""The baton: exactly one actor runs between two choices.

Owns the enabled set, the choice log, virtual time, deadlock and hang detection and the end of an
execution. The decision who runs next is taken inside the yielding actor; when it goes on itself,
nothing is handed over. May not know trio (see `host_trio.py`) nor the kernel model. Tests:
`tests/unit/test_runtime.py`, `tests/determinism/`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from ksmtrio.errors import BadInput, EmulatorError, KernelBug, ReplayDiverged
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.clock import Clock
from ksmtrio.sched.tap import ADD, JIFFIES, READ, WRITE, Tap
from ksmtrio.sched.turn import GO_ON, Host

if TYPE_CHECKING:
    from ksmtrio.sched.cell import Death
    from ksmtrio.sched.strategies.base import Strategy

POINTS_MAX_DEFAULT = 20_000


_SLEEPING: Final = State.SLEEPING
_RUNNABLE: Final = State.RUNNABLE


class Holdable(Protocol):
    """A lock as the runtime sees it."""

    @property
    def name(self) -> str:
        """Kernel name, as shown in traces."""
        ...

    def holders(self) -> Sequence[ActorState]:
        """Who must let go before a waiter can proceed."""
        ...


class Notice(Protocol):
    """Listener for what the machine itself complains about (a splat, a BUG, a hang)."""

    def __call__(self, kind: str, target: Any, at: str, message: str, other: Death | None) -> None:
        """`kind` is the word of the finding; `other` the conflicting access, if there was one."""


LockWatcher = Callable[[ActorState, Any, str], None]
"""Listener for a lock taken (with the event) or released (with the label); changes nothing."""


class Prune(Exception):
    """Raised by a strategy in `pick`: the rest of this execution is of no interest."""


class EndOfExecution(BaseException):
    """Unwinds the current actor once the execution is over; never leaves the runtime."""


class Runtime:
    """One execution's scheduler.

    Args:
        strategy: takes every choice.
        host: moves the baton.
        points_max: step bound; reaching it is a finding of the progress oracle.
        recorder: hears the stream of what is done; None in stress runs.
        faults: names of the fault choices that the scenario allows.

    Attributes:
        current: holder of the baton; None before the start, after the end and in set-up.
        points: schedule points passed so far.
        on_acquire: told of every lock that was taken.
        on_release: lock class -> told of every release of such a lock.
        marks: label -> callbacks told when the operation there is executed.
    """

    def __init__(
        self,
        strategy: Strategy,
        host: Host,
        *,
        points_max: int = POINTS_MAX_DEFAULT,
        recorder: Tap | None = None,
        faults: frozenset[str] = frozenset(),
    ) -> None:
        self.strategy = strategy
        self.host = host
        self.points_max = points_max
        self.recorder = recorder
        self.allowed_faults = faults
        self.clock = Clock()
        self.choices = Choices()
        self._taken = self.choices.schedule
        self.actors: list[ActorState] = []
        self.enabled: list[ActorState] = []
        self.current: ActorState | None = None
        self.points = 0
        self.over = False
        self.stop_reason = ""
        self.error: BaseException | None = None
        self.listeners: list[Notice] = []
        self.on_acquire: list[LockWatcher] = []
        self.on_release: dict[str, list[LockWatcher]] = {}
        self.marks: dict[str, list[Callable[[ActorState, str], None]]] = {}
        self._watching = strategy.watches
        self._unheard = recorder is None and not strategy.watches
        self._epoch = 0
        self._created: dict[str, int] = {}
        if recorder is not None:
            recorder.attach(self)

    # -- naming and epochs ---------------------------------------------------------------------

    def creation_name(self, class_: str) -> str:
        """Return the creation path of a new object: actor, class, count for that actor."""
        actor = self.current
        counts = self._created if actor is None else actor.created
        number = counts.get(class_, 0) + 1
        counts[class_] = number
        return f"{'start' if actor is None else actor.name}/{class_}#{number}"

    def next_epoch(self) -> int:
        """Advance the order of deaths and RCU sections; local to the execution."""
        self._epoch += 1
        return self._epoch

    @property
    def me(self) -> ActorState:
        """The current actor.

        Raises:
            EmulatorError: there is none; an operation ran outside the execution.
        """
        if self.current is None:
            raise EmulatorError("an awaited operation ran while no actor held the baton")
        return self.current

    # -- schedule points -----------------------------------------------------------------------

    def point(self, at: str, op: str, target: Any) -> Awaitable[None]:
        """Announce an operation, let the strategy hand the baton over; await when it may run.

        No coroutine, since most points go on at once: what is returned must be awaited at once.

        Args:
            at: label of the point.
            op: kind of operation, e.g. ``read``.
            target: the cell or lock; its owner must be alive.
        """
        me = self.current
        if me is None:
            raise EmulatorError(f"operation at {at} outside the execution")
        me.at = at
        me.op = op
        me.obj = target
        self.points += 1
        if self.points > self.points_max:
            self._step_bound(at)
        if len(self.enabled) > 1:
            to = self._pick(at)
            if to is not me:
                self.current = to
                parked = self.host.switch(to)
                if target is None and self._unheard and at not in self.marks:
                    return parked
                return self._come_back(me, at, target, parked)
        self._carry_out(me, at, target)
        return GO_ON

    async def _come_back(
        self, me: ActorState, at: str, target: Any, parked: Awaitable[None]
    ) -> None:
        await parked
        self._carry_out(me, at, target)

    def _carry_out(self, me: ActorState, at: str, target: Any) -> None:
        """Tell who listens that a transition begins."""
        if self.recorder is not None:
            self.recorder.step(me)
        if self._watching:
            self.strategy.step(me)
        if target is not None and target.owner.dead is not None:
            self.dead_access(at, target.owner, target.field)
        if at in self.marks:
            for told in self.marks[at]:
                told(me, at)

    def touch(self, at: str, target: Any) -> None:
        """Check an access that belongs to the step just announced."""
        if target.owner.dead is not None:
            self.dead_access(at, target.owner, target.field)

    def _pick(self, at: str) -> ActorState:
        enabled = self.enabled
        try:
            index = self.strategy.pick(enabled, self.current)
        except Prune:
            self.end("pruned")
        if not 0 <= index < len(enabled):
            raise ReplayDiverged(
                f"schedule choice {len(self._taken)} is {index}, but only "
                f"{len(enabled)} actors are enabled at {at}"
            )
        self._taken.append(index)
        to = enabled[index]
        if self.recorder is not None:
            self.recorder.choice("schedule", at, index, len(enabled), to.name)
        if to.state is _SLEEPING:
            to.state = _RUNNABLE
        return to

    def cond_resched(self, at: str) -> Awaitable[None]:
        """A voluntary preemption point with no other effect; awaited at once, as `point`."""
        self.might_sleep(at)
        return self.point(at, "resched", None)

    async def yield_(self, at: str) -> None:
        """Give way: costs one jiffy and demotes the actor in priority strategies."""
        self.might_sleep(at)
        self._tick()
        self.strategy.demote(self.me)
        await self.point(at, "yield", None)

    async def sleep(self, at: str) -> None:
        """Sleep for a while; may be woken at any later point, at the latest when nobody can run."""
        self.might_sleep(at)
        self._tick()
        me = self.me
        self.strategy.demote(me)
        me.state = State.SLEEPING
        await self.point(at, "sleep", None)
        me.state = State.RUNNABLE

    def _tick(self) -> None:
        self.clock.tick()
        if self.recorder is not None:
            self.recorder.aside(JIFFIES, ADD)

    def jiffies(self) -> int:
        """Return the virtual time, as the emulated kernel reads it."""
        if self.recorder is not None:
            self.recorder.aside(JIFFIES, READ)
        return self.clock.jiffies

    async def cpu_relax(self, at: str) -> None:
        """One turn of a busy wait: others go first, no time passes, atomic context is fine."""
        self.strategy.demote(self.me)
        await self.point(at, "cpu_relax", None)

    def choose(self, n: int, at: str) -> int:
        """Take a data choice: an index below `n`, 0 being the ordinary outcome."""
        if n == 1:
            return 0
        index = self.strategy.choose("data", n)
        if not 0 <= index < n:
            raise ReplayDiverged(f"data choice {len(self.choices.data)} is {index} of {n} at {at}")
        self.choices.data.append(index)
        if self.recorder is not None:
            self.recorder.choice("data", at, index, n, "")
        return index

    def fault(self, name: str, at: str) -> bool:
        """Return whether the named fault happens here; never, unless the scenario allows it."""
        if name not in self.allowed_faults:
            return False
        index = self.strategy.choose("faults", 2)
        if index not in (0, 1):
            raise ReplayDiverged(f"fault choice {len(self.choices.faults)} is {index} of 2 at {at}")
        self.choices.faults.append(index)
        if self.recorder is not None:
            self.recorder.choice("faults", at, index, 2, name)
        return bool(index)

    # -- blocking ------------------------------------------------------------------------------

    async def block(self, on: Any, at: str) -> None:
        """Park the current actor until someone calls `wake` for it; it is not enabled meanwhile."""
        me = self.me
        if self.recorder is not None:
            self.recorder.aside(on.name, WRITE)
        me.op, me.obj = "resume", on
        self.disable(me, on)
        await self._give_way(me, at)
        self._begin(me)

    async def point_when_open(self, at: str, op: str, gate: Any, *, is_open: bool) -> None:
        """Announce an operation that is enabled only while its gate is open.

        Whoever opens or closes the gate calls `wake` or `disable` for all who have announced. To
        be kept out is no transition: nobody can tell it from not having run yet.

        Args:
            at: label of the point.
            op: kind of operation.
            gate: what keeps the actor out; a `Holdable`.
            is_open: whether it is open now.
        """
        if is_open:
            await self.point(at, op, gate)
            return
        me = self.me
        me.at, me.op, me.obj = at, op, gate
        self.points += 1
        if self.points > self.points_max:
            self._step_bound(at)
        self.disable(me, gate)
        await self._give_way(me, at)
        self._carry_out(me, at, gate)

    async def _give_way(self, me: ActorState, at: str) -> None:
        """Hand the baton over for a while in which the actor is not enabled."""
        to = self._dispatch(at)
        self.current = to
        await self.host.switch(to)
        me.waiting_on = None

    def disable(self, actor: ActorState, on: Any) -> None:
        """Keep an enabled actor from running until someone calls `wake` for it."""
        actor.state = State.BLOCKED
        actor.waiting_on = on
        self.enabled.remove(actor)

    def wake(self, actor: ActorState) -> None:
        """Make a blocked actor enabled again; it runs when the strategy picks it."""
        if self.recorder is not None:
            self.recorder.woke(actor)
        actor.state = State.RUNNABLE
        index = bisect_left(self.enabled, actor.index, key=lambda a: a.index)
        self.enabled.insert(index, actor)

    def wake_once(self, actor: ActorState) -> None:
        """Wake a queued waiter unless an earlier wake-up is still on its way."""
        if actor.state is State.BLOCKED:
            self.wake(actor)

    def _dispatch(self, at: str) -> ActorState | None:
        """Return who runs next when the current actor cannot; None ends the execution."""
        enabled = self.enabled
        if not enabled:
            stuck = [a for a in self.actors if self._stuck(a)]
            if stuck:
                self._hung(stuck, at)
                self._finish("hung")
            self._finish("done")
            return None
        if len(enabled) > 1:
            return self._pick(at)
        to = enabled[0]
        if to.state is State.SLEEPING:
            to.state = State.RUNNABLE
        return to

    @staticmethod
    def _stuck(actor: ActorState) -> bool:
        """Whether a blocked actor ought to run: it has work, or its wake-up got lost."""
        if actor.state is not State.BLOCKED:
            return False
        return not actor.idle or (actor.ready is not None and actor.ready())

    def _hung(self, stuck: list[ActorState], at: str) -> None:
        """Tell deadlock (a cycle of locks) from a hang (a lost wake-up or a lock kept for ever)."""
        cycle = self._wait_cycle(stuck)
        names = cycle or stuck
        text = "; ".join(f"{a.name} waits for {a.waiting_on.name} at {a.at}" for a in names)
        try:
            kind = "deadlock" if cycle else "hung-task"
            self.notice(kind, names[0].waiting_on, names[0].at, text)
        except EndOfExecution:
            pass

    @staticmethod
    def _wait_cycle(stuck: list[ActorState]) -> list[ActorState]:
        """Return the first cycle of the wait-for graph; a lock may have several holders."""

        def ahead(actor: ActorState) -> Iterator[ActorState]:
            lock = actor.waiting_on
            blockers = lock.holders() if hasattr(lock, "holders") else ()
            return (a for a in blockers if a.state is State.BLOCKED and not a.idle)

        done: set[int] = set()
        for start in stuck:
            path, branches = [start], [ahead(start)]
            while path:
                to = next(branches[-1], None)
                if to is None:
                    done.add(path.pop().index)
                    branches.pop()
                elif to in path:
                    return path[path.index(to) :]
                elif to.index not in done:
                    path.append(to)
                    branches.append(ahead(to))
        return []

    def might_sleep(self, at: str) -> None:
        """Complain when the current actor is in atomic context (spinlock or RCU held)."""
        me = self.current or self.me
        if me.preempt_count or me.rcu_depth:
            self.notice(
                "sleeping-in-atomic",
                me.held[-1] if me.held else None,
                at,
                f"{me.name} may sleep with {', '.join(h.name for h in me.held) or 'RCU'} held",
            )

    # -- complaints of the machine -------------------------------------------------------------

    def notice(
        self, kind: str, target: Any, at: str, message: str, other: Death | None = None
    ) -> None:
        """Tell the oracles; one of them may end the execution."""
        for listener in self.listeners:
            listener(kind, target, at, message, other)

    def dead_access(self, at: str, target: Any, field: str) -> None:
        """Report a touch of freed or removed memory, unless RCU keeps the object's type stable."""
        death: Death = target.dead
        me = self.me
        if getattr(target, "type_stable", False) and me.rcu_depth and me.rcu_epoch < death.epoch:
            return
        kind = "use-after-free" if death.kind == "freed" else "use-after-offline"
        self.notice(kind, target, at, f"{me.name} touches {target.name}.{field}", other=death)

    def end(self, reason: str) -> NoReturn:
        """End the execution now; called by an oracle at a corrupting finding."""
        self._finish(reason)
        raise EndOfExecution

    def _step_bound(self, at: str) -> None:
        self.notice("step-bound", None, at, f"no end within {self.points_max} points")
        self.end("step bound")

    def _finish(self, reason: str) -> None:
        if not self.over:
            self.over = True
            self.stop_reason = reason

    # -- life of an execution ------------------------------------------------------------------

    def add_actor(
        self,
        name: str,
        *,
        cpu: int,
        background: bool = False,
        born: bool = True,
        like: str | None = None,
    ) -> ActorState:
        """Create an actor; creation order is the order of choices.

        Args:
            name: shown in traces.
            cpu: the CPU it runs on.
            background: it has no end of its own.
            born: it runs from the start; otherwise `give_birth` lets it.
            like: its class, if there are others that may be taken for it.
        """
        actor = ActorState(len(self.actors), name, cpu, background, like=like)
        self.actors.append(actor)
        if born:
            self.enabled.append(actor)
        else:
            actor.state, actor.idle = State.UNBORN, True
        return actor

    def give_birth(self, actor: ActorState) -> None:
        """Let an actor run that was not born yet."""
        actor.idle = False
        self.wake(actor)

    async def run(self, bodies: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Run all actors to the end of the execution.

        Args:
            bodies: one per actor, in creation order.

        Raises:
            BadInput: the strategy is another package's, and does not do its duty.
            EmulatorError: a body failed with an error that is not the emulated kernel's.
            ReplayDiverged: a recorded choice does not fit.
        """
        if not self.actors:
            return
        wrapped = [self._wrap(a, b) for a, b in zip(self.actors, bodies, strict=True)]
        try:
            await self.host.run(self.actors, wrapped, self._first)
        finally:
            self.current = None
        if self.error is not None:
            if isinstance(self.error, BadInput | ReplayDiverged | EmulatorError):
                raise self.error
            raise EmulatorError(f"{type(self.error).__name__}: {self.error}") from self.error

    def _first(self) -> ActorState:
        try:
            self.current = self._pick("start") if len(self.enabled) > 1 else self.enabled[0]
        except EndOfExecution:
            self.current = self.enabled[0]
        except Exception as error:  # noqa: BLE001 - ours: kept, and raised by run()
            self._fail(error)
            self.current = self.enabled[0]
        return self.current

    def _wrap(
        self, actor: ActorState, body: Callable[[], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        async def main() -> None:
            try:
                try:
                    if not self.over:
                        self._begin(actor)
                        await body()
                        self._check_exit(actor)
                except KernelBug as bug:
                    self._report_bug(bug)
            except EndOfExecution:
                pass
            except Exception as error:  # noqa: BLE001 - ours: kept, and raised by run()
                self._fail(error)
            actor.state = State.FINISHED
            if actor in self.enabled:
                self.enabled.remove(actor)
            self.host.pass_on(self._successor(actor))

        return main

    def _begin(self, actor: ActorState) -> None:
        if self.recorder is not None:
            self.recorder.step(actor)
        if self._watching:
            self.strategy.step(actor)

    def _successor(self, actor: ActorState) -> ActorState | None:
        to: ActorState | None = None
        if not self.over:
            try:
                to = self._dispatch(f"{actor.name}.exit")
            except EndOfExecution:
                pass
            except Exception as error:  # noqa: BLE001 - kept, and raised by run()
                self._fail(error)
        self.current = to
        return to

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._finish("error")

    def _check_exit(self, actor: ActorState) -> None:
        if actor.held:
            names = ", ".join(h.name for h in actor.held)
            self.notice(
                "held-at-exit", actor.held[0], actor.at, f"{actor.name} ends with {names} held"
            )

    def _report_bug(self, bug: KernelBug) -> None:
        with suppress(EndOfExecution):
            self.notice(bug.kind, None, bug.at, str(bug))
        self._finish("kernel bug")
