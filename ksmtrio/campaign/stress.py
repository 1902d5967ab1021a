# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job: many seeds of many scenarios, in worker processes, until the budget is used up.

Owns the order in which seeds are handed out (round robin over scenarios, so that the number of an
execution does not depend on how fast a worker is), the merging of results, and the saving of each
distinct finding. Being interrupted, or a fault of ours, keeps what was found. Reads the clock for
budgets and rates only. Tests: `tests/unit/test_campaign_stress.py`, `tests/cli/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import trio
import trio_parallel  # type: ignore[import-untyped]

from ksmtrio.campaign.behaviours import SAMPLE, BehaviourCount, ClassCount, report
from ksmtrio.campaign.canary import Canary, canary_job, judge_canary
from ksmtrio.campaign.decisions import DecisionLog
from ksmtrio.campaign.evidence import Evidence
from ksmtrio.campaign.findings import (
    TRACES_DEFAULT,
    DistinctFinding,
    SavedTrace,
    Sighting,
    rename_traces,
    save_trace,
)
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.campaign.known import KnownIssue, known_in, known_issues_of
from ksmtrio.campaign.workers import ChunkResult, Job, prepare_worker, run_job
from ksmtrio.errors import BadInput, KsmtrioError
from ksmtrio.kconfig import Kernel
from ksmtrio.sched.hosts import HOST_DEFAULT
from ksmtrio.sched.strategies import LEARNING
from ksmtrio.sched.strategies.session import BLOCK
from ksmtrio.subject import Subject
from ksmtrio.trace.verdict import Verdict

SECONDS_DEFAULT: Final = 60.0
"""Time budget of a campaign when no budget was given."""

DISTINCT_MAX: Final = 1000
"""Distinct findings after which a campaign ends: more help nobody."""

_CHUNK_FIRST: Final = 16
_CHUNK_MAX: Final = 4096
_CHUNK_SECONDS: Final = 0.4

Stopped = Literal["runs", "time", "interrupted", "fault", "findings"]
"""Why a campaign ended."""


@attrs.frozen(kw_only=True)
class StressPlan:
    """What a campaign is to do.

    Attributes:
        subjects: executed in turn.
        kernel: of the scenarios among them.
        strategy: None means the default.
        depth: PCT depth; None draws it from the seed.
        first_seed: of every scenario.
        runs: executions in all; None means no such bound.
        seeds: seeds of each scenario; None means no such bound.
        seconds: time budget; None means no such bound.
        jobs: worker processes.
        traces: directory for traces of findings.
        host: what runs the actors in the workers; traces are written on host trio.
        canary: whether the canary is part of it; always, except in tests.
    """

    subjects: tuple[Subject, ...]
    kernel: Kernel
    strategy: str | None = None
    depth: int | None = None
    first_seed: int = 0
    runs: int | None = None
    seeds: int | None = None
    seconds: float | None = None
    jobs: int = 1
    traces: Path = Path(TRACES_DEFAULT)
    host: str = HOST_DEFAULT
    canary: bool = True

    def seeds_of(self, index: int) -> int | None:
        """Return how many seeds scenario `index` gets; None means as many as time allows."""
        bounds = []
        if self.seeds is not None:
            bounds.append(self.seeds)
        if self.runs is not None:
            nr = len(self.subjects)
            bounds.append(self.runs // nr + (index < self.runs % nr))
        return min(bounds) if bounds else None


@attrs.frozen(kw_only=True)
class Progress:
    """Where a campaign stands.

    Attributes:
        total: executions it will have had; None when only time bounds it.
        seconds: since the start.
        seconds_left: estimate; None when nothing is known yet.
    """

    executions: int
    total: int | None
    points: int
    findings: int
    new: int
    seconds: float
    seconds_left: float | None


@attrs.frozen(kw_only=True)
class StressReport:
    """What came of a campaign.

    Attributes:
        verdict: over all findings, known or not.
        stopped: why it ended.
        findings: by first execution.
        strategies: name, with that of who made the choices -> executions.
        decisions: file with the decisions of the portfolio, if there were any.
        fault: a fault of ours, in one line; the rest is what was there before it.
        unsaved: why a trace could not be written, in one line; that ends a campaign, too.
    """

    verdict: Verdict
    stopped: Stopped
    executions: int
    points: int
    seconds: float
    findings: tuple[DistinctFinding, ...]
    evidence: Evidence
    canary: Canary | None
    kernel: Kernel
    scenarios: tuple[str, ...]
    strategies: Counter[str]
    decisions: Path | None = None
    fault: str | None = None
    unsaved: str | None = None

    def shortfall(self) -> str | None:
        """Return why there is no verdict at all, in one line; None: something was executed."""
        if self.executions or self.stopped != "time":
            return None
        return "nothing was executed within the budget; allow more with --time"

    def failing(self, *, fail_on: str) -> list[DistinctFinding]:
        """Return the findings that count: all for ``any``, those not known for ``new``."""
        return [f for f in self.findings if fail_on == "any" or f.known is None]

    def to_json(self) -> dict[str, Any]:
        """Return the report; the keys of the first lines are promised."""
        return {
            "verdict": self.verdict,
            "stopped": self.stopped,
            "executions": self.executions,
            "points": self.points,
            "seconds": round(self.seconds, 3),
            "executions_per_s": round(self.executions / max(self.seconds, 1e-9), 1),
            "points_per_s": round(self.points / max(self.seconds, 1e-9), 1),
            "findings": [finding.to_json() for finding in self.findings],
            "evidence": self.evidence.to_json(),
            "kernel": self.kernel.name,
            "scenarios": list(self.scenarios),
            "strategies": dict(sorted(self.strategies.items())),
            "decisions": None if self.decisions is None else str(self.decisions),
            "fault": self.fault,
            "unsaved": self.unsaved,
        }


class _Feed:
    """Hands out seeds of one scenario in chunks that take a worker about `_CHUNK_SECONDS`.

    Where a strategy learns, chunks end with blocks, so that nothing is executed twice.
    """

    def __init__(
        self, subject: Subject, first_seed: int, seeds: int | None, *, whole_blocks: bool = False
    ) -> None:
        self.subject = subject
        self._whole_blocks = whole_blocks
        self.next_seed = first_seed
        self.left = seeds
        self._chunk = _CHUNK_FIRST

    def take(self) -> tuple[int, int]:
        """Return first seed and count of the next chunk; count 0: all were handed out."""
        first, count = self.next_seed, self._chunk
        if self._whole_blocks:
            count += -(first + count) % BLOCK
        if self.left is not None:
            count = min(count, self.left)
        self.next_seed += count
        if self.left is not None:
            self.left -= count
        return first, count

    def learn(self, result: ChunkResult) -> None:
        """Adapt the size of chunks to how long one took."""
        if result.executions and result.seconds > 0:
            fitting = int(result.executions * _CHUNK_SECONDS / result.seconds)
            self._chunk = max(1, min(fitting, 4 * self._chunk, _CHUNK_MAX))


class Campaign:
    """One campaign in progress.

    Args:
        plan: what to do.
        on_progress: told after each chunk.
        known: known issues; None reads those that ship with ksmtrio.
        interruption: ends the campaign early; None: signals are not our business.

    Raises:
        BadInput: there is nothing to execute, or two scenarios have one name.
    """

    def __init__(
        self,
        plan: StressPlan,
        on_progress: Callable[[Progress], None] | None = None,
        known: tuple[KnownIssue, ...] | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        if not plan.subjects:
            raise BadInput("no scenario to execute")
        _refuse_same_names(plan.subjects)
        if plan.seeds_of(0) == 0:
            raise BadInput("nothing to execute: the range of seeds or the number of runs is 0")
        self.plan = plan
        self._on_progress = on_progress
        self._interruption = interruption
        self._known = known_issues_of(plan.kernel, known)
        self._feeds = [
            _Feed(
                subject,
                plan.first_seed,
                plan.seeds_of(index),
                whole_blocks=plan.strategy in LEARNING,
            )
            for index, subject in enumerate(plan.subjects)
        ]
        self._turn = 0
        self._executions = 0
        self._points = 0
        self._findings: dict[str, DistinctFinding] = {}
        self._unsaved: dict[str, None] = {}
        self._ours: set[Path] = set()
        self._marks = {subject.name: Counter[str]() for subject in plan.subjects}
        self._schedules = [ClassCount() for _ in plan.subjects]
        self._behaviours = [BehaviourCount() for _ in plan.subjects]
        self._strategies: Counter[str] = Counter()
        self._decisions = DecisionLog(plan.traces)
        self._canary: Canary | None = None
        self._stopped: Stopped | None = None
        self._fault: str | None = None
        self._bad_input: BadInput | None = None
        self._unwritable: str | None = None
        self._start = 0.0
        self._saving = trio.Lock()
        self._scope = trio.CancelScope()

    async def run(self) -> StressReport:
        """Run to the end of the budget, or until interrupted; save and report what was found.

        Raises:
            BadInput: a scenario's start state is impossible.
        """
        self._start = trio.current_time()
        self._listen()
        limiter = trio.CapacityLimiter(self.plan.jobs)
        async with trio_parallel.open_worker_context(init=prepare_worker) as workers:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    if self.plan.canary:
                        nursery.start_soon(self._fly_canary, workers, limiter)
                    for _ in range(self.plan.jobs):
                        nursery.start_soon(self._work, workers, limiter)
            with trio.CancelScope(shield=True):
                await self._save()
                self._rename()
        if self._bad_input is not None:
            raise self._bad_input
        return self._report(trio.current_time() - self._start)

    def stop(self, why: Stopped) -> None:
        """End the campaign now, keeping what was found."""
        if self._stopped is None:
            self._stopped = why
        self._scope.cancel()

    def _listen(self) -> None:
        """Have a signal end the campaign; it may come at any time, so the event loop is asked."""
        if self._interruption is None:
            return
        stop = partial(self.stop, "interrupted")
        token = trio.lowlevel.current_trio_token()

        def listener() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(stop)

        self._interruption.tell(listener)

    async def _fly_canary(
        self, workers: trio_parallel.WorkerContext, limiter: trio.CapacityLimiter
    ) -> None:
        result = await self._dispatch(workers, limiter, canary_job())
        if result is not None:
            self._canary = judge_canary(result)

    async def _work(
        self, workers: trio_parallel.WorkerContext, limiter: trio.CapacityLimiter
    ) -> None:
        while (found := self._next_job()) is not None:
            index, job = found
            result = await self._dispatch(workers, limiter, job)
            if result is None:
                return
            self._merge(index, job, result)
            await self._save()
            self._tell()

    async def _dispatch(
        self, workers: trio_parallel.WorkerContext, limiter: trio.CapacityLimiter, job: Job
    ) -> ChunkResult | None:
        """Have a worker do a job; None when the campaign is at its end for that."""
        try:
            result: ChunkResult = await workers.run_sync(
                run_job, job, kill_on_cancel=True, limiter=limiter
            )
        except BadInput as error:
            self._bad_input = error
            self.stop("fault")
            return None
        except trio_parallel.BrokenWorkerError:
            self._fail("a worker process died; it may have run out of memory")
            return None
        if result.fault is not None:
            self._fail(result.fault)
        return result

    def _fail(self, fault: str) -> None:
        if self._fault is None and self._stopped is None:
            self._fault = fault
        self.stop("fault")

    def _next_job(self) -> tuple[int, Job] | None:
        """Return the next chunk of the scenario whose turn it is; None: the budget is used up."""
        left = self._seconds_left()
        if self._stopped is not None or (left is not None and left <= 0):
            return None
        for _ in self._feeds:
            index = self._turn
            self._turn = (self._turn + 1) % len(self._feeds)
            first, count = self._feeds[index].take()
            if count:
                return index, Job(
                    subject=self._feeds[index].subject,
                    strategy=self.plan.strategy,
                    depth=self.plan.depth,
                    first_seed=first,
                    count=count,
                    host=self.plan.host,
                    budget_s=left,
                )
        return None

    def _seconds_left(self) -> float | None:
        if self.plan.seconds is None:
            return None
        return self._start + self.plan.seconds - trio.current_time()

    def _merge(self, index: int, job: Job, result: ChunkResult) -> None:
        self._feeds[index].learn(result)
        self._executions += result.executions
        self._points += result.points
        self._marks[job.subject.name].update(result.marks)
        self._schedules[index].update(result.executions, result.schedules)
        self._behaviours[index].update(result.behaviours)
        self._strategies.update(result.strategies)
        self._log(job, result)
        for sighting in result.sightings:
            number = (sighting.spec.seed - self.plan.first_seed) * len(self._feeds) + index + 1
            self._note(job.subject, sighting, number)
        for signature, count in result.counts.items():
            distinct = self._findings[signature]
            distinct.count += count
            distinct.by_scenario[job.subject.name] += count

    def _log(self, job: Job, result: ChunkResult) -> None:
        try:
            self._decisions.add(job.subject.name, result.decisions)
        except BadInput as error:
            self._unwritable = self._unwritable or str(error)
            self.stop("fault")

    def _note(self, subject: Subject, sighting: Sighting, number: int) -> None:
        signature = sighting.finding.signature
        distinct = self._findings.get(signature)
        if distinct is None:
            distinct = DistinctFinding(sighting, subject, number)
            distinct.known = known_in(subject, signature, self._known)
            self._findings[signature] = distinct
        elif number < distinct.first_execution:
            distinct.sighting = sighting
            distinct.subject = subject
            distinct.first_execution = number
        else:
            return
        self._unsaved[signature] = None
        if len(self._findings) >= DISTINCT_MAX:
            self.stop("findings")

    async def _save(self) -> None:
        """Write the traces of findings that are new, or now have an earlier execution.

        An earlier one may turn up while a trace is written; the finding then stays unsaved.
        """
        async with self._saving:
            while self._unsaved:
                signature = next(iter(self._unsaved))
                distinct = self._findings[signature]
                sighting = distinct.sighting
                try:
                    saved = await save_trace(distinct.subject, sighting, self.plan.traces)
                except BadInput as error:
                    self._unsaved.clear()
                    self._unwritable = self._unwritable or str(error)
                    self.stop("fault")
                    return
                except KsmtrioError as error:
                    self._unsaved.pop(signature, None)
                    self._fail(str(error))
                    continue
                if distinct.sighting is sighting:
                    self._unsaved.pop(signature, None)
                self._replace_trace(distinct, saved)

    def _replace_trace(self, distinct: DistinctFinding, saved: SavedTrace) -> None:
        """Take a newer trace; the older one goes, if this campaign wrote it and nobody needs it."""
        earlier = distinct.trace
        distinct.trace = saved.path
        if saved.created:
            self._ours.add(saved.path)
        if earlier is None or earlier not in self._ours:
            return
        if all(other.trace != earlier for other in self._findings.values()):
            self._ours.discard(earlier)
            with suppress(OSError):
                earlier.unlink()

    def _rename(self) -> None:
        """Give the traces of this campaign the names they have whichever worker was faster."""
        ours = [found for found in self._sorted() if found.trace in self._ours]
        try:
            rename_traces(ours)
        except (OSError, BadInput) as error:
            self._unwritable = self._unwritable or str(error)

    def _sorted(self) -> list[DistinctFinding]:
        """Return the findings by first execution; those of one execution by signature."""
        return sorted(
            self._findings.values(),
            key=lambda found: (found.first_execution, found.sighting.finding.signature),
        )

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        seconds = trio.current_time() - self._start
        shares = [self.plan.seeds_of(index) for index in range(len(self._feeds))]
        total = None if None in shares else sum(share for share in shares if share is not None)
        estimates = []
        left = self._seconds_left()
        if left is not None:
            estimates.append(left)
        if total is not None and self._executions:
            estimates.append((total - self._executions) * seconds / self._executions)
        self._on_progress(
            Progress(
                executions=self._executions,
                total=total,
                points=self._points,
                findings=len(self._findings),
                new=sum(f.known is None for f in self._findings.values()),
                seconds=seconds,
                seconds_left=max(0.0, min(estimates)) if estimates else None,
            )
        )

    def _report(self, seconds: float) -> StressReport:
        stopped = self._stopped
        if stopped is None:
            left = self._seconds_left()
            stopped = "time" if left is not None and left <= 0 else "runs"
        canary = None if self._canary is None else self._canary.to_json()
        if self._canary is None and self.plan.canary:
            canary = Canary(found=False, executions=0).to_json()
        evidence = Evidence(
            executions=self._executions,
            points=self._points,
            distinct_schedules=sum(count.distinct() for count in self._schedules),
            marks=self._marks,
            canary=canary,
            findings=len(self._findings),
            behaviours=report(
                self._behaviours,
                -(-self._executions // len(self._feeds)),
                SAMPLE,
                first=self.plan.first_seed,
            ),
        )
        return StressReport(
            verdict=evidence.verdict(),
            stopped=stopped,
            executions=self._executions,
            points=self._points,
            seconds=seconds,
            findings=tuple(self._sorted()),
            evidence=evidence,
            canary=self._canary,
            kernel=self.plan.kernel,
            scenarios=tuple(subject.name for subject in self.plan.subjects),
            strategies=self._strategies,
            decisions=self._decisions.path,
            fault=self._fault,
            unsaved=self._unwritable,
        )


def _refuse_same_names(subjects: tuple[Subject, ...]) -> None:
    """Refuse a campaign whose report could not tell two subjects apart."""
    seen: dict[str, Subject] = {}
    for subject in subjects:
        other = seen.get(subject.name)
        if other is not None:
            raise BadInput(
                f"{subject.source}: a scenario named {subject.name!r} is in the campaign already "
                f"({other.source}); give each one once, under a name of its own"
            )
        seen[subject.name] = subject


def stress(
    plan: StressPlan,
    on_progress: Callable[[Progress], None] | None = None,
    interruption: Interruption | None = None,
) -> StressReport:
    """Run a campaign in an event loop of its own; arguments and errors as `Campaign`."""

    async def main() -> StressReport:
        return await Campaign(plan, on_progress, interruption=interruption).run()

    return trio.run(main)
