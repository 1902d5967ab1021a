# SPDX-License-Identifier: GPL-2.0-or-later
"""One execution for the verb `run`: its report, and the trace of what it found.

Tests: `tests/cli/test_cli_run.py`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import trio

from ksmtrio.campaign.behaviours import BehaviourCount, report
from ksmtrio.campaign.evidence import Evidence
from ksmtrio.campaign.findings import DistinctFinding, Sighting, save_trace
from ksmtrio.campaign.interleaving import load_interleaving
from ksmtrio.campaign.known import known_issues_of, match_known
from ksmtrio.campaign.sessions import open_session
from ksmtrio.errors import BadInput
from ksmtrio.execution import Outcome, Plan, execute_subject, probe, record_subject
from ksmtrio.sched.behaviour import Behaviour, Behaviours
from ksmtrio.sched.hosts import HOST_DEFAULT
from ksmtrio.sched.strategies import NO_PROFILE, StrategySpec
from ksmtrio.sched.strategies.interleave import Followed, Interleave
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.session import BLOCK
from ksmtrio.subject import KernelSubject, Subject
from ksmtrio.trace.recorder import Recorder


@attrs.frozen(kw_only=True)
class RunReport:
    """What came of one execution.

    Attributes:
        spec: what made the choices; for a given interleaving by that name only.
        evidence: what a clean verdict rests on.
        behaviour: classes of the execution.
        followed: how far a given interleaving was followed; None: there was none.
    """

    subject: Subject
    spec: StrategySpec
    outcome: Outcome
    findings: tuple[DistinctFinding, ...]
    trace: Path | None
    evidence: Evidence
    behaviour: Behaviour
    followed: Followed | None = None

    @property
    def kernel(self) -> str | None:
        """Name of the kernel; None: a program ran that is none."""
        return self.subject.kernel.name if isinstance(self.subject, KernelSubject) else None

    def failing(self, *, fail_on: str) -> list[DistinctFinding]:
        """Return the findings that count: all for ``any``, those not known for ``new``."""
        return [f for f in self.findings if fail_on == "any" or f.known is None]

    def to_json(self) -> dict[str, Any]:
        """Return the report; the keys of the first lines are promised."""
        return {
            "verdict": self.outcome.verdict,
            "points": self.outcome.points,
            "seed": self.spec.seed,
            "strategy": self.spec.name,
            "kernel": self.kernel,
            "scenario": self.subject.name,
            "digest": {
                "events": self.outcome.event_digest,
                "machine": self.outcome.machine_digest,
            },
            "findings": [finding.to_json() for finding in self.findings],
            "depth": self.spec.depth,
            "stop_reason": self.outcome.stop_reason,
            "marks": list(self.outcome.marks),
            "trace": None if self.trace is None else str(self.trace),
            "interleaving": None if self.followed is None else self.followed.to_json(),
            "behaviour": {
                "reads_from": f"{self.behaviour.reads_from:016x}",
                "lock_order": f"{self.behaviour.lock_order:016x}",
            },
            "evidence": self.evidence.to_json(),
        }


def run_once(
    subject: Subject,
    *,
    strategy: str | None,
    depth: int | None,
    seed: int,
    record: Path | None,
    traces: Path,
    interleave: Path | None = None,
    host: str = HOST_DEFAULT,
) -> RunReport:
    """Execute once; write the full log where asked to, and wherever something was found.

    Args:
        subject: what to execute.
        strategy: None means the default. Where it learns, the seeds before this one of its block
            are executed first.
        depth: PCT depth; None draws it from the seed.
        seed: of the strategy.
        record: file for the full log; None writes one into `traces` if there is a finding.
        traces: directory for traces of findings.
        interleave: file of an interleaving to follow, instead of a strategy.
        host: what runs the actors.

    Raises:
        BadInput: unknown strategy, impossible start state, a file cannot be written, or the
            interleaving is malformed or comes with a strategy.
        EmulatorError: a fault of ours.
    """
    if interleave is None:
        return trio.run(_run_once, subject, (strategy, seed, depth), record, traces, host)
    if strategy is not None or depth is not None:
        raise BadInput("an interleaving takes every choice; leave out --strategy and --depth")
    if not isinstance(subject, KernelSubject):
        raise BadInput("an interleaving is for a scenario; a program has no known labels")
    given = load_interleaving(interleave, subject.scenario)
    return trio.run(_follow, subject, given, record, traces, host)


async def _run_once(
    subject: Subject,
    wanted: tuple[str | None, int, int | None],
    record: Path | None,
    traces: Path,
    host: str,
) -> RunReport:
    strategy, seed, depth = wanted
    profile = Profile() if strategy in NO_PROFILE else await probe(subject)
    session = await open_session(subject, strategy, seed, depth=depth, profile=profile, host=host)
    steering, spec = session.strategy(seed % BLOCK), session.spec(seed % BLOCK)
    return await _report(subject, steering, spec, record, traces, host)


async def _follow(
    subject: Subject,
    given: Interleave,
    record: Path | None,
    traces: Path,
    host: str,
) -> RunReport:
    spec = StrategySpec("interleave", 0)
    report = await _report(subject, given, spec, record, traces, host)
    return attrs.evolve(report, followed=given.followed())


async def _report(
    subject: Subject,
    plan: Plan,
    spec: StrategySpec,
    record: Path | None,
    traces: Path,
    host: str,
) -> RunReport:
    if record is None:
        outcome = await execute_subject(subject, plan, recorder=Recorder(), host=host)
    else:
        outcome = await record_subject(subject, plan, record, made_by=spec, host=host)
    trace = record
    known = known_issues_of(subject.kernel) if isinstance(subject, KernelSubject) else ()
    findings = []
    for seen in outcome.findings:
        sighting = Sighting(seen, spec, outcome.choices)
        if trace is None:
            trace = (await save_trace(subject, sighting, traces)).path
        found = DistinctFinding(sighting, subject, 1, count=1, trace=trace)
        found.by_scenario[subject.name] = 1
        found.known = match_known(seen.signature, known)
        findings.append(found)
    behaviour = await _behaviour(subject, outcome, host)
    return RunReport(
        subject=subject,
        spec=spec,
        outcome=outcome,
        findings=tuple(findings),
        trace=trace,
        evidence=_evidence(subject, outcome, behaviour),
        behaviour=behaviour,
    )


async def _behaviour(subject: Subject, outcome: Outcome, host: str) -> Behaviour:
    """Return how an execution behaved, by having it again."""
    tap = Behaviours()
    await execute_subject(subject, outcome.choices, recorder=tap, marks=False, host=host)
    return tap.behaviour()


def _evidence(subject: Subject, outcome: Outcome, behaviour: Behaviour) -> Evidence:
    count = BehaviourCount()
    count.add(behaviour, 0)
    return Evidence(
        executions=1,
        points=outcome.points,
        distinct_schedules=1,
        marks={subject.name: Counter(outcome.marks)},
        canary=None,
        findings=len(outcome.findings),
        behaviours=report([count], 1, 1),
    )
