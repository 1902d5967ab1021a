# SPDX-License-Identifier: GPL-2.0-or-later
"""One execution: subject + strategy or choices -> Outcome; and its trace, and its replay.

An execution is a pure function of (scenario, kernel, choices). Recording is a second execution of
the same: stress runs keep choices only and write the full log when there is something to show. Owns
the order in which machine, oracles, marks and recorder are put together. Tests:
`tests/replay/`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict, TypeVar, Unpack

import attrs
import trio

from ksmtrio.errors import BadInput, EmulatorError, KsmtrioError, ReplayDiverged
from ksmtrio.kconfig import Kernel
from ksmtrio.machine import Machine, build_machine
from ksmtrio.mm.mm_types import Watchers
from ksmtrio.oracles.base import Finding, Findings, Oracle
from ksmtrio.oracles.registry import make_oracles, make_program_oracles
from ksmtrio.scenario import Scenario, parse_scenario
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.host_bare import drive
from ksmtrio.sched.hosts import HOST_DEFAULT, make_host
from ksmtrio.sched.program import Program
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies import StrategySpec, build
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.profile import Profile, Profiler, profile_of
from ksmtrio.sched.strategies.replay import Replay
from ksmtrio.sched.tap import Tap
from ksmtrio.subject import KernelSubject, ProgramSubject, Subject, recorded_subject
from ksmtrio.trace.diff import Comparison, Difference
from ksmtrio.trace.digest import digest_of
from ksmtrio.trace.format import (
    BodyRecord,
    FindingRecord,
    Footer,
    Header,
    ProgramFile,
    Record,
    ScenarioText,
    build_header,
    executed_of,
)
from ksmtrio.trace.marks import MarkTracker
from ksmtrio.trace.race_marks import MARKS
from ksmtrio.trace.reader import Trace, read_trace
from ksmtrio.trace.recorder import Recorder
from ksmtrio.trace.verdict import Verdict, verdict_of
from ksmtrio.trace.writer import TraceWriter

T = TypeVar("T")

Plan: TypeAlias = StrategySpec | Choices | Strategy
"""Where choices come from: a strategy by name and seed, a recorded list, or a strategy as such."""


@attrs.frozen
class Outcome:
    """What came of one execution.

    Attributes:
        verdict: ``finding`` or ``clean``.
        findings: in order of appearance, each signature once.
        choices: all that were taken; with scenario and kernel they are the execution.
        points: schedule points passed.
        stop_reason: why it ended; ``done`` when all actors came to their end.
        marks: names of the marks that were reached.
        event_digest: of all records; None when nothing was recorded.
        machine_digest: of the final state; None when nothing was recorded and nobody asked, or the
            execution was given up before its end.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    choices: Choices
    points: int
    stop_reason: str
    marks: tuple[str, ...]
    event_digest: str | None = None
    machine_digest: str | None = None

    def signatures(self) -> tuple[str, ...]:
        """Return the signatures of the findings."""
        return tuple(finding.signature for finding in self.findings)


@attrs.frozen
class ReplayResult:
    """What came of replaying one trace.

    Attributes:
        file: the trace.
        same: every record was the same, to the last.
        difference: the first one, or None.
        verdict: of the recorded execution.
        findings: signatures in the trace.
        points: schedule points in the trace.
    """

    file: str
    same: bool
    difference: Difference | None
    verdict: Verdict
    findings: tuple[str, ...]
    points: int


class How(TypedDict, total=False):
    """How to execute: the keyword arguments of `execute_subject`."""

    recorder: Tap | None
    marks: bool
    exact: bool
    final: bool
    host: str


async def execute(scenario: Scenario, kernel: Kernel, plan: Plan, **how: Unpack[How]) -> Outcome:
    """Execute a scenario under a kernel once; arguments and errors as in `execute_subject`."""
    return await execute_subject(KernelSubject(scenario, kernel), plan, **how)


async def execute_subject(
    subject: Subject,
    plan: Plan,
    *,
    recorder: Tap | None = None,
    marks: bool = True,
    exact: bool = True,
    final: bool = False,
    host: str = HOST_DEFAULT,
) -> Outcome:
    """Execute once. Many executions can run, one after the other, inside one event loop.

    Args:
        subject: what to execute.
        plan: where choices come from.
        recorder: gets the stream of the execution, if given; a `Recorder` makes digests.
        marks: whether to watch for the race marks, of which a program has none.
        exact: with a list of choices: it must fit to the last; otherwise any list is a schedule.
        final: whether to digest the final state, recorded or not.
        host: what runs the actors: ``trio``, or ``bare``, which never awaits an event loop.

    Raises:
        ReplayDiverged: exact choices do not fit.
        ScenarioError: the start state is impossible.
        BadInput: a program raised while it was described.
        EmulatorError: a fault of ours; never a finding.
    """
    strategy = _strategy(plan, exact=exact)
    reached: tuple[str, ...] = ()
    done: Machine | Program
    try:
        if isinstance(subject, KernelSubject):
            tracker = MarkTracker(MARKS if marks else ())
            done, findings = await _run_kernel(subject, strategy, recorder, host, tracker)
            reached = tracker.reached()
        else:
            done, findings = await _run_program(subject, strategy, recorder, host)
        return _outcome(done, findings.all(), reached, recorder, final=final)
    except KsmtrioError:
        raise
    except Exception as error:
        raise EmulatorError(f"{subject.name}: {_innermost(error)}") from error


async def _run_kernel(
    subject: KernelSubject,
    strategy: Strategy,
    recorder: Tap | None,
    host: str,
    tracker: MarkTracker,
) -> tuple[Machine, Findings]:
    oracles = make_oracles()
    machine = build_machine(
        subject.scenario,
        subject.kernel,
        strategy,
        recorder=recorder,
        watchers=_merged(oracles),
        host=host,
    )
    findings = Findings(machine.rt)
    for oracle in oracles:
        oracle.attach(machine, findings)
    tracker.attach(machine)
    await machine.run()
    _judge_at_rest(machine, oracles, findings)
    return machine, findings


async def _run_program(
    subject: ProgramSubject, strategy: Strategy, recorder: Tap | None, host: str
) -> tuple[Program, Findings]:
    build_program = subject.build()
    rt = Runtime(strategy, make_host(host), recorder=recorder)
    program = Program(rt)
    findings = Findings(rt)
    for oracle in make_program_oracles():
        oracle.listen(rt, findings)
    try:
        build_program(program)
    except KsmtrioError:
        raise
    except Exception as error:
        raise BadInput(f"{subject.name}: {_innermost(error)}, while it was described") from error
    await program.run()
    return program, findings


def _judge_at_rest(machine: Machine, oracles: Iterable[Oracle], findings: Findings) -> None:
    """Ask the oracles about the machine at rest, unless its state is not to be trusted."""
    if machine.rt.stop_reason != "done":
        return
    if any(finding.corrupting for finding in findings.all()):
        return
    for oracle in oracles:
        oracle.quiescent()


def _outcome(
    done: Machine | Program,
    seen: list[Finding],
    marks: tuple[str, ...],
    recorder: Tap | None,
    *,
    final: bool,
) -> Outcome:
    rt = done.rt
    event_digest = None
    if isinstance(recorder, Recorder):
        for finding in seen:
            recorder.emit(_finding_record(finding))
        event_digest = recorder.hexdigest()
    wanted = event_digest is not None or (final and rt.stop_reason != "pruned")
    return Outcome(
        verdict=verdict_of(executions=1, findings=len(seen)),
        findings=tuple(seen),
        choices=rt.choices,
        points=rt.points,
        stop_reason=rt.stop_reason,
        marks=marks,
        event_digest=event_digest,
        machine_digest=digest_of(done.dump()) if wanted else None,
    )


def _strategy(plan: Plan, *, exact: bool) -> Strategy:
    if isinstance(plan, StrategySpec):
        return build(plan)
    if isinstance(plan, Choices):
        return Replay(plan, exact=exact)
    return plan


def _merged(oracles: Iterable[Oracle]) -> Watchers:
    merged: Watchers = {}
    for oracle in oracles:
        for field, watchers in oracle.watchers().items():
            merged[field] = merged.get(field, ()) + watchers
    return merged


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _finding_record(finding: Finding) -> FindingRecord:
    return FindingRecord(
        signature=finding.signature,
        oracle=finding.oracle,
        kind=finding.kind,
        point=finding.point,
        other=finding.other,
        message=finding.message,
        actors=list(finding.actors),
        corrupting=finding.corrupting,
        step=finding.step,
    )


# -- from synchronous code -------------------------------------------------------------------------


def start(host: str, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what executes on a host, in an event loop of its own if the host needs one."""
    if host == "bare":
        return drive(coroutine())
    result: T = trio.run(coroutine)
    return result


def run_execution(scenario: Scenario, kernel: Kernel, plan: Plan, **how: Unpack[How]) -> Outcome:
    """Execute once, from synchronous code; arguments and errors as in `execute`."""
    return run_subject(KernelSubject(scenario, kernel), plan, **how)


def run_subject(subject: Subject, plan: Plan, **how: Unpack[How]) -> Outcome:
    """Execute whatever it is once, from synchronous code; as `execute_subject`."""
    return start(how.get("host", HOST_DEFAULT), partial(execute_subject, subject, plan, **how))


def run(
    scenario: Scenario,
    kernel: Kernel,
    plan: Plan,
    *,
    record: Path | None = None,
    host: str = HOST_DEFAULT,
) -> Outcome:
    """Execute once with digests, and with the full log in `record` when that is given.

    Raises: as `execute`, and `BadInput` when the file cannot be written.
    """
    if record is None:
        return run_execution(scenario, kernel, plan, recorder=Recorder(), host=host)
    return start(host, partial(record_execution, scenario, kernel, plan, record, host=host))


_PROBES: Final = (
    StrategySpec("round-robin", 0),
    StrategySpec("random", 0),
    StrategySpec("random", 1),
)
"""Executions that a profile is made of."""


async def probe(subject: Subject, *, host: str = HOST_DEFAULT) -> Profile:
    """Execute a few times and return what that was like, for strategies that want to know."""
    seen = []
    for spec in _PROBES:
        seen.append(Profiler(build(spec)))
        await execute_subject(subject, seen[-1], marks=False, host=host)
    return profile_of(seen)


@cache
def probed(subject: Subject) -> Profile:
    """Return `probe` from synchronous code; remembered for the life of the process."""
    return trio.run(probe, subject)


# -- traces ----------------------------------------------------------------------------------------


async def record_execution(
    scenario: Scenario,
    kernel: Kernel,
    plan: Plan,
    path: Path,
    *,
    made_by: StrategySpec | None = None,
    shown: Path | None = None,
    host: str = HOST_DEFAULT,
) -> Outcome:
    """Execute once and write the full log; as `record_subject`."""
    return await record_subject(
        KernelSubject(scenario, kernel), plan, path, made_by=made_by, shown=shown, host=host
    )


async def record_subject(
    subject: Subject,
    plan: Plan,
    path: Path,
    *,
    made_by: StrategySpec | None = None,
    shown: Path | None = None,
    host: str = HOST_DEFAULT,
) -> Outcome:
    """Execute whatever it is once and write the full log.

    Args:
        subject: what to execute.
        plan: where choices come from.
        path: ``.jsonl`` or ``.jsonl.gz``; overwritten.
        made_by: for a list of choices: the strategy that once made them.
        shown: what errors call the file, if not by its name.
        host: what runs the actors.

    Raises:
        BadInput: the file cannot be written, or would be larger than a trace may be; none is left
            behind. Further as `execute`.
    """
    spec = plan if isinstance(plan, StrategySpec) else made_by
    with TraceWriter(path, shown=shown) as writer:
        writer.header(header_of(subject, spec))
        recorder = Recorder(writer.body)
        outcome = await execute_subject(subject, plan, recorder=recorder, host=host)
        writer.footer(footer_of(outcome))
    return outcome


def header_of(subject: Subject, spec: StrategySpec | None) -> Header:
    """Return the header of a trace."""
    if isinstance(subject, ProgramSubject):
        return build_header(ProgramFile(subject.file, subject.instance, subject.digest), spec)
    scenario = subject.scenario
    text = ScenarioText(scenario.name, scenario.source, scenario.text)
    return build_header((text, subject.kernel), spec)


def subject_of(header: Header) -> Subject:
    """Return what a trace is of.

    Raises:
        BadInput: the scenario is faulty, or the program's file is not at hand or not the same.
    """
    executed = executed_of(header)
    if isinstance(executed, ProgramFile):
        return recorded_subject(executed.file, executed.instance, executed.sha256)
    scenario, kernel = executed
    return KernelSubject(parse_scenario(scenario.text, scenario.source), kernel)


def footer_of(outcome: Outcome) -> Footer:
    """Return the footer of a recorded execution."""
    assert outcome.event_digest is not None
    assert outcome.machine_digest is not None
    assert outcome.verdict != "undecided"
    return Footer(
        verdict=outcome.verdict,
        points=outcome.points,
        stop_reason=outcome.stop_reason,
        findings=len(outcome.findings),
        events_digest=outcome.event_digest,
        machine_digest=outcome.machine_digest,
    )


def replay_trace(path: Path | str, host: str = HOST_DEFAULT) -> ReplayResult:
    """Re-execute a trace and compare record by record, up to the first difference.

    Raises:
        TraceError: truncated, malformed, oversized or of an unknown version.
        BadInput: what it describes cannot be executed here.
        EmulatorError: a fault of ours.
    """
    trace = read_trace(path)
    return start(host, partial(compare_with_execution, trace, host))


replay = replay_trace


async def compare_with_execution(trace: Trace, host: str = HOST_DEFAULT) -> ReplayResult:
    """Re-execute `trace`; as `replay_trace` inside a running event loop."""
    subject = subject_of(trace.header)
    comparison = Comparison(_without_header(trace))
    recorder = Recorder(partial(_follow, comparison))
    reason = ""
    try:
        outcome = await execute_subject(
            subject, trace.choices, recorder=recorder, marks=False, host=host
        )
        comparison.feed(footer_of(outcome))
    except ReplayDiverged as diverged:
        reason = str(diverged)
    difference = comparison.finish(reason)
    return ReplayResult(
        file=str(trace.path),
        same=difference is None,
        difference=difference,
        verdict=trace.footer.verdict,
        findings=tuple(record.signature for record in trace.findings),
        points=trace.footer.points,
    )


def _follow(comparison: Comparison, record: BodyRecord, _line: bytes) -> None:
    """Compare a record; end the execution once a difference and its context are known."""
    comparison.feed(record)
    if comparison.full:
        raise ReplayDiverged("the execution differs from the trace")


def _without_header(trace: Trace) -> Iterator[tuple[int, Record]]:
    lines: Iterator[tuple[int, Any]] = trace.lines()
    next(lines, None)
    return lines
