# SPDX-License-Identifier: GPL-2.0-or-later
"""What explores: an explorer, a subject, and what was seen so far; here or in a worker process.

A worker takes parts of an exploration as saved states, goes on with them for a while, and returns
what is left of them; nothing else crosses. May read the clock, to keep to its budget. Tests:
`tests/cli/test_cli_explore.py`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

import attrs
import trio

from ksmtrio.campaign.behaviours import BehaviourCount, BehaviourRows, in_sample
from ksmtrio.errors import BadInput, KsmtrioError, ReplayDiverged
from ksmtrio.execution import Outcome, execute_subject
from ksmtrio.oracles.base import Finding
from ksmtrio.sched.behaviour import Behaviours
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.exploration.base import Counts, Covered, SavedState, Settings
from ksmtrio.sched.exploration.registry import make_explorer
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.tap import Fan
from ksmtrio.subject import Subject

FINALS_MAX: Final = 50_000
"""Final states that are told apart; further ones are not counted, and the report says so."""

_LOOKED_AT_FIRST: Final = 100
"""Executions of each part whose behaviours are all looked at; then a sample's."""

_AT_AN_END: Final = frozenset({"done", "hung"})
"""Reasons to stop at which an execution has come to an end of its own, so to a final state."""


@attrs.frozen
class Seen:
    """A finding, and the least of the executions that showed it.

    Attributes:
        first: number of the execution that showed it first, as far as they are in any order.
        count: executions that showed it.
    """

    finding: Finding
    choices: Choices
    first: int
    count: int


@attrs.define
class Harvest:
    """What an exploration has seen. Plain data; harvests of different parts can be added.

    Attributes:
        points: schedule points in all executions.
        executions: executions of any kind, redundant and blocked ones included.
        findings: by signature.
        finals: final state -> the least of the executions seen that led there, packed.
        finals_left_out: there are more than `FINALS_MAX`.
        behaviours: of a sample of the executions.
    """

    points: int = 0
    executions: int = 0
    findings: dict[str, Seen] = attrs.field(factory=dict)
    finals: dict[str, str] = attrs.field(factory=dict)
    finals_left_out: bool = False
    behaviours: BehaviourRows = attrs.field(factory=BehaviourRows)

    def take(self, outcome: Outcome) -> None:
        """Add one execution."""
        self.executions += 1
        self.points += outcome.points
        for finding in outcome.findings:
            self._see(Seen(finding, outcome.choices, self.executions, 1))
        if outcome.machine_digest is not None and outcome.stop_reason in _AT_AN_END:
            self._end(outcome.machine_digest, pack(outcome.choices))

    def add(self, other: Harvest) -> None:
        """Add what another part has seen since it was last asked."""
        for seen in other.findings.values():
            self._see(attrs.evolve(seen, first=self.executions + seen.first))
        for final, choices in other.finals.items():
            self._end(final, choices)
        if other.behaviours.executions:
            both = BehaviourCount()
            both.update(self.behaviours)
            both.update(other.behaviours.after(self.executions))
            self.behaviours = both.to_rows()
        self.points += other.points
        self.executions += other.executions
        self.finals_left_out |= other.finals_left_out

    def _see(self, new: Seen) -> None:
        signature = new.finding.signature
        old = self.findings.get(signature)
        if old is not None:
            least = min(old, new, key=_rank)
            first, count = min(old.first, new.first), old.count + new.count
            new = attrs.evolve(least, first=first, count=count)
        self.findings[signature] = new

    def _end(self, final: str, choices: str) -> None:
        old = self.finals.get(final)
        if old is None and len(self.finals) >= FINALS_MAX:
            self.finals_left_out = True
        elif old is None or (len(choices), choices) < (len(old), old):
            self.finals[final] = choices


def _rank(seen: Seen) -> tuple[int, list[int], list[int], list[int]]:
    """Return what orders executions: the shorter first; so no worker's speed decides."""
    choices = seen.choices
    return len(choices.schedule), choices.schedule, choices.data, choices.faults


def pack(choices: Choices) -> str:
    """Return choices as one short text."""
    streams = (choices.schedule, choices.data, choices.faults)
    return ";".join(" ".join(map(str, stream)) for stream in streams)


def unpack(packed: str) -> Choices:
    """Return the choices of a text from `pack`.

    Raises:
        ValueError: it is none.
    """
    schedule, data, faults = ([int(n) for n in one.split()] for one in packed.split(";"))
    return Choices(schedule, data, faults)


@attrs.frozen(kw_only=True)
class Quest:
    """What is explored, and how. Plain data.

    Attributes:
        strategy: name of the explorer.
        host: what runs the executions.
    """

    subject: Subject
    strategy: str
    settings: Settings
    host: str


@attrs.frozen(kw_only=True)
class Standing:
    """Where a part of an exploration stands.

    Attributes:
        ended: its explorer does not go on.
        complete: as there is nothing left, and nothing was left out.
        covered: what it has covered.
        work_left: estimate of the executions left; None: no idea.
    """

    counts: Counts
    ended: bool
    complete: bool
    covered: Covered
    work_left: int | None


class Part:
    """A part of an exploration, going on here.

    Args:
        quest: what is explored.
        state: where to go on from; None: the very beginning.

    Raises:
        BadInput: the explorer cannot do what it is asked, or the state is none of its own.
    """

    def __init__(self, quest: Quest, state: SavedState | None = None) -> None:
        self.quest = quest
        self.explorer = make_explorer(quest.strategy, quest.settings)
        if state is not None:
            self.explorer.load(state)
        self._ended = self.explorer.complete

    async def go_on(
        self,
        *,
        until: float,
        runs: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Harvest:
        """Explore for a while and return what was seen in it.

        Args:
            until: end of it, on trio's clock; one execution is always made.
            runs: executions at most; None: no such bound.
            stop: asked before each execution whether to stop.

        Raises:
            BadInput: the start state is impossible, or the state does not fit the subject.
            EmulatorError: a fault of ours.
        """
        harvest, behaviours = Harvest(), BehaviourCount()
        collect = not gc.isenabled()
        while (runs is None or harvest.executions < runs) and not stop():
            strategy = self.explorer.next()
            if strategy is None:
                self._ended = True
                break
            await self._execute(strategy, harvest, behaviours)
            if collect:
                gc.collect(0)
            if trio.current_time() >= until:
                break
        harvest.behaviours = behaviours.to_rows()
        return harvest

    async def _execute(
        self, strategy: Strategy, harvest: Harvest, behaviours: BehaviourCount
    ) -> None:
        """Execute once; look at the behaviour, too, if this one is in the sample."""
        quest, explorer, counts = self.quest, self.explorer, self.explorer.counts
        number = counts.executions + counts.redundant + counts.blocked
        look = Behaviours() if number < _LOOKED_AT_FIRST or in_sample(number) else None
        taps = [tap for tap in (explorer.taps(), look) if tap is not None]
        try:
            outcome = await execute_subject(
                quest.subject,
                strategy,
                recorder=Fan(*taps) if len(taps) > 1 else next(iter(taps), None),
                marks=False,
                final=True,
                host=quest.host,
            )
        except ReplayDiverged as error:
            raise BadInput(f"the saved exploration does not fit here: {error}") from error
        if look is not None and outcome.stop_reason != "pruned":
            behaviours.add(look.behaviour(), harvest.executions)
        harvest.take(outcome)
        explorer.learn(outcome.stop_reason)

    def standing(self) -> Standing:
        """Return where it stands."""
        explorer = self.explorer
        return Standing(
            counts=attrs.evolve(explorer.counts),
            ended=self._ended,
            complete=explorer.complete,
            covered=explorer.covered(),
            work_left=explorer.work_left(),
        )


@attrs.frozen(kw_only=True)
class PartsJob:
    """Parts for one worker, to be done one after the other.

    Attributes:
        states: of the parts.
        budget_s: stop after so many seconds.
        runs: executions at most; None: no such bound.
    """

    quest: Quest
    states: tuple[SavedState, ...]
    budget_s: float
    runs: int | None = None


@attrs.frozen(kw_only=True)
class PartsResult:
    """What became of a job.

    Attributes:
        states: of the parts, in the same order.
        standings: of those that were gone on with; the rest was not touched.
        fault: a fault of ours, in one line; the parts are then as they were.
    """

    states: tuple[SavedState, ...]
    standings: tuple[Standing, ...]
    harvest: Harvest
    fault: str | None = None


def run_parts(job: PartsJob) -> PartsResult:
    """Go on with parts for a while; the function that worker processes call.

    Raises:
        BadInput: see `Part`.
    """
    result: PartsResult = trio.run(_run_parts, job)
    return result


async def _run_parts(job: PartsJob) -> PartsResult:
    end = trio.current_time() + job.budget_s
    harvest = Harvest()
    states = list(job.states)
    standings: list[Standing] = []
    for place, state in enumerate(job.states):
        part = Part(job.quest, state)
        runs = None if job.runs is None else job.runs - harvest.executions
        try:
            harvest.add(await part.go_on(until=end, runs=runs))
        except BadInput:
            raise
        except KsmtrioError as error:
            nothing = Harvest()
            return PartsResult(states=job.states, standings=(), harvest=nothing, fault=str(error))
        states[place] = part.explorer.save()
        standings.append(part.standing())
        if trio.current_time() >= end or harvest.executions == job.runs:
            break
    return PartsResult(states=tuple(states), standings=tuple(standings), harvest=harvest)
