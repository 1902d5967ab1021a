# SPDX-License-Identifier: GPL-2.0-or-later
"""What a worker process does: many executions in one event loop, returning kilobytes.

A job goes in as plain data and comes out as a `ChunkResult`; nothing else crosses. A worker keeps
choices only, and those only of executions that showed something. May read the clock, to keep to
its budget. Tests: `tests/replay/test_execution.py`.
"""

from __future__ import annotations

import gc
from collections import Counter

import attrs
import trio

from ksmtrio.campaign.behaviours import (
    BehaviourCount,
    BehaviourRows,
    ClassCount,
    Row,
    in_sample,
)
from ksmtrio.campaign.evidence import hash_of
from ksmtrio.campaign.findings import Sighting
from ksmtrio.campaign.sessions import feedback_of, open_session
from ksmtrio.errors import BadInput, KsmtrioError
from ksmtrio.execution import Outcome, execute_subject, probed
from ksmtrio.sched.behaviour import Behaviours
from ksmtrio.sched.hosts import HOST_DEFAULT
from ksmtrio.sched.strategies import DEFAULT, NO_PROFILE
from ksmtrio.sched.strategies.portfolio import Decision
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.session import BLOCK, Session
from ksmtrio.subject import Subject


@attrs.frozen(kw_only=True)
class Job:
    """A range of seeds for one worker.

    Attributes:
        strategy: None means the default.
        depth: PCT depth; None draws it from the seed.
        first_seed, count: the seeds.
        host: what runs the actors.
        budget_s: stop early after so many seconds, but never before the first execution.
        stop_at: (oracle, kind) of a finding that ends the job.
    """

    subject: Subject
    strategy: str | None
    depth: int | None
    first_seed: int
    count: int
    host: str = HOST_DEFAULT
    budget_s: float | None = None
    stop_at: tuple[str, str] | None = None


@attrs.frozen(kw_only=True)
class ChunkResult:
    """What came of a job.

    Attributes:
        executions: how many seeds were executed, from the first on.
        points: schedule points in all of them.
        seconds: how long it took.
        sightings: the first of each signature, by seed.
        counts: signature -> executions that showed it.
        marks: mark -> executions that reached it.
        schedules: rows for `ClassCount`, an execution being in the class of its choices.
        behaviours: of the seeds `in_sample`, by seed.
        strategies: name, with that of who made the choices -> executions.
        decisions: of the portfolio, an execution each.
        stopped: the finding of `stop_at` was seen; it is in the last execution.
        fault: a fault of ours, in one line; it is no result.
    """

    executions: int
    points: int
    seconds: float
    sightings: tuple[Sighting, ...]
    counts: Counter[str]
    marks: Counter[str]
    schedules: tuple[Row, ...]
    behaviours: BehaviourRows = attrs.field(factory=BehaviourRows)
    strategies: Counter[str] = attrs.field(factory=Counter)
    decisions: tuple[Decision, ...] = ()
    stopped: bool = False
    fault: str | None = None


class _Tally:
    """Adds up the outcomes of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.executions = 0
        self.points = 0
        self.seconds = 0.0
        self.sightings: dict[str, Sighting] = {}
        self.counts: Counter[str] = Counter()
        self.marks: Counter[str] = Counter()
        self.schedules = ClassCount()
        self.behaviours = BehaviourCount()
        self.strategies: Counter[str] = Counter()
        self.decisions: list[Decision] = []
        self.stopped = False
        self.fault: str | None = None

    async def timed(self) -> None:
        """Do `run` and take its time."""
        start = trio.current_time()
        await self.run()
        self.seconds = trio.current_time() - start

    async def run(self) -> None:
        """Execute the seeds of the job."""
        job = self.job
        session: Session | None = None
        end = None if job.budget_s is None else trio.current_time() + job.budget_s
        for seed in range(job.first_seed, job.first_seed + job.count):
            number = seed % BLOCK
            try:
                if session is None or number == 0:
                    session = await self._session(seed)
                strategy = session.strategy(number)
                tap = Behaviours() if in_sample(seed) else None
                outcome = await execute_subject(job.subject, strategy, recorder=tap, host=job.host)
            except BadInput:
                raise
            except KsmtrioError as error:
                self.fault = (
                    f"{error} ({job.subject.origin}, "
                    f"strategy {job.strategy or DEFAULT}, seed {seed})"
                )
                return
            session.learn(number, strategy, feedback_of(outcome))
            spec = session.spec(number)
            self.strategies[spec.name] += 1
            self.decisions += session.decisions[number:]
            self._add(seed, outcome)
            if tap is not None:
                self.behaviours.add(tap.behaviour(), seed)
            if not gc.isenabled():
                gc.collect(0)
            for finding in outcome.findings:
                self.counts[finding.signature] += 1
                if finding.signature not in self.sightings:
                    self.sightings[finding.signature] = Sighting(finding, spec, outcome.choices)
                self.stopped |= (finding.oracle, finding.kind) == job.stop_at
            if self.stopped or (end is not None and trio.current_time() >= end):
                return

    async def _session(self, seed: int) -> Session:
        job = self.job
        return await open_session(
            job.subject,
            job.strategy,
            seed,
            depth=job.depth,
            profile=_profile(job),
            host=job.host,
        )

    def _add(self, seed: int, outcome: Outcome) -> None:
        self.executions += 1
        self.points += outcome.points
        self.marks.update(outcome.marks)
        self.schedules.add(hash_of(outcome.choices), seed)


def _profile(job: Job) -> Profile:
    """Return what strategies want to know; nothing is probed where none of them does."""
    if job.strategy in NO_PROFILE:
        return Profile()
    return probed(job.subject)


def run_job(job: Job) -> ChunkResult:
    """Execute a job; the function that worker processes call.

    Raises:
        BadInput: the scenario's start state is impossible.
    """
    tally = _Tally(job)
    _profile(job)
    trio.run(tally.timed)
    return ChunkResult(
        executions=tally.executions,
        points=tally.points,
        seconds=tally.seconds,
        sightings=tuple(tally.sightings.values()),
        counts=tally.counts,
        marks=tally.marks,
        schedules=tuple(tally.schedules.rows()),
        behaviours=tally.behaviours.to_rows(),
        strategies=tally.strategies,
        decisions=tuple(tally.decisions),
        stopped=tally.stopped,
        fault=tally.fault,
    )


def prepare_worker() -> None:
    """Tune a fresh worker process: collect garbage between executions, never inside one.

    A machine is cyclic garbage once its execution is over. Has no effect on results.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
