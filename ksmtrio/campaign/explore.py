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

from ksmtrio.campaign.exploration_file import (
    SavedExploration,
    load_exploration,
    save_exploration,
)
from ksmtrio.campaign.exploring import Harvest, Part, PartsJob, PartsResult, Quest, run_parts
from ksmtrio.campaign.findings import DistinctFinding, Sighting, save_trace
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.campaign.known import known_issues_of, match_known
from ksmtrio.campaign.stress import Progress
from ksmtrio.campaign.workers import prepare_worker
from ksmtrio.execution import execute_subject
from ksmtrio.sched.exploration.base import Counts, SavedState
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.subject import KernelSubject

Verdict = Literal["finding", "complete", "undecided"]
Stopped = Literal["covered", "runs", "time", "memory", "interrupted", "fault"]

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
        fault: a fault of ours, in one line.
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

    @property
    def verdict(self) -> Verdict:
        """``complete`` only without a finding; ``undecided``: nothing seen, but not all covered."""
        if self.findings:
            return "finding"
        return "complete" if self.complete else "undecided"

    def failing(self, *, fail_on: str) -> list[DistinctFinding]:
        """Return the findings that count: all for ``any``, those not known for ``new``."""
        return [f for f in self.findings if fail_on == "any" or f.known is None]

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
            "fault": self.fault,
        }


class Exploration:
    """One exploration in progress.

    Args:
        plan: what to do.
        on_progress: told now and then.
        interruption: ends it early, keeping what was seen.

    Raises:
        BadInput: the explorer cannot do what is asked, or the file to resume from does not fit.
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
        self._harvest = Harvest()
        self._done = Counts()
        self._open: deque[tuple[SavedState, Counts]] = deque()
        self._complete = True
        self._statement = ""
        self._work_left: int | None = None
        self._fault: str | None = None
        self._stopped: Stopped | None = None
        self._start = 0.0
        self._before = 0.0
        self._runs_before = 0
        self._states: list[SavedState | None] = [None]
        if plan.resume is not None:
            saved = load_exploration(plan.resume, plan.quest)
            self._harvest, self._done, self._before = saved.harvest, saved.done, saved.seconds
            self._states = list(saved.parts)
            self._statement, self._complete = saved.statement, saved.complete
            self._runs_before = saved.harvest.executions

    def run(self) -> ExploreReport:
        """Explore to the end of the budget; save and report what was seen.

        Raises:
            BadInput: the start state is impossible, or a file cannot be written.
            EmulatorError: a fault of ours.
        """
        report: ExploreReport = trio.run(self._run)
        return report

    async def _run(self) -> ExploreReport:
        self._start = trio.current_time()
        await (self._alone() if self.plan.jobs == 1 else self._together())
        self._save()
        return self._report(await self._findings())

    # -- in this process -----------------------------------------------------------------------

    async def _alone(self) -> None:
        states = deque(self._states)
        while states:
            part = Part(self.plan.quest, states.popleft())
            await self._go_on(part)
            standing = part.standing()
            self._statement = standing.statement
            if standing.finished:
                self._done.add(standing.counts)
                self._complete &= standing.complete
            else:
                self._open.append((part.explorer.save(), standing.counts))
                self._work_left = standing.work_left
                self._open.extend(self._counted(state) for state in states if state is not None)
                return

    def _counted(self, state: SavedState) -> tuple[SavedState, Counts]:
        """Return a saved state with what was done in it."""
        return state, Part(self.plan.quest, state).standing().counts

    async def _go_on(self, part: Part, seconds: float | None = None) -> None:
        """Go on with a part to its end, that of the budget, or for so many seconds."""
        end = None if seconds is None else trio.current_time() + seconds
        while not self._over():
            now = trio.current_time()
            until = min(now + _SLICE_S, now + self._seconds_left(), end or now + _SLICE_S)
            harvest = await part.go_on(until=until, runs=self._runs_left(), stop=self._interrupted)
            self._harvest.add(harvest)
            standing = part.standing()
            self._report_progress(standing.counts, standing.work_left)
            if standing.finished or (end is not None and trio.current_time() >= end):
                return

    # -- in worker processes -------------------------------------------------------------------

    async def _together(self) -> None:
        """Begin here, then have workers go on with parts, as long as there are any."""
        states = await self._begin() if self._states == [None] else self._states
        self._open.extend(self._counted(state) for state in states if state is not None)
        if not self._open:
            return
        async with trio_parallel.open_worker_context(init=prepare_worker) as workers:
            limiter = trio.CapacityLimiter(self.plan.jobs)
            while self._open and not self._over():
                self._divide()
                jobs = self._deal()
                async with trio.open_nursery() as nursery:
                    for states_of in jobs:
                        nursery.start_soon(self._have_done, workers, limiter, states_of)

    async def _begin(self) -> list[SavedState]:
        """Go on alone for a little while; most explorations end there."""
        part = Part(self.plan.quest)
        await self._go_on(part, seconds=_SLICE_S)
        standing = part.standing()
        self._statement = standing.statement
        if standing.finished:
            self._done.add(standing.counts)
            self._complete &= standing.complete
            return []
        return [part.explorer.save()]

    def _divide(self) -> None:
        """See to it that there are parts for all workers, if the explorer can be split."""
        wanted = self.plan.jobs * _PARTS_PER_WORKER
        if len(self._open) >= wanted:
            return
        undivided: deque[tuple[SavedState, Counts]] = deque()
        while self._open:
            state, counts = self._open.popleft()
            part = Part(self.plan.quest, state)
            given = part.explorer.split(max(2, wanted // (len(self._open) + 1)))
            undivided.append((part.explorer.save() if given else state, counts))
            undivided.extend((new, Counts()) for new in given)
        self._open = undivided

    def _deal(self) -> list[list[tuple[SavedState, Counts]]]:
        """Take the open parts, and return who goes on with which."""
        hands: list[list[tuple[SavedState, Counts]]] = [[] for _ in range(self.plan.jobs)]
        for place, part in enumerate(self._open):
            hands[place % self.plan.jobs].append(part)
        self._open.clear()
        return [hand for hand in hands if hand]

    async def _have_done(
        self,
        workers: trio_parallel.WorkerContext,
        limiter: trio.CapacityLimiter,
        hand: list[tuple[SavedState, Counts]],
    ) -> None:
        """Have a worker go on with parts for a while."""
        job = PartsJob(
            quest=self.plan.quest,
            states=tuple(state for state, _ in hand),
            budget_s=min(_JOB_S, self._seconds_left()),
        )
        try:
            result: PartsResult = await workers.run_sync(run_parts, job, limiter=limiter)
        except trio_parallel.BrokenWorkerError:
            self._fault = "a worker process died; it may have run out of memory"
            self._open.extend(hand)
            return
        self._fault = self._fault or result.fault
        self._harvest.add(result.harvest)
        for place, (state, (_, counts)) in enumerate(zip(result.states, hand, strict=True)):
            if place >= len(result.standings):
                self._open.append((state, counts))
                continue
            standing = result.standings[place]
            self._statement = standing.statement
            if standing.finished:
                self._done.add(standing.counts)
                self._complete &= standing.complete
            else:
                self._open.append((state, standing.counts))
                self._work_left = standing.work_left
        self._report_progress(Counts(), self._work_left)

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
        """Whether the budget is used up; notes why."""
        left = self._runs_left()
        if self._fault is not None:
            self._stopped = "fault"
        elif self._interrupted():
            self._stopped = "interrupted"
        elif left is not None and left <= 0:
            self._stopped = "runs"
        elif self._seconds_left() <= 0:
            self._stopped = "time"
        return self._stopped is not None

    def _counts(self, running: Counts | None = None) -> Counts:
        total = Counts()
        total.add(self._done)
        for _, counts in self._open:
            total.add(counts)
        if running is not None:
            total.add(running)
        return total

    def _report_progress(self, running: Counts, work_left: int | None) -> None:
        if self._tell is None:
            return
        executions = self._harvest.executions
        findings = len(self._harvest.findings)
        self._tell(
            Progress(
                executions=executions,
                total=None if work_left is None else executions + work_left,
                points=self._harvest.points,
                findings=findings,
                new=findings,
                seconds=self._before + trio.current_time() - self._start,
                seconds_left=None if self.plan.seconds is None else self._seconds_left(),
            )
        )

    # -- the end -------------------------------------------------------------------------------

    def _save(self) -> None:
        if self.plan.save is None:
            return
        saved = SavedExploration(
            harvest=self._harvest,
            done=self._done,
            seconds=self._before + trio.current_time() - self._start,
            parts=[state for state, _ in self._open],
            statement=self._statement,
            complete=self._complete,
        )
        save_exploration(self.plan.save, self.plan.quest, saved)

    def _report(self, findings: list[DistinctFinding]) -> ExploreReport:
        seconds = self._before + trio.current_time() - self._start
        covered = not self._open
        stopped: Stopped = self._stopped or ("covered" if self._complete else "memory")
        return ExploreReport(
            plan=self.plan,
            stopped="covered" if covered and self._complete else stopped,
            complete=covered and self._complete,
            statement=self._statement,
            counts=self._counts(),
            work_left=0 if covered else self._work_left,
            seconds=seconds,
            harvest=self._harvest,
            findings=tuple(findings),
            fault=self._fault,
        )

    async def _findings(self) -> list[DistinctFinding]:
        """Save a trace of each finding; executions that were cut short go on by default."""
        subject, spec = self.plan.quest.subject, StrategySpec(self.plan.quest.strategy, 0)
        known = known_issues_of(subject.kernel) if isinstance(subject, KernelSubject) else ()
        findings = []
        for signature, seen in sorted(self._harvest.findings.items(), key=lambda i: i[1].first):
            whole = await execute_subject(subject, seen.choices, exact=False, marks=False)
            sighting = Sighting(seen.finding, spec, whole.choices)
            found = DistinctFinding(sighting, subject, seen.first, count=seen.count)
            found.by_scenario[subject.name] = seen.count
            found.known = match_known(signature, known)
            found.trace = (await save_trace(subject, sighting, self.plan.traces)).path
            findings.append(found)
        return findings


def explore(
    plan: ExplorePlan,
    on_progress: Callable[[Progress], None] | None = None,
    interruption: Interruption | None = None,
) -> ExploreReport:
    """Explore; arguments and errors as in `Exploration`."""
    return Exploration(plan, on_progress, interruption).run()
