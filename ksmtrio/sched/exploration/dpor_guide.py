# SPDX-License-Identifier: GPL-2.0-or-later
"""The strategy that carries out one execution of an exploration by partial orders.

It follows a plan, then goes on by itself past whatever sleeps: events whose executions from here
were all explored. Tests: `tests/unit/test_dpor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ksmtrio.errors import EmulatorError
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.exploration.dpor_events import ACQUIRE, Event, Key, Names
from ksmtrio.sched.footprint import Footprints
from ksmtrio.sched.runtime import Prune, Runtime


def awake(actor: int, asleep: Mapping[Key, Event]) -> tuple[int, ...] | None:
    """Return choices with which an actor's next event does not sleep; None if it does with all."""
    if (actor, ()) not in asleep:
        return ()
    for key, event in asleep.items():
        if key[0] != actor or not event.widths:
            continue
        for choices in event.alternatives():
            if (actor, choices) not in asleep:
                return choices
    return None


class Events(Footprints):
    """Footprints up to the end of an execution; what brings the machine to rest is no event.

    Attributes:
        over: whether it has ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self._rt: Runtime | None = None

    def attach(self, rt: Runtime) -> None:
        """Remember whose end to wait for."""
        self._rt = rt

    def step(self, actor: ActorState) -> None:
        """Begin a transition, unless the execution has ended."""
        self.over = self._rt is not None and self._rt.over
        if self.over:
            self._now, self._choices = {}, []
        else:
            super().step(actor)


class Guide:
    """Strategy of one execution.

    Args:
        plan: events to execute first.
        branch: position of the first one that was not executed in the execution before.
        asleep: what sleeps at that position.
        names: of the exploration.

    Attributes:
        tap: to be given to the execution as its recorder.
        events: what was executed from `branch` on.
        asleep: what slept before each of these events, and at the end.
        enabled: position -> who was enabled there, where there was a choice.
        free: positions where another actor may run without a preemption.
        redundant: whether all that was enabled slept at some time.
    """

    watches = True

    def __init__(
        self, plan: Sequence[Event], branch: int, asleep: Mapping[Key, Event], names: Names
    ) -> None:
        self.tap = Events()
        self.events: list[Event] = []
        self.asleep: list[Mapping[Key, Event]] = [asleep]
        self.enabled: dict[int, tuple[int, ...]] = {}
        self.free: set[int] = set()
        self.redundant = False
        self._end: int | None = None
        self._plan = plan
        self._branch = branch
        self._names = names
        self._choices: tuple[int, ...] = ()
        self._actors: dict[int, ActorState] = {}
        self._demoted: dict[int, int] = {}
        self._demotions = 0
        self._giving_way: ActorState | None = None

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the planned actor, or else one that does not sleep.

        Raises:
            Prune: all of them sleep.
            EmulatorError: the planned actor is not enabled.
        """
        position = len(self.tap.steps)
        self.enabled[position] = tuple(actor.index for actor in enabled)
        if current not in enabled or current is self._giving_way:
            self.free.add(position)
        self._catch_up(position)
        if self.redundant:
            raise Prune
        asleep = self.asleep[-1]
        if position < len(self._plan):
            planned = self._plan[position]
            if position >= self._branch and planned.key in asleep:
                self.redundant = True
                raise Prune
            for index, actor in enumerate(enabled):
                if actor.index == planned.actor:
                    return index
            raise EmulatorError(
                f"dpor: step {position} is planned for actor {planned.actor}, who is not enabled"
            )
        fit = [i for i, a in enumerate(enabled) if awake(a.index, asleep) is not None]
        if not fit:
            self.redundant = True
            raise Prune
        return min(fit, key=lambda i: self._rank(enabled[i], current))

    def _rank(self, actor: ActorState, current: ActorState | None) -> tuple[bool, int, bool, int]:
        """Order of preference: who runs goes on; who gave way waits until all others did."""
        stays = actor is current and self._giving_way is not actor
        demoted = self._demoted.get(actor.index, 0)
        return not stays, demoted, actor.state is State.SLEEPING, actor.index

    def step(self, actor: ActorState) -> None:
        """Settle the choices of the event that begins.

        Raises:
            EmulatorError: the plan says that somebody else runs.
        """
        if self.tap.over:
            return
        position = len(self.tap.steps) - 1
        self._actors[actor.index] = actor
        self._giving_way = None
        self._catch_up(position)
        if position < len(self._plan):
            planned = self._plan[position]
            if planned.actor != actor.index:
                raise EmulatorError(
                    f"dpor: step {position} is planned for actor {planned.actor}, "
                    f"but {actor.name} runs"
                )
            if position >= self._branch and planned.key in self.asleep[-1]:
                self._end_at(position)
            self._choices = planned.choices
            return
        choices = awake(actor.index, self.asleep[-1])
        if choices is None:
            self._end_at(position)
        self._choices = choices or ()

    def choose(self, stream: str, n: int) -> int:
        """Return the choice of the event that runs, the ordinary one where nothing else is said."""
        if not self.tap.steps:
            raise EmulatorError("dpor: a choice in the start state belongs to no event")
        if self.tap.over:
            return 0
        place = len(self.tap.steps[-1].choices)
        return self._choices[place] if place < len(self._choices) else 0

    def demote(self, actor: ActorState) -> None:
        """Let others go first."""
        self._demotions += 1
        self._giving_way = actor
        self._demoted[actor.index] = self._demotions

    def finish(self) -> None:
        """The execution has ended: take its last event in, unless it was redundant by then."""
        self._catch_up(len(self.tap.steps))

    def _end_at(self, position: int) -> None:
        """All that is enabled sleeps, and cannot be kept from running: what follows is not new."""
        self.redundant = True
        if self._end is None:
            self._end = position

    def kept_out(self) -> list[tuple[int, int]]:
        """Return who waits for an ideal lock at the end: (actor, number of the lock's name)."""
        return [
            (index, self._names.number(actor.obj.name))
            for index, actor in sorted(self._actors.items())
            if actor.state is State.BLOCKED and actor.op == ACQUIRE
        ]

    def _catch_up(self, position: int) -> None:
        """Take in all events before a position, and none from where it became redundant on."""
        if self._end is not None:
            position = min(position, self._end)
        for number in range(self._branch + len(self.events), position):
            event = self._names.event(self.tap.steps[number])
            self.events.append(event)
            before = self.asleep[-1]
            if before:
                before = {key: e for key, e in before.items() if e.independent(event)}
            self.asleep.append(before)
