# SPDX-License-Identifier: GPL-2.0-or-later
"""Systematic exploration: an explorer over a subject, until all is covered or a budget is used up.

Owns the parts that worker processes go on with, what was seen, saving and resuming, and the one
statement of what was covered. Reads the clock for budgets only. Tests:
`tests/cli/test_cli_explore.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import trio
import trio_parallel  # type: ignore[import-untyped]

from ksmtrio.campaign.behaviours import BehaviourCount, report_seen
from ksmtrio.campaign.exploration_file import (
    SavedExploration,
    load_exploration,
    save_exploration,
)
from ksmtrio.campaign.exploring import (
    Harvest,
    Part,
    PartsJob,
    PartsResult,
    Quest,
    Standing,
    run_parts,
)
from ksmtrio.campaign.findings import DistinctFinding, Sighting, save_trace
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.campaign.known import known_in, known_issues_of
from ksmtrio.campaign.stress import Progress
from ksmtrio.campaign.workers import prepare_worker
from ksmtrio.errors import BadInput, KsmtrioError
from ksmtrio.execution import execute_subject
from ksmtrio.sched.exploration.base import Counts, Covered, SavedState
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.subject import KernelSubject

Verdict = Literal["finding", "complete", "undecided"]
Stopped = Literal["covered", "left out", "runs", "time", "memory", "interrupted", "fault"]
"""Why an exploration ended. ``left out``: there is nothing more to do, but not all was done, for a
reason that the statement gives. ``memory``: with more of it, it could go on."""

_SLICE_S: Final = 0.5
"""How long an explorer goes on before somebody looks at the clock, and shows progress."""

_JOB_S: Final = 2.0
"""How long a worker goes on with its parts."""

_PARTS_PER_WORKER: Final = 4


@attrs.frozen(kw_only=True)
class ExplorePlan:
    """What is to be explored.

    Attributes:
        quest: subject, explorer, settings, host.
        jobs: worker processes; 1: this process.
        runs: executions at most, this time; None: no such bound.
        seconds: time budget; None: no such bound.
        traces: directory for traces of findings.
        save: where to write what is left; None: nowhere.
        resume: where to go on from; None: the beginning.
    """

    quest: Quest
    jobs: int = 1
    runs: int | None = None
    seconds: float | None = None
    traces: Path
    save: Path | None = None
    resume: Path | None = None


@attrs.frozen(kw_only=True)
class ExploreReport:
    """What came of an exploration.

    Attributes:
        stopped: why it ended.
        complete: the whole (bounded) space was covered, and nothing was left out.
        statement: what was covered, in one line.
        harvest: what was seen.
        work_left: estimate of the executions left, over all parts; None: no idea.
        fault: a fault of ours, in one line.
        unsaved: why a file could not be written, in one line.
    """

    plan: ExplorePlan
    stopped: Stopped
    complete: bool
    statement: str
    counts: Counts
    work_left: int | None
    seconds: float
    harvest: Harvest
    findings: tuple[DistinctFinding, ...]
    fault: str | None = None
    unsaved: str | None = None

    @property
    def verdict(self) -> Verdict:
        """``complete`` only without a finding; ``undecided``: nothing seen, but not all covered."""
        if self.findings:
            return "finding"
        return "complete" if self.complete else "undecided"

    def failing(self, *, fail_on: str) -> list[DistinctFinding]:
        """Return the findings that count: all for ``any``, those not known for ``new``."""
        return [f for f in self.findings if fail_on == "any" or f.known is None]

    def behaviours(self) -> dict[str, Any]:
        """Return how the executions behaved; of those not executed that says nothing."""
        count = BehaviourCount()
        count.update(self.harvest.behaviours)
        return report_seen([count], self.harvest.executions)

    def to_json(self) -> dict[str, Any]:
        """Return the report; the keys of the first lines are promised."""
        quest, counts = self.plan.quest, self.counts
        subject = quest.subject
        return {
            "verdict": self.verdict,
            "complete": self.complete,
            "bound": quest.settings.bound,
            "executions": counts.executions,
            "redundant": counts.redundant,
            "blocked": counts.blocked,
            "states": counts.states,
            "final_states": len(self.harvest.finals),
            "seconds": round(self.seconds, 3),
            "findings": [finding.to_json() for finding in self.findings],
            "stopped": self.stopped,
            "statement": self.statement,
            "work_left": self.work_left,
            "executions_per_s": round(self.harvest.executions / max(self.seconds, 1e-9), 1),
            "points": self.harvest.points,
            "subject": subject.name,
            "kernel": subject.kernel.name if isinstance(subject, KernelSubject) else None,
            "strategy": quest.strategy,
            "mode": quest.settings.mode,
            "host": quest.host,
            "final_states_left_out": self.harvest.finals_left_out,
            "behaviours": self.behaviours(),
            "fault": self.fault,
            "unsaved": self.unsaved,
        }


@attrs.frozen
class _Open:
    """A part that has not come to its end: its state, and where it stands."""

    state: SavedState
    standing: Standing


class Exploration:
    """One exploration in progress.

    Args:
        plan: what to do.
        on_progress: told now and then.
        interruption: ends it early, keeping what was seen.

    Raises:
        BadInput: the explorer cannot do what is asked, or a file does not fit.
    """

    def __init__(
        self,
        plan: ExplorePlan,
        on_progress: Callable[[Progress], None] | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        self.plan = plan
        self._tell = on_progress
        self._interruption = interruption
        subject = plan.quest.subject
        self._known = known_issues_of(subject.kernel) if isinstance(subject, KernelSubject) else ()
        self._harvest = Harvest()
        self._done = Counts()
        self._covered: Covered | None = None
        self._complete = True
        self._start = self._before = 0.0
        self._fault: str | None = None
        self._lost = False
        self._bad_input: BadInput | None = None
        self._unsaved: str | None = None
        self._stopped: Stopped | None = None
        states = [Part(plan.quest).explorer.save()]
        if plan.resume is not None:
            saved = load_exploration(plan.resume, plan.quest)
            self._harvest, self._done, self._before = saved.harvest, saved.done, saved.seconds
            self._covered, self._complete = saved.covered, saved.complete
            states = saved.parts
        self._runs_before = self._harvest.executions
        self._open = deque(_Open(state, Part(plan.quest, state).standing()) for state in states)
        if plan.save is not None and not plan.save.parent.is_dir():
            raise BadInput(f"{plan.save}: cannot be written: there is no such directory")

    def run(self) -> ExploreReport:
        """Explore to the end of the budget; save and report what was seen.

        Raises:
            BadInput: the start state is impossible, or a saved state does not fit.
            EmulatorError: a fault of ours, while traces were written.
        """
        report: ExploreReport = trio.run(self._run)
        return report

    async def _run(self) -> ExploreReport:
        self._start = trio.current_time()
        if self.plan.jobs > 1:
            await self._together()
        while self._open and not self._over():
            await self._here()
        self._save()
        return self._report(await self._findings())

    # -- in this process -----------------------------------------------------------------------

    async def _here(self, seconds: float = float("inf")) -> None:
        """Go on with an open part, to its end, that of the budget, or for so many seconds."""
        part = Part(self.plan.quest, self._open[0].state)
        end = trio.current_time() + seconds
        try:
            while not (self._open[0].standing.ended or self._over()):
                now = trio.current_time()
                until = min(now + _SLICE_S, now + self._seconds_left(), end)
                self._harvest.add(
                    await part.go_on(until=until, runs=self._runs_left(), stop=self._interrupted)
                )
                self._open[0] = _Open(self._open[0].state, part.standing())
                self._report_progress()
                if trio.current_time() >= end:
                    break
        except BadInput:
            raise
        except KsmtrioError as error:
            # The part is somewhere inside an execution: there is no state to go on from.
            self._fault, self._lost = str(error), True
            self._over()
            return
        self._put_back(part.explorer.save(), self._open.popleft().standing)

    def _put_back(self, state: SavedState, standing: Standing) -> None:
        """Put a part back that somebody has gone on with, unless there is nothing left to do."""
        if not standing.ended or standing.work_left:
            self._open.append(_Open(state, standing))
            if standing.ended:
                self._stopped = self._stopped or "memory"
            return
        self._done.add(standing.counts)
        self._complete &= standing.complete
        self._covered = max(self._covered or standing.covered, standing.covered)

    # -- in worker processes -------------------------------------------------------------------

    async def _together(self) -> None:
        """Have workers go on with parts, as soon as there is more than one; until then, here."""
        seconds = _SLICE_S
        async with trio_parallel.open_worker_context(init=prepare_worker) as workers:
            while self._open and not self._over():
                self._divide()
                if len(self._open) == 1:
                    await self._here(seconds)
                    seconds *= 2
                else:
                    await self._round(workers)

    def _divide(self) -> None:
        """See to it that there are parts for all workers, if the explorer can be split."""
        wanted = self.plan.jobs * _PARTS_PER_WORKER
        if len(self._open) >= wanted:
            return
        undivided, self._open = self._open, deque()
        while undivided:
            one = undivided.popleft()
            part = Part(self.plan.quest, one.state)
            given = part.explorer.split(max(2, wanted // (len(undivided) + 1)))
            if not given:
                self._open.append(one)
                continue
            left = one.standing.work_left
            share = None if left is None else left // (len(given) + 1)
            new = attrs.evolve(one.standing, counts=Counts(), work_left=share)
            self._open.append(
                _Open(part.explorer.save(), attrs.evolve(one.standing, work_left=share))
            )
            self._open.extend(_Open(state, new) for state in given)

    async def _round(self, workers: trio_parallel.WorkerContext) -> None:
        """Deal the open parts out, and have each worker go on with its own for a while."""
        runs = self._runs_left()
        players = min(self.plan.jobs, len(self._open))
        if runs is not None:
            players = min(players, runs)
        hands: list[list[_Open]] = [[] for _ in range(players)]
        for place, one in enumerate(self._open):
            hands[place % players].append(one)
        self._open.clear()
        limiter = trio.CapacityLimiter(players)
        async with trio.open_nursery() as nursery:
            for number, hand in enumerate(hands):
                share = None if runs is None else (runs + number) // players
                nursery.start_soon(self._have_done, workers, limiter, hand, share)
        if self._bad_input is not None:
            raise self._bad_input
        self._report_progress()

    async def _have_done(
        self,
        workers: trio_parallel.WorkerContext,
        limiter: trio.CapacityLimiter,
        hand: list[_Open],
        runs: int | None,
    ) -> None:
        """Have a worker go on with parts for a while, or for so many executions."""
        job = PartsJob(
            quest=self.plan.quest,
            states=tuple(one.state for one in hand),
            budget_s=min(_JOB_S, self._seconds_left()),
            runs=runs,
        )
        try:
            result: PartsResult = await workers.run_sync(run_parts, job, limiter=limiter)
        except BadInput as error:
            self._bad_input = error
            return
        except trio_parallel.BrokenWorkerError:
            # A signal to the whole process group kills a worker that is only just starting.
            if not self._interrupted():
                self._fault = "a worker process died; it may have run out of memory"
            self._open.extend(hand)
            return
        self._fault = self._fault or result.fault
        self._harvest.add(result.harvest)
        touched = len(result.standings)
        for state, standing in zip(result.states, result.standings, strict=False):
            self._put_back(state, standing)
        self._open.extend(hand[touched:])

    # -- budgets -------------------------------------------------------------------------------

    def _interrupted(self) -> bool:
        return self._interruption is not None and self._interruption.seen

    def _seconds_left(self) -> float:
        if self.plan.seconds is None:
            return float("inf")
        return self._start + self.plan.seconds - trio.current_time()

    def _runs_left(self) -> int | None:
        if self.plan.runs is None:
            return None
        return self.plan.runs - (self._harvest.executions - self._runs_before)

    def _over(self) -> bool:
        """Whether to stop; notes why."""
        left = self._runs_left()
        if self._stopped is None:
            if self._fault is not None:
                self._stopped = "fault"
            elif self._interrupted():
                self._stopped = "interrupted"
            elif left is not None and left <= 0:
                self._stopped = "runs"
            elif self._seconds_left() <= 0:
                self._stopped = "time"
        return self._stopped is not None

    def _seconds(self) -> float:
        return self._before + trio.current_time() - self._start

    def _work_left(self) -> int | None:
        total = 0
        for one in self._open:
            if one.standing.work_left is None:
                return None
            total += one.standing.work_left
        return total

    def _report_progress(self) -> None:
        if self._tell is None:
            return
        executions, left = self._harvest.executions, self._work_left()
        found = self._harvest.findings
        subject = self.plan.quest.subject
        self._tell(
            Progress(
                executions=executions,
                total=None if left is None else executions + left,
                points=self._harvest.points,
                findings=len(found),
                new=sum(known_in(subject, one, self._known) is None for one in found),
                seconds=self._seconds(),
                seconds_left=None if self.plan.seconds is None else self._seconds_left(),
            )
        )

    # -- the end -------------------------------------------------------------------------------

    def _save(self) -> None:
        if self.plan.save is None:
            return
        if self._lost:
            self._unsaved = f"{self.plan.save}: was not written: the fault left no state to save"
            return
        saved = SavedExploration(
            harvest=self._harvest,
            done=self._done,
            seconds=self._seconds(),
            parts=[one.state for one in self._open],
            covered=self._covered,
            complete=self._complete,
        )
        try:
            save_exploration(self.plan.save, self.plan.quest, saved)
        except BadInput as error:
            self._unsaved = str(error)

    def _report(self, findings: list[DistinctFinding]) -> ExploreReport:
        counts = Counts()
        counts.add(self._done)
        covered = [] if self._covered is None else [self._covered]
        for one in self._open:
            counts.add(one.standing.counts)
            covered.append(one.standing.covered)
        complete = not self._open and self._complete
        stopped: Stopped = "covered" if complete else "left out"
        if self._open and self._stopped is not None:
            stopped = self._stopped
        return ExploreReport(
            plan=self.plan,
            stopped=stopped,
            complete=complete,
            statement=max(covered).text,
            counts=counts,
            work_left=self._work_left(),
            seconds=self._seconds(),
            harvest=self._harvest,
            findings=tuple(findings),
            fault=self._fault,
            unsaved=self._unsaved,
        )

    async def _findings(self) -> list[DistinctFinding]:
        """Save a trace of each finding; executions that were cut short go on by default."""
        subject, spec = self.plan.quest.subject, StrategySpec(self.plan.quest.strategy, 0)
        findings = []
        for signature, seen in sorted(self._harvest.findings.items(), key=lambda i: i[1].first):
            whole = await execute_subject(subject, seen.choices, exact=False, marks=False)
            sighting = Sighting(seen.finding, spec, whole.choices)
            found = DistinctFinding(sighting, subject, seen.first, count=seen.count)
            found.by_scenario[subject.name] = seen.count
            found.known = known_in(subject, signature, self._known)
            try:
                found.trace = (await save_trace(subject, sighting, self.plan.traces)).path
            except BadInput as error:
                self._unsaved = self._unsaved or str(error)
            findings.append(found)
        return findings


def explore(
    plan: ExplorePlan,
    on_progress: Callable[[Progress], None] | None = None,
    interruption: Interruption | None = None,
) -> ExploreReport:
    """Explore; arguments and errors as in `Exploration`."""
    return Exploration(plan, on_progress, interruption).run()
